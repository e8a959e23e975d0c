//! What keeping evidence costs: batches of 500 signed rows into the ledger (each decoded, verified strictly, placed in
//! its source's chain, appended, projected and counted), beside the same bytes as a plain batched INSERT.

use std::time::Duration;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::time::{Clock, SystemClock};
use aegis_ledger::wire::SignedEntry;
use aegis_store::ledger::ingest::ingest;
use aegis_store::testing::TestStore;
use aegis_store::testing::sidecar::{TestSidecar, decision};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;

const BATCH: usize = 500;
const PLAIN_TABLE: &str = "CREATE TABLE plain_rows (tenant_id TEXT NOT NULL, idx BIGINT NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (tenant_id, idx))";

/// A sidecar's batches, signed as a busy sidecar does: 64 rows share a signature.
struct Batches {
    sidecar: TestSidecar,
    opened: bool,
}

impl Batches {
    fn next(&mut self) -> Vec<Vec<u8>> {
        let mut entries = Vec::with_capacity(BATCH);
        if !std::mem::replace(&mut self.opened, true) {
            let open = self.sidecar.open();
            entries.push(self.sidecar.next(open));
        }
        while entries.len() < BATCH {
            entries.push(self.sidecar.next(decision(Decision::Allow, Outcome::Executed)));
        }
        entries.chunks(64).flat_map(|part| self.sidecar.lines(part)).collect()
    }
}

enum Plain {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Plain {
    async fn open(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            let mut conn = SqliteConnection::connect(url).await.expect("a connection");
            sqlx::query("PRAGMA synchronous = FULL").execute(&mut conn).await.expect("a pragma");
            sqlx::query(PLAIN_TABLE).execute(&mut conn).await.expect("a table");
            Self::Sqlite(conn)
        } else {
            let mut conn = PgConnection::connect(url).await.expect("a connection");
            sqlx::query(PLAIN_TABLE).execute(&mut conn).await.expect("a table");
            Self::Postgres(conn)
        }
    }

    async fn insert(&mut self, first: i64, entries: &[String]) {
        const TEXT: &str = "INSERT INTO plain_rows (tenant_id, idx, entry) ";
        macro_rules! insert {
            ($conn:expr) => {{
                let mut builder = sqlx::QueryBuilder::new(TEXT);
                builder.push_values((first..).zip(entries), |mut row, (index, entry)| {
                    row.push_bind("tenant").push_bind(index).push_bind(entry);
                });
                builder.build().execute($conn).await.expect("an insert");
            }};
        }
        match self {
            Self::Sqlite(conn) => insert!(conn),
            Self::Postgres(conn) => insert!(conn),
        }
    }
}

fn on(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, name: &str, store: &TestStore) {
    let tenant = runtime.block_on(store.tenant());
    let sidecar = runtime.block_on(TestSidecar::enrol(store, tenant));
    let source = sidecar.source;
    let clock = SystemClock::new();
    let mut batches = Batches { sidecar, opened: false };
    group.bench_function(format!("{name}/ledger"), |b| {
        b.iter_custom(|turns| {
            timed(turns, || {
                let body = batches.next().concat();
                let started = clock.monotonic();
                let done = runtime.block_on(ingest(&store.store, source, body)).expect("an ingest");
                let took = clock.monotonic().since(started);
                assert_eq!((done.answer.accepted, done.violations.len()), (BATCH as u64, 0));
                took
            })
        });
    });
    let mut plain = runtime.block_on(Plain::open(&store.url));
    let mut next = 0;
    group.bench_function(format!("{name}/plain_insert"), |b| {
        b.iter_custom(|turns| {
            timed(turns, || {
                let lines = batches.next();
                let parsed = lines.iter().map(|line| serde_json::from_slice::<SignedEntry>(line).expect("a line"));
                let entries: Vec<String> = parsed.map(|signed| signed.entry.get().to_owned()).collect();
                let started = clock.monotonic();
                runtime.block_on(plain.insert(next, &entries));
                next += i64::try_from(BATCH).expect("small");
                clock.monotonic().since(started)
            })
        });
    });
}

fn timed(turns: u64, mut turn: impl FnMut() -> Duration) -> Duration {
    (0..turns).map(|_| turn()).sum()
}

fn databases(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(BATCH as u64)).sampling_mode(SamplingMode::Flat).sample_size(20);
    on(&mut group, &runtime, "sqlite", &runtime.block_on(TestStore::sqlite()));
    on(&mut group, &runtime, "postgres", &runtime.block_on(TestStore::postgres()));
    group.finish();
}

criterion_group!(benches, databases);
criterion_main!(benches);
