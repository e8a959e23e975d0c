//! Policy versions on both databases.

use aegis_core::id::TenantId;
use aegis_core::snapshot::Item;

use super::{PolicyMode, PolicyVersion};
use crate::error::StoreError;
use crate::testing::{START, admin};
use crate::{Store, both, item, policy};

fn draft(name: &str, rego: &str) -> PolicyVersion {
    PolicyVersion {
        name: name.into(),
        version: 0,
        mode: PolicyMode::Draft,
        revision: format!("rev of {rego}"),
        rego: rego.into(),
        description: "d".into(),
        rules: vec!["deny".into()],
        tests_passed: 1,
        tests_failed: 0,
        created_at: START,
        created_by: "user:1".into(),
    }
}

async fn upload(store: &Store, tenant: TenantId, rego: &str) -> PolicyVersion {
    let mut tx = store.write(tenant).await.unwrap();
    let added = policy::add(&mut tx, tenant, draft("p", rego)).await.unwrap();
    let active = policy::activate(&mut tx, tenant, "p", added.version, "user:1").await.unwrap();
    tx.record(admin("policy", "p")).await.unwrap().commit().await.unwrap();
    active
}

async fn published(store: &Store, tenant: TenantId) -> Option<u32> {
    let mut tx = store.read(tenant).await.unwrap();
    match item::get(&mut tx, tenant, "policy/p").await.unwrap() {
        Some(Item::Policy(file)) => Some(file.version),
        _ => None,
    }
}

both! {
    async fn one_version_is_active_and_any_can_come_back(t: TestStore) {
        let (tenant, other) = (t.tenant().await, t.tenant().await);
        assert_eq!(upload(&t.store, tenant, "one").await.version, 1);
        assert_eq!(upload(&t.store, tenant, "two").await.version, 2);
        assert_eq!(published(&t.store, tenant).await, Some(2));
        let mut tx = t.store.write(tenant).await.unwrap();
        policy::activate(&mut tx, tenant, "p", 1, "user:2").await.unwrap();
        let none = policy::activate(&mut tx, tenant, "p", 3, "user:2").await;
        assert!(matches!(none, Err(StoreError::NotFound("policy version"))));
        tx.record(admin("policy", "p")).await.unwrap().commit().await.unwrap();
        let mut tx = t.store.read(tenant).await.unwrap();
        let modes: Vec<_> = policy::versions(&mut tx, tenant, "p").await.unwrap().iter().map(|v| (v.version, v.mode)).collect();
        assert_eq!(modes, [(2, PolicyMode::Retired), (1, PolicyMode::Active)]);
        let listed = policy::list(&mut tx, tenant).await.unwrap();
        assert_eq!((listed.len(), listed[0].current.version, listed[0].updated_by.as_str()), (1, 1, "user:2"));
        assert_eq!(policy::active(&mut tx, tenant).await.unwrap().len(), 1);
        assert!(policy::list(&mut tx, other).await.unwrap().is_empty());
        assert_eq!(published(&t.store, tenant).await, Some(1));
    }

    async fn a_draft_is_not_in_force(t: TestStore) {
        let tenant = t.tenant().await;
        let mut tx = t.store.write(tenant).await.unwrap();
        policy::add(&mut tx, tenant, draft("p", "x")).await.unwrap();
        tx.record(admin("policy", "p")).await.unwrap().commit().await.unwrap();
        assert_eq!(published(&t.store, tenant).await, None);
        let mut tx = t.store.read(tenant).await.unwrap();
        assert!(policy::active(&mut tx, tenant).await.unwrap().is_empty());
        assert_eq!(policy::get(&mut tx, tenant, "p").await.unwrap().unwrap().current.mode, PolicyMode::Draft);
    }

    async fn a_retired_policy_is_out_of_force_until_uploaded_again(t: TestStore) {
        let tenant = t.tenant().await;
        upload(&t.store, tenant, "one").await;
        let mut tx = t.store.write(tenant).await.unwrap();
        let last = policy::retire(&mut tx, tenant, "p", "user:1").await.unwrap();
        assert_eq!(last.current.mode, PolicyMode::Retired);
        assert!(matches!(policy::retire(&mut tx, tenant, "p", "user:1").await, Err(StoreError::NotFound("policy"))));
        tx.record(admin("policy", "p")).await.unwrap().commit().await.unwrap();
        assert_eq!(published(&t.store, tenant).await, None);
        assert_eq!(upload(&t.store, tenant, "two").await.version, 2);
        assert_eq!(published(&t.store, tenant).await, Some(2));
    }
}
