//! Throw-away stores for tests: SQLite in a temporary folder, and a real PostgreSQL that lives as long as the
//! test process.

#![expect(clippy::missing_panics_doc, clippy::expect_used, reason = "a test that cannot be set up must fail loudly")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::TenantId;
use aegis_core::tenant::{DegradedModePolicy, Limits, SignalWeights, TenantRecord, TenantStatus, Tier};
use aegis_core::time::{ManualClock, SystemClock, Timestamp};
use aegis_ledger::entry::Body;
use aegis_ledger::rows::Admin;
use sqlx::{AssertSqlSafe, Connection as _};

pub mod history;
pub mod sidecar;

use crate::keys::Keys;
use crate::store::Store;

/// When every test begins: 2024-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_seconds(1_704_067_200);

/// A store of its own, with a clock to move.
pub struct TestStore {
    /// The store.
    pub store: Store,
    /// Its clock, at [`START`].
    pub clock: Arc<ManualClock>,
    /// Its database.
    pub url: String,
    dir: tempfile::TempDir,
}

impl TestStore {
    /// On SQLite.
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", dir.path().join("control.db").display());
        Self::open(dir, url).await
    }

    /// On PostgreSQL: a fresh database in the cluster of this test process.
    pub async fn postgres() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::open(dir, postgres_database().await).await
    }

    async fn open(dir: tempfile::TempDir, url: String) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let store = open(&url, &dir, &clock).await;
        Self { store, clock, url, dir }
    }

    /// The same database opened once more with the same keys, as after a restart or by another replica.
    pub async fn again(&self) -> Store {
        open(&self.url, &self.dir, &self.clock).await
    }

    /// The same database opened with keys of its own.
    pub async fn stranger(&self) -> Store {
        let keys = Keys::generate(&SystemClock::new(), &SystemEntropy);
        let clock = Arc::clone(&self.clock);
        Store::open(&self.url, keys, "aegis-control-api/test", clock, Arc::new(SystemEntropy)).await.expect("a store")
    }

    /// A folder of its own, outside the database.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A backup of the database as an operator would make one: a copy of the files, or a dump.
    pub async fn backup(&self) -> PathBuf {
        let to = self.dir.path().join("backup");
        match self.url.strip_prefix("sqlite:") {
            Some(file) => {
                std::fs::create_dir_all(&to).expect("a folder");
                for part in ["", "-wal"] {
                    std::fs::copy(format!("{file}{part}"), to.join(format!("db{part}"))).expect("a copy");
                }
            }
            None => postgres_tool("pg_dump", &["-Fc", "-d", &self.url, "-f", &to.display().to_string()]).await,
        }
        to
    }

    /// The store after its database was put back from a backup; keys and folder are as they were.
    pub async fn restore(self, backup: PathBuf) -> Self {
        self.store.close().await;
        let Self { clock, url, dir, .. } = self;
        let url = if let Some(file) = url.strip_prefix("sqlite:") {
            for part in ["", "-wal"] {
                std::fs::copy(backup.join(format!("db{part}")), format!("{file}{part}")).expect("a copy");
            }
            std::fs::remove_file(format!("{file}-shm")).ok();
            url
        } else {
            let url = postgres_database().await;
            postgres_tool("pg_restore", &["-d", &url, &backup.display().to_string()]).await;
            url
        };
        let store = open(&url, &dir, &clock).await;
        Self { store, clock, url, dir }
    }

    /// A new tenant, recorded as made by `test`.
    pub async fn tenant(&self) -> TenantId {
        let record = tenant_record(TenantId::generate(self.store.now(), &SystemEntropy));
        let tx = crate::tenant::create(&self.store, &record).await.expect("a tenant");
        let tx = tx.record(admin("tenant.create", &format!("tenant:{}", record.id))).await.expect("an entry");
        tx.commit().await.expect("a commit");
        record.id
    }
}

async fn open(url: &str, dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Store {
    let keys = Keys::load(&dir.path().join("keys"), &SystemClock::new(), &SystemEntropy).expect("keys");
    let clock = Arc::clone(clock);
    Store::open(url, keys, "aegis-control-api/test", clock, Arc::new(SystemEntropy)).await.expect("a store")
}

/// An active tenant with default settings.
pub fn tenant_record(id: TenantId) -> TenantRecord {
    TenantRecord {
        id,
        org_id: aegis_core::id::OrgId::from_uuid(id.as_uuid()),
        name: format!("tenant {id}"),
        tier: Tier::Basic,
        status: TenantStatus::Active,
        limits: Limits::default(),
        degraded_mode_policy: DegradedModePolicy::BlockHighRisk,
        weights: SignalWeights::default(),
        rpm_limit: Some(1_000_000),
        redact_pii: false,
        mfa_enforced: false,
    }
}

/// An `admin` entry by `test`.
pub fn admin(action: &str, object: &str) -> Body {
    Body::Admin(Admin {
        actor: "test".into(),
        action: action.into(),
        object: object.into(),
        detail: serde_json::Map::new(),
        request_id: "test".into(),
    })
}

/// Makes each test run on SQLite and on PostgreSQL: `both! { async fn name(t: TestStore) { … } }`.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($store:ident: TestStore) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn run($store: $crate::testing::TestStore) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                run($crate::testing::TestStore::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                run($crate::testing::TestStore::postgres().await).await;
            }
        }
    )+};
}

/// Runs one of PostgreSQL's own programs.
async fn postgres_tool(name: &str, arguments: &[&str]) {
    let script = "for b in /usr/lib/postgresql/*/bin; do PATH=\"$PATH:$b\"; done; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", name]).args(arguments);
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("a thread").expect("sh");
    assert!(status.success(), "{name} failed");
}

/// Starts a cluster below a new folder, says where, and stops it when standard input ends: that is when the test
/// process is gone, however it went. `initdb` refuses root, so root becomes `postgres`.
const SUPERVISOR: &str = r#"
trap : INT TERM HUP
for b in /usr/lib/postgresql/*/bin; do PATH="$PATH:$b"; done
command -v initdb >/dev/null || { echo "PostgreSQL's initdb was not found: install postgresql to run the store's tests"; exit 1; }
dir=$(mktemp -d /tmp/aegis-postgres-XXXXXX) && cd "$dir" || exit 1
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir"
  as() { runuser -u postgres -- env PATH="$PATH" "$@"; }
fi
if as initdb -D "$dir/data" -U aegis -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 &&
   as pg_ctl -D "$dir/data" -l "$dir/data/server.log" -w -t 60 start >>"$dir/log" 2>&1 \
     -o "-k $dir -c listen_addresses='' -c max_connections=600 -c fsync=off -c full_page_writes=off"
then echo "$dir"
else echo "PostgreSQL did not start: $(tail -n 5 "$dir/log" | tr '\n' ' ')"
fi
cat >/dev/null
as pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1
rm -rf "$dir"
"#;

struct Cluster {
    socket_dir: String,
    databases: AtomicU32,
    /// Its standard input stays open as long as this process lives.
    _supervisor: Child,
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = String::new();
        let stdout = supervisor.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("an answer of the supervisor");
        assert!(line.starts_with('/'), "{}", line.trim());
        Cluster { socket_dir: line.trim().to_owned(), databases: AtomicU32::new(0), _supervisor: supervisor }
    })
}

/// A fresh database; its URL.
pub async fn postgres_database() -> String {
    let cluster = tokio::task::spawn_blocking(cluster).await.expect("a PostgreSQL cluster");
    let name = format!("test_{}", cluster.databases.fetch_add(1, Ordering::SeqCst));
    let url = |name: &str| format!("postgres:///{name}?host={}&user=aegis", cluster.socket_dir);
    let mut conn = sqlx::PgConnection::connect(&url("postgres")).await.expect("a connection");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await.expect("a database");
    conn.close().await.expect("a clean end");
    url(&name)
}
