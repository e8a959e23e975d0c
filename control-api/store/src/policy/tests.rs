//! Policy versions on both databases.

use aegis_core::id::TenantId;
use aegis_core::policy::PolicyFile;
use aegis_core::snapshot::Item;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::Policy;

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

fn changed(name: &str, version: u32, mode: &str) -> Body {
    Body::Policy(Policy {
        actor: "user:1".into(),
        name: name.into(),
        version,
        revision: String::new(),
        mode: mode.into(),
    })
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

    async fn a_shadow_is_in_the_snapshot_until_it_ends(t: TestStore) {
        let (tenant, other) = (t.tenant().await, t.tenant().await);
        upload(&t.store, tenant, "one").await;
        let mut tx = t.store.write(tenant).await.unwrap();
        let two = policy::add(&mut tx, tenant, draft("p", "two")).await.unwrap();
        let active = policy::shadow(&mut tx, tenant, "p", 1, "user:1").await;
        assert!(matches!(active, Err(StoreError::Conflict { reason: "already_active", .. })));
        assert_eq!(policy::shadow(&mut tx, tenant, "p", two.version, "user:1").await.unwrap().mode, PolicyMode::Shadow);
        for name in ["a", "b", "c"] {
            policy::add(&mut tx, tenant, draft(name, "x")).await.unwrap();
            let shadow = policy::shadow(&mut tx, tenant, name, 1, "user:1").await;
            assert_eq!(shadow.is_ok(), name != "c", "three at once");
        }
        tx.record(admin("policy", "p")).await.unwrap().commit().await.unwrap();
        let mut tx = t.store.read(tenant).await.unwrap();
        assert_eq!(policy::get(&mut tx, tenant, "p").await.unwrap().unwrap().shadow_version, Some(2));
        assert!(matches!(item::get(&mut tx, tenant, "shadow_policy/p").await.unwrap(), Some(Item::ShadowPolicy(f)) if f.version == 2));
        drop(tx);
        let mut tx = t.store.write(tenant).await.unwrap();
        assert_eq!(policy::shadow_end(&mut tx, tenant, "p", "user:1").await.unwrap().unwrap().mode, PolicyMode::Draft);
        assert_eq!(policy::shadow_end(&mut tx, tenant, "p", "user:1").await.unwrap(), None);
        assert_eq!(policy::shadow_end(&mut tx, other, "a", "user:1").await.unwrap(), None);
        tx.record(admin("policy", "p")).await.unwrap().commit().await.unwrap();
        let mut tx = t.store.read(tenant).await.unwrap();
        assert_eq!(item::get(&mut tx, tenant, "shadow_policy/p").await.unwrap(), None);
        assert_eq!(published(&t.store, tenant).await, Some(1));
    }

    async fn what_was_in_force_once_is_found_by_its_revision(t: TestStore) {
        let tenant = t.tenant().await;
        let texts = |files: &[PolicyFile]| files.iter().map(|f| f.rego.as_str()).collect::<Vec<_>>().join("+");
        for (name, rego) in [("p", "one"), ("q", "other"), ("p", "two")] {
            let mut tx = t.store.write(tenant).await.unwrap();
            let before = policy::get(&mut tx, tenant, name).await.unwrap();
            let added = policy::add(&mut tx, tenant, draft(name, rego)).await.unwrap();
            policy::activate(&mut tx, tenant, name, added.version, "user:1").await.unwrap();
            let mut tx = tx.record(changed(name, added.version, "active")).await.unwrap();
            if before.is_some() {
                tx = tx.record(changed(name, added.version - 1, "retired")).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        let mut tx = t.store.read(tenant).await.unwrap();
        for (revision, versions) in [("two+other", Some(vec![2, 1])), ("one+other", Some(vec![1, 1])), ("one", Some(vec![1])), ("other", None)] {
            let found = policy::in_force_at(&mut tx, tenant, revision, texts).await.unwrap();
            assert_eq!(found.map(|files| files.iter().map(|f| f.version).collect()), versions, "{revision}");
        }
    }
}
