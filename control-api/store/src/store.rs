//! The store: two pools behind one door, and the transactions that come out of it.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::Entropy;
use aegis_core::id::TenantId;
use aegis_core::time::{Clock, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, PgPool, SqlitePool};

use crate::conn::{Conn, Sight};
use crate::error::StoreError;
use crate::keys::Keys;
use crate::ledger::control::ControlSource;
use crate::notice::{self, Notices};
use crate::row_security;
use crate::source;
use crate::tx::{ReadTx, UpkeepTx, WriteTx};

/// Reading connections to SQLite.
const SQLITE_READERS_MAX: u32 = 8;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS_MAX: u32 = 32;
/// How long a transaction waits for a connection or for SQLite's lock.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The database, the clock and the control plane's keys. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    notices: Notices,
    control: ControlSource,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    Postgres { pool: PgPool, listener: tokio::task::JoinHandle<()> },
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Pools::Postgres { listener, .. } = &self.pools {
            listener.abort();
        }
    }
}

impl Store {
    /// Opens `sqlite:<path>` (made if absent) or `postgres://…`, brings the schema up to date and registers the
    /// control plane as a source. `software` is the binary and its version, as `open` entries name it.
    pub async fn open(
        url: &str,
        keys: Keys,
        software: &str,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let pools = match url.split_once(':') {
            Some(("sqlite", _)) => open_sqlite(url).await?,
            Some(("postgres" | "postgresql", _)) => open_postgres(url).await?,
            _ => return Err(StoreError::Url("must begin with sqlite: or postgres:".into())),
        };
        let (pools, notices) = pools;
        let control = ControlSource::new(keys, software, &*clock, &*entropy);
        let store = Self { inner: Arc::new(Inner { pools, notices, control, clock, entropy }) };
        let mut upkeep = store.upkeep().await?;
        source::register_control(&mut upkeep, store.control(), store.now()).await?;
        upkeep.commit().await?;
        Ok(store)
    }

    /// A consistent view of one tenant.
    pub async fn read(&self, tenant: TenantId) -> Result<ReadTx, StoreError> {
        Ok(ReadTx::new(self.begin_read(Sight::Tenant(tenant)).await?))
    }

    /// A consistent view across tenants: for sign-in, sidecars and platform administration only.
    pub async fn read_platform(&self) -> Result<ReadTx, StoreError> {
        Ok(ReadTx::new(self.begin_read(Sight::Platform).await?))
    }

    /// Begins a management write. It holds the tenant's ledger until its end, so all writes and all ingests of a
    /// tenant run in one order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such tenant.
    pub async fn write(&self, tenant: TenantId) -> Result<WriteTx, StoreError> {
        self.write_all(&[tenant]).await
    }

    /// Begins a management write that concerns several tenants: it is recorded in each one's ledger.
    pub async fn write_all(&self, tenants: &[TenantId]) -> Result<WriteTx, StoreError> {
        let sight = if let [tenant] = tenants { Sight::Tenant(*tenant) } else { Sight::Platform };
        let conn = self.begin_write(sight).await?;
        WriteTx::lock(self.clone(), conn, tenants).await
    }

    /// Begins a write of state that is no management write and has no ledger entry: sessions, counters, leases,
    /// heartbeats. It sees every tenant.
    pub async fn upkeep(&self) -> Result<UpkeepTx, StoreError> {
        Ok(UpkeepTx::new(self.begin_write(Sight::Platform).await?))
    }

    /// As [`Store::upkeep`], of one tenant's rows only.
    pub async fn upkeep_of(&self, tenant: TenantId) -> Result<UpkeepTx, StoreError> {
        Ok(UpkeepTx::new(self.begin_write(Sight::Tenant(tenant)).await?))
    }

    /// What has been committed, for waiters.
    pub fn notices(&self) -> &Notices {
        &self.inner.notices
    }

    /// The control plane as a source of ledger entries.
    pub fn control(&self) -> &ControlSource {
        &self.inner.control
    }

    /// The clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The randomness.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.inner.entropy
    }

    /// Closes every connection after its current statement.
    pub async fn close(&self) {
        match &self.inner.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { pool, listener } => {
                listener.abort();
                pool.close().await;
            }
        }
    }

    async fn begin_read(&self, sight: Sight) -> Result<Conn, StoreError> {
        let mut conn = match &self.inner.pools {
            Pools::Sqlite { readers, .. } => Conn::sqlite(readers.begin().await?),
            Pools::Postgres { pool, .. } => {
                Conn::postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        conn.see(sight).await?;
        Ok(conn)
    }

    pub(crate) async fn begin_write(&self, sight: Sight) -> Result<Conn, StoreError> {
        let mut conn = match &self.inner.pools {
            Pools::Sqlite { writer, .. } => Conn::sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres { pool, .. } => Conn::postgres(pool.begin().await?),
        };
        conn.see(sight).await?;
        Ok(conn)
    }
}

async fn open_sqlite(url: &str) -> Result<(Pools, Notices), StoreError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|e| StoreError::Url(e.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX);
    if let Some(dir) = options.get_filename().parent() {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::Url(format!("{}: {e}", dir.display())))?;
    }
    let writer =
        SqlitePoolOptions::new().max_connections(1).acquire_timeout(WAIT_MAX).connect_with(options.clone()).await?;
    sqlx::migrate!("migrations/sqlite").run(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS_MAX)
        .acquire_timeout(WAIT_MAX)
        .connect_with(options.read_only(true))
        .await?;
    let number: i64 = sqlx::query_scalar("SELECT number FROM change_counter").fetch_one(&readers).await?;
    Ok((Pools::Sqlite { writer, readers }, Notices::new(number.cast_unsigned())))
}

async fn open_postgres(url: &str) -> Result<(Pools, Notices), StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(|e| StoreError::Url(e.to_string()))?;
    let mut owner = PgConnection::connect_with(&options).await?;
    sqlx::migrate!("migrations/postgres").run(&mut owner).await?;
    let steps_down = row_security::protect(&mut owner).await?;
    owner.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        .acquire_timeout(WAIT_MAX)
        .after_connect(move |conn, _| Box::pin(row_security::enter(conn, steps_down)))
        .connect_with(options)
        .await?;
    // Listening begins before the number is read: a change in between is told, not missed.
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(notice::CHANNEL).await?;
    let number: i64 = sqlx::query_scalar("SELECT number FROM change_counter").fetch_one(&pool).await?;
    let notices = Notices::new(number.cast_unsigned());
    let listener = notice::listen(listener, &notices, pool.clone());
    Ok((Pools::Postgres { pool, listener }, notices))
}
