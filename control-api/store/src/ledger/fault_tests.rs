//! The database fails at every step of ingest and publishing: nothing half is left, and the next try makes it whole.

use aegis_core::id::TenantId;
use aegis_ledger::proof::verify_consistency;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::check::verify;
use super::ingest::ingest;
use super::{Head, checkpoint, proof};
use crate::both;
use crate::publish::{Published, Publisher};
use crate::testing::TestStore;
use crate::testing::sidecar::TestSidecar;

/// What a batch writes, in order.
const INGEST: [(&str, &str); 8] = [
    ("salt_keys", "INSERT"),
    ("ledger_salts", "INSERT"),
    ("ledger_entries", "INSERT"),
    ("audit_rows", "INSERT"),
    ("boot_keys", "INSERT"),
    ("rollup_hourly", "INSERT"),
    ("source_cursors", "INSERT"),
    ("ledger_heads", "UPDATE"),
];
/// What a checkpoint writes, in order; the record beside the database has tests of its own.
const PUBLISH: [(&str, &str); 3] =
    [("ledger_tiles", "INSERT"), ("ledger_checkpoints", "INSERT"), ("ledger_published", "UPDATE")];

/// A table that cannot be written.
struct Broken {
    table: &'static str,
    url: String,
}

impl Broken {
    async fn new(t: &TestStore, (table, event): (&'static str, &str)) -> Self {
        let broken = Self { table, url: t.url.clone() };
        broken
            .run(if broken.is_sqlite() {
                format!("CREATE TRIGGER broken BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'no space'); END")
            } else {
                format!(
                    "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN RAISE EXCEPTION 'no space'; END $$; \
                     CREATE TRIGGER broken BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION broken()"
                )
            })
            .await;
        broken
    }

    async fn mend(self) {
        let on = if self.is_sqlite() { String::new() } else { format!(" ON {}", self.table) };
        self.run(format!("DROP TRIGGER broken{on}")).await;
    }

    fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    async fn run(&self, sql: String) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        if self.is_sqlite() {
            sql.execute(&mut SqliteConnection::connect(&self.url).await.unwrap()).await.unwrap();
        } else {
            sql.execute(&mut PgConnection::connect(&self.url).await.unwrap()).await.unwrap();
        }
    }
}

async fn head(t: &TestStore, tenant: TenantId) -> Head {
    Head::read(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap()
}

both! {
    async fn a_batch_that_fails_at_any_step_leaves_nothing_and_comes_whole_the_next_time(t: TestStore) {
        let tenant = t.tenant().await;
        for step in INGEST {
            let mut sidecar = TestSidecar::enrol(&t, tenant).await;
            let batch = sidecar.run(70).concat();
            let before = head(&t, tenant).await;
            let broken = Broken::new(&t, step).await;
            assert!(ingest(&t.store, sidecar.source, batch.clone()).await.is_err(), "{step:?}");
            assert_eq!(head(&t, tenant).await, before, "{step:?}");
            broken.mend().await;
            assert_eq!(ingest(&t.store, sidecar.source, batch.clone()).await.unwrap().answer.accepted, 71, "{step:?}");
            let again = ingest(&t.store, sidecar.source, batch).await.unwrap().answer;
            assert_eq!((again.accepted, again.duplicates, again.acks[0].seq), (0, 71, 70), "{step:?}");
            assert_eq!(head(&t, tenant).await.size, before.size + 71);
        }
        assert_eq!(verify(&t.store, tenant, 0, None).await.unwrap().faults, []);
    }

    async fn a_checkpoint_that_fails_at_any_step_is_signed_once_it_can_be(t: TestStore) {
        let tenant = t.tenant().await;
        let folder = t.folder().join("checkpoints");
        let publisher = Publisher::new(t.store.clone(), "test", &folder).unwrap();
        publisher.publish(tenant).await.unwrap();
        for step in PUBLISH {
            let mut sidecar = TestSidecar::enrol(&t, tenant).await;
            ingest(&t.store, sidecar.source, sidecar.run(300).concat()).await.unwrap();
            let before = checkpoint::latest(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap().unwrap();
            let broken = Broken::new(&t, step).await;
            assert!(publisher.publish(tenant).await.is_err(), "{step:?}");
            let mut db = t.store.read(tenant).await.unwrap();
            assert_eq!(checkpoint::latest(&mut db, tenant).await.unwrap(), Some(before.clone()), "{step:?}");
            drop(db);
            broken.mend().await;
            // After a restart, too: nothing in memory is needed.
            let after = Publisher::new(t.again().await, "test", &folder).unwrap();
            let (Published::Signed(now) | Published::Unchanged(now)) = after.publish(tenant).await.unwrap() else {
                panic!("{step:?}: a new epoch")
            };
            assert_eq!((now.epoch, now.size), (1, head(&t, tenant).await.size), "{step:?}");
            let mut db = t.store.read(tenant).await.unwrap();
            let proof = proof::consistency(&mut db, tenant, before.size, now.size).await.unwrap();
            assert_eq!(verify_consistency((before.size, before.root), (now.size, now.root), &proof), Ok(()));
        }
        assert_eq!(verify(&t.store, tenant, 0, None).await.unwrap().faults, []);
    }
}
