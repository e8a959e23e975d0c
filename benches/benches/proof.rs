//! What proofs cost from the database's tiles, by the size of the ledger: ten times the entries, a few hashes more.

use std::hint::black_box;

use aegis_core::id::TenantId;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::proof::verify_inclusion;
use aegis_ledger::tile::WIDTH;
use aegis_store::ledger::proof;
use aegis_store::testing::TestStore;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;

/// 10 k, 1 M and 10 M entries, down to whole tiles: only tiles need to be there then, not the entries.
const SIZES: [u64; 3] = [39 * WIDTH, 3_906 * WIDTH, 39_062 * WIDTH];
/// Tiles one statement inserts.
const TILES: usize = 64;

enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Database {
    async fn open(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqliteConnection::connect(url).await.expect("a connection"))
        } else {
            Self::Postgres(PgConnection::connect(url).await.expect("a connection"))
        }
    }

    async fn insert(&mut self, tenant: &str, level: i64, first: i64, tiles: &[Vec<u8>], roots: &[Hash]) {
        const TEXT: &str = "INSERT INTO ledger_tiles (tenant_id, level, idx, hashes, root) ";
        macro_rules! insert {
            ($conn:expr) => {{
                let mut builder = sqlx::QueryBuilder::new(TEXT);
                builder.push_values((first..).zip(tiles).zip(roots), |mut row, ((index, hashes), root)| {
                    row.push_bind(tenant).push_bind(level).push_bind(index);
                    row.push_bind(hashes.as_slice()).push_bind(root.as_bytes().as_slice());
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

/// The leaf hash of an entry that is nowhere else.
fn leaf(index: u64) -> Hash {
    hash::leaf(&index.to_be_bytes())
}

/// Writes every full tile of a tree of this size.
async fn grow(url: &str, tenant: TenantId, size: u64) {
    let mut database = Database::open(url).await;
    let tenant = tenant.to_string();
    let mut nodes: Vec<Hash> = (0..size).map(leaf).collect();
    for level in 0.. {
        let (tiles, _) = nodes.as_chunks::<256>();
        let roots: Vec<Hash> = tiles.iter().map(|tile| hash::root(tile)).collect();
        let mut first = 0;
        for (tiles, roots) in tiles.chunks(TILES).zip(roots.chunks(TILES)) {
            let bytes: Vec<Vec<u8>> =
                tiles.iter().map(|tile| tile.iter().flat_map(|h| *h.as_bytes()).collect()).collect();
            database.insert(&tenant, level, first, &bytes, roots).await;
            first += i64::try_from(tiles.len()).expect("small");
        }
        if roots.is_empty() {
            return;
        }
        nodes = roots;
    }
}

fn on(c: &mut Criterion, runtime: &Runtime, name: &str, store: &TestStore) {
    let mut group = c.benchmark_group(format!("proof/{name}"));
    for size in SIZES {
        let tenant = runtime.block_on(store.tenant());
        runtime.block_on(grow(&store.url, tenant, size));
        let (store, mut index) = (&store.store, size / 2);
        // Anywhere in the tree, and never the same tile twice in a row.
        let mut next = || {
            index = (index + 7_919 * WIDTH + 1) % size;
            index
        };
        let inclusion = async |index| {
            let mut db = store.read(tenant).await.expect("a transaction");
            proof::inclusion(&mut db, tenant, index, size).await.expect("a proof")
        };
        let consistency = async |old| {
            let mut db = store.read(tenant).await.expect("a transaction");
            proof::consistency(&mut db, tenant, old, size).await.expect("a proof")
        };
        group.bench_function(BenchmarkId::new("inclusion", size), |b| {
            b.iter(|| black_box(runtime.block_on(inclusion(next()))));
        });
        group.bench_function(BenchmarkId::new("consistency", size), |b| {
            b.iter(|| black_box(runtime.block_on(consistency(next()))));
        });
        let index = next();
        let path = runtime.block_on(inclusion(index));
        let root = runtime.block_on(async {
            proof::root(&mut store.read(tenant).await.expect("a transaction"), tenant, size).await.expect("a root")
        });
        verify_inclusion(leaf(index), index, size, &path, root).expect("a good proof");
        println!("{name}, {size} entries: {} hashes lead to the root", path.len());
    }
    group.finish();
}

fn databases(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    on(c, &runtime, "sqlite", &runtime.block_on(TestStore::sqlite()));
    on(c, &runtime, "postgres", &runtime.block_on(TestStore::postgres()));
}

criterion_group!(benches, databases);
criterion_main!(benches);
