//! The ledger's promises, on both databases.

use aegis_core::snapshot::{Item, KillSwitch};
use aegis_ledger::entry::Entry;

use crate::both;
use crate::item;
use crate::ledger::Head;
use crate::ledger::control::close_boot;
use crate::sql::Sql;
use crate::testing::{START, admin};

fn kill_switch(reason: &str) -> Item {
    Item::KillSwitch(KillSwitch { engaged_at: START, engaged_by: "test".into(), reason: reason.into() })
}

both! {
    async fn a_write_leaves_its_entry_and_its_items(t: TestStore) {
        let tenant = t.tenant().await;
        let mut changes = t.store.notices().changes();
        let mut ledgers = t.store.notices().ledgers();
        let before = *changes.borrow_and_update();
        let mut tx = t.store.write(tenant).await.unwrap();
        tx.item_put(&kill_switch("drill"));
        tx.record(admin("kill", "tenant")).await.unwrap().commit().await.unwrap();
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow(), before + 1);
        let mut db = t.store.read(tenant).await.unwrap();
        let since = item::changes_since(&mut db, &[tenant], before).await.unwrap();
        assert_eq!(since.len(), 1);
        assert_eq!(since[0].item, Some(kill_switch("drill")));
        // open, enrol, tenant.create, kill
        let head = Head::read(&mut db, tenant).await.unwrap();
        assert_eq!(head.size, 4);
        // The tenant's creation may be told once more by the database.
        while ledgers.recv().await.unwrap().size < 4 {}
    }

    async fn a_rolled_back_write_leaves_no_hole(t: TestStore) {
        let tenant = t.tenant().await;
        let mut tx = t.store.write(tenant).await.unwrap();
        tx.item_put(&kill_switch("never"));
        drop(tx.record(admin("never", "x")).await.unwrap());
        t.store.write(tenant).await.unwrap().record(admin("after", "x")).await.unwrap().commit().await.unwrap();
        let mut db = t.store.read(tenant).await.unwrap();
        let rows = db.fetch_all(Sql::new("SELECT seq, entry FROM ledger_entries ORDER BY idx")).await.unwrap();
        let seqs: Vec<u64> = rows.iter().map(|r| r.get("seq").unwrap()).collect();
        assert_eq!(seqs, [0, 1, 2, 3]);
        let last = Entry::decode(&rows[3].get::<Vec<u8>>("entry").unwrap()).unwrap();
        assert!(matches!(last.body, aegis_ledger::entry::Body::Admin(a) if a.action == "after"));
        assert_eq!(item::get(&mut db, tenant, "kill_switch").await.unwrap(), None);
    }

    async fn a_boot_that_ends_in_order_says_so_and_writes_no_more(t: TestStore) {
        let tenants = [t.tenant().await, t.tenant().await];
        close_boot(&t.store, "done").await.unwrap();
        for tenant in tenants {
            let mut db = t.store.read(tenant).await.unwrap();
            let sql = Sql::new("SELECT entry FROM ledger_entries WHERE tenant_id = $1 ORDER BY idx DESC LIMIT 1");
            let row = db.fetch_all(sql.bind(tenant)).await.unwrap().remove(0);
            let last = Entry::decode(&row.get::<Vec<u8>>("entry").unwrap()).unwrap();
            assert!(matches!(last.body, aegis_ledger::entry::Body::Close(close) if close.reason == "done"));
            let late = t.store.write(tenant).await.unwrap().record(admin("late", "x")).await;
            assert!(matches!(late, Err(crate::StoreError::Conflict { reason: "stopping", .. })));
        }
        // A second time there is nothing left to close.
        close_boot(&t.store, "done").await.unwrap();
        assert_eq!(Head::read(&mut t.store.read(tenants[0]).await.unwrap(), tenants[0]).await.unwrap().size, 4);
    }

    async fn entries_cannot_be_changed_or_deleted(t: TestStore) {
        t.tenant().await;
        for statement in ["UPDATE ledger_entries SET seq = 9", "DELETE FROM ledger_entries"] {
            let mut tx = t.store.upkeep().await.unwrap();
            assert!(tx.execute(Sql::new(statement)).await.is_err(), "{statement}");
        }
    }

    async fn many_writers_make_one_chain(t: TestStore) {
        let tenant = t.tenant().await;
        let other = t.stranger().await;
        let tasks: Vec<_> = (0..64)
            .map(|i| {
                let store = if i % 2 == 0 { t.store.clone() } else { other.clone() };
                tokio::spawn(async move {
                    for _ in 0..2 {
                        let mut tx = store.write(tenant).await.unwrap();
                        tx.item_put(&kill_switch(&format!("writer {i}")));
                        tx.record(admin("write", "x")).await.unwrap().commit().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(crate::ledger::check::verify(&t.store, tenant, 0, None).await.unwrap().faults, []);
        let mut db = t.store.read(tenant).await.unwrap();
        // Two sources with open and enrol each, the tenant's creation, and the writes.
        assert_eq!(Head::read(&mut db, tenant).await.unwrap().size, 2 + 2 + 1 + 128);
        // The tenant's own item was change 1.
        assert_eq!(item::change_number(&mut db).await.unwrap(), 129);
    }

    async fn a_replica_hears_of_another_ones_writes(t: TestStore) {
        let tenant = t.tenant().await;
        let other = t.stranger().await;
        let mut changes = other.notices().changes();
        let mut tx = t.store.write(tenant).await.unwrap();
        tx.item_put(&kill_switch("drill"));
        tx.record(admin("kill", "tenant")).await.unwrap().commit().await.unwrap();
        if t.url.starts_with("postgres") {
            changes.changed().await.unwrap();
            assert_eq!(*changes.borrow(), 2);
        }
    }
}
