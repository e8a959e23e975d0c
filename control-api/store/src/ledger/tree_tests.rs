//! The tree beside the head, tiles and days, on both databases.

use std::time::Duration;

use aegis_core::day::Day;
use aegis_core::id::TenantId;
use aegis_ledger::entry::Body;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::tile::TilePath;

use super::{Head, day, grown, hashes_of, proof, tile};
use crate::audit;
use crate::both;
use crate::ledger::ingest::ingest;
use crate::sql::Sql;
use crate::testing::sidecar::TestSidecar;
use crate::testing::{START, TestStore, admin};

const DAY: Duration = Duration::from_hours(24);

async fn write(t: &TestStore, tenant: TenantId) {
    t.store.write(tenant).await.unwrap().record(admin("write", "x")).await.unwrap().commit().await.unwrap();
}

async fn grow(t: &TestStore, tenant: TenantId, calls: usize) {
    let mut sidecar = TestSidecar::enrol(t, tenant).await;
    for part in sidecar.run(calls).chunks(500) {
        ingest(&t.store, sidecar.source, part.concat()).await.unwrap();
    }
}

both! {
    async fn the_edge_in_the_head_is_that_of_all_entries(t: TestStore) {
        let tenant = t.tenant().await;
        grow(&t, tenant, 1_100).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let head = Head::read(&mut db, tenant).await.unwrap();
        let leaves = tile::leaves(&mut db, tenant, 0, head.size).await.unwrap();
        assert_eq!((head.tree.size(), head.tree.root()), (head.size, hash::root(&leaves)));
        drop(db);
        // A ledger from before the tree was kept has no edge; it is computed and kept with the next write.
        let mut tx = t.store.upkeep().await.unwrap();
        tx.execute(Sql::new("UPDATE ledger_heads SET edge = NULL")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(Head::read(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap(), head);
        write(&t, tenant).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let row = db.fetch_one(Sql::new("SELECT edge FROM ledger_heads WHERE tenant_id = $1").bind(tenant)).await.unwrap();
        let edge = hashes_of(&row.get::<Vec<u8>>("edge").unwrap()).unwrap();
        assert_eq!(edge, grown(&mut db, tenant, head.size + 1).await.unwrap().edge());
    }

    async fn tiles_and_proofs_are_those_of_the_leaves(t: TestStore) {
        let tenant = t.tenant().await;
        grow(&t, tenant, 1_100).await;
        let size = Head::read(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap().size;
        assert_eq!(tile::write(&t.store, tenant, size).await.unwrap(), 4);
        assert_eq!(tile::write(&t.store, tenant, size).await.unwrap(), 0);
        let mut db = t.store.read(tenant).await.unwrap();
        let leaves = tile::leaves(&mut db, tenant, 0, size).await.unwrap();
        for (path, expected) in [
            ("tile/0/001", leaves[256..512].to_vec()),
            ("tile/0/001.p/3", leaves[256..259].to_vec()),
            ("tile/0/004.p/9", leaves[1024..1033].to_vec()),
            ("tile/1/000.p/4", leaves[..1024].chunks(256).map(hash::root).collect()),
        ] {
            let path: TilePath = path.parse().unwrap();
            let bytes = tile::serve(&mut db, tenant, path, size).await.unwrap();
            assert_eq!(hashes_of(&bytes).unwrap(), expected, "{path}");
            // What the published tree does not have is not served, even if the ledger has it.
            assert!(tile::serve(&mut db, tenant, path, 255).await.is_err());
        }
        for at in [0, 1, 2, 255, 256, 257, 511, 768, 1_024, size - 1, size] {
            let (before, _) = leaves.split_at(usize::try_from(at).unwrap());
            assert_eq!(proof::root(&mut db, tenant, at).await.unwrap(), hash::root(before));
            assert_eq!(proof::tree(&mut db, tenant, at).await.unwrap().root(), hash::root(before));
        }
        assert!(proof::root(&mut db, tenant, size + 1).await.is_err());
        let bundle = tile::serve(&mut db, tenant, "tile/entries/000".parse().unwrap(), size).await.unwrap();
        let entries = aegis_ledger::tile::unbundle(&bundle).unwrap();
        assert_eq!(entries.iter().map(|e| hash::leaf(e)).collect::<Vec<_>>(), leaves[..256]);
    }

    async fn days_are_sealed_once_and_late_rows_fall_into_the_day_they_arrive(t: TestStore) {
        let tenant = t.tenant().await;
        let key = t.store.control().checkpoint_keys().current().private.public();
        let today = Day::of(START);
        assert_eq!(day::seal(&t.store, tenant, today).await.unwrap(), 0);
        t.clock.advance(DAY * 3);
        // Rows with the first day's time, delivered on the fourth.
        grow(&t, tenant, 10).await;
        assert_eq!(day::due(&mut t.store.read_platform().await.unwrap(), today.next()).await.unwrap(), [tenant]);
        assert_eq!(day::seal(&t.store, tenant, today.next().next().next()).await.unwrap(), 3);
        assert_eq!(day::seal(&t.store, tenant, today.next().next().next()).await.unwrap(), 0);
        t.clock.advance(DAY);
        assert_eq!(day::seal(&t.store, tenant, today.next().next().next()).await.unwrap(), 1);
        let mut db = t.store.read(tenant).await.unwrap();
        let days = day::list(&mut db, tenant, None, None, 10).await.unwrap();
        let sizes: Vec<_> = days.iter().rev().map(|d| (d.size_from, d.size_to)).collect();
        // Two days without rows have equal sizes; the late rows and three statements fall into the fourth.
        assert_eq!(sizes[..3], [(0, 3), (3, 3), (3, 3)]);
        assert_eq!(sizes[3].0, 3);
        assert!(sizes[3].1 >= 3 + 11 + 3, "{sizes:?}");
        let mut before: Option<&day::SealedDay> = None;
        for sealed in days.iter().rev() {
            assert_eq!(sealed.statement.verify(&key), Ok(()));
            assert_eq!(sealed.root, proof::root(&mut db, tenant, sealed.size_to).await.unwrap());
            assert_eq!(sealed.statement.receipt.prev_root_hash, before.map(|b| b.root.to_hex()));
            let row = audit::since(&mut db, tenant, sealed.index, 1).await.unwrap().remove(0);
            let Body::DailyStatement(entry) = row.entry().unwrap().body else { panic!("{}", row.action) };
            assert_eq!((entry.date, entry.root, entry.size_to), (sealed.day, sealed.root, sealed.size_to));
            assert_eq!(entry.prev_statement_hash, before.map(|b| b.entry_hash));
            assert_eq!(entry.counts.values().sum::<u64>(), sealed.size_to - sealed.size_from);
            assert_eq!(sealed.entry_hash, Hash::of(&[&row.bytes]));
            before = Some(sealed);
        }
        drop(db);
        for statement in ["UPDATE ledger_days SET size_to = 9", "DELETE FROM ledger_days"] {
            let mut tx = t.store.upkeep().await.unwrap();
            assert!(tx.execute(Sql::new(statement)).await.is_err(), "{statement}");
        }
    }

    async fn of_two_replicas_one_seals_each_day(t: TestStore) {
        let tenant = t.tenant().await;
        t.clock.advance(DAY * 5);
        let tasks: Vec<_> = [t.again().await, t.again().await].into_iter().map(|store| tokio::spawn(async move {
            day::seal(&store, tenant, Day::of(store.now())).await.unwrap();
        })).collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut db = t.store.read(tenant).await.unwrap();
        let days = day::list(&mut db, tenant, None, None, 10).await.unwrap();
        assert_eq!(days.len(), 5);
        let sql = Sql::new("SELECT COUNT(*) AS n FROM audit_rows WHERE kind = 'daily_statement'");
        assert_eq!(db.fetch_one(sql).await.unwrap().get::<u64>("n").unwrap(), 5);
    }
}
