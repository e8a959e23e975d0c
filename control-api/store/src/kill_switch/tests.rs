//! The kill switch and its measured propagation on both databases.

use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{SourceId, TenantId};
use aegis_ledger::signing::PrivateKey;

use crate::sql::Sql;
use crate::testing::{START, admin};
use crate::{Store, both, item, kill_switch, propagation};

async fn set(store: &Store, tenant: TenantId, engaged: bool) {
    let mut tx = store.write(tenant).await.unwrap();
    if engaged {
        kill_switch::engage(&mut tx, tenant, "user:1", "drill").await.unwrap();
    } else {
        kill_switch::disengage(&mut tx, tenant, "user:2").await.unwrap();
    }
    tx.record(admin("kill", "tenant")).await.unwrap().commit().await.unwrap();
}

async fn sidecar(store: &Store, tenant: TenantId) -> SourceId {
    let source = SourceId::generate(START, &SystemEntropy);
    let mut tx = store.upkeep().await.unwrap();
    let sql = Sql::new(
        "INSERT INTO sources (source_id, kind, name, identity_key, identity_key_id, status, version, public_url, \
         enrolled_at) VALUES ($1, 'sidecar', 'one', $2, '', 'active', '', '', 0)",
    );
    let identity = PrivateKey::generate(&SystemEntropy).public().to_base64();
    tx.execute(sql.bind(source).bind(identity)).await.unwrap();
    let sql = Sql::new("INSERT INTO source_tenants (source_id, tenant_id) VALUES ($1, $2)");
    tx.execute(sql.bind(source).bind(tenant)).await.unwrap();
    tx.commit().await.unwrap();
    source
}

both! {
    async fn the_switch_stays_as_set_and_keeps_its_last_engagement(t: TestStore) {
        let (tenant, other) = (t.tenant().await, t.tenant().await);
        let mut tx = t.store.read(tenant).await.unwrap();
        assert_eq!(kill_switch::get(&mut tx, tenant).await.unwrap(), None);
        drop(tx);
        set(&t.store, tenant, true).await;
        let mut tx = t.store.read(tenant).await.unwrap();
        let state = kill_switch::get(&mut tx, tenant).await.unwrap().unwrap();
        assert!(state.engaged);
        assert_eq!((state.last.engaged_by.as_str(), state.last.reason.as_str()), ("user:1", "drill"));
        assert!(item::get(&mut tx, tenant, kill_switch::ITEM_KEY).await.unwrap().is_some());
        assert_eq!(kill_switch::get(&mut tx, other).await.unwrap(), None);
        drop(tx);
        t.clock.advance(Duration::from_secs(5));
        set(&t.store, tenant, false).await;
        let mut tx = t.store.read(tenant).await.unwrap();
        let state = kill_switch::get(&mut tx, tenant).await.unwrap().unwrap();
        assert!(!state.engaged);
        assert_eq!((state.last.engaged_at, state.changed_by.as_str()), (START, "user:2"));
        assert!(item::get(&mut tx, tenant, kill_switch::ITEM_KEY).await.unwrap().is_none());
    }

    async fn propagation_is_what_the_sidecar_measured_first(t: TestStore) {
        let tenant = t.tenant().await;
        let source = sidecar(&t.store, tenant).await;
        set(&t.store, tenant, true).await;
        let mut tx = t.store.upkeep().await.unwrap();
        let version = item::change_number(&mut tx).await.unwrap();
        assert_eq!(propagation::of_item(&mut tx, tenant, kill_switch::ITEM_KEY).await.unwrap()[0].lag_us, None);
        let applied_at = START.plus(Duration::from_millis(40));
        propagation::note(&mut tx, source, 0, version, applied_at).await.unwrap();
        // Later heartbeats of the same version come later, and change nothing.
        propagation::note(&mut tx, source, 0, version, applied_at.plus(Duration::from_secs(9))).await.unwrap();
        let told = propagation::of_item(&mut tx, tenant, kill_switch::ITEM_KEY).await.unwrap();
        assert_eq!((told[0].source, told[0].lag_us), (source, Some(40_000)));
        tx.commit().await.unwrap();
        set(&t.store, tenant, false).await;
        let mut tx = t.store.read(tenant).await.unwrap();
        let told = propagation::of_item(&mut tx, tenant, kill_switch::ITEM_KEY).await.unwrap();
        assert_eq!(told[0].lag_us, None, "the new state has not been reported yet");
    }
}
