//! Checkpoints as they are kept and published, and the epochs of a log that was sealed.

use std::time::Duration;

use aegis_core::id::TenantId;
use aegis_core::time::{MICROS_PER_HOUR, Timestamp};
use aegis_ledger::checkpoint::FIRST_EPOCH;
use aegis_ledger::hash::Hash;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};

/// Tenants that one look for work returns at most.
const DUE_MAX: u32 = 1_000;
/// How long every checkpoint is kept; afterwards one an hour.
const ALL_KEPT: Duration = Duration::from_hours(24);
/// Checkpoints one list returns at most.
pub const CHECKPOINTS_MAX: u32 = 100_000;

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The epoch of its log.
    pub epoch: u64,
    /// Entries it covers.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// How a later epoch began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its number, 2 or more.
    pub epoch: u64,
    /// The signed note that sealed the epoch before.
    pub sealed: String,
    /// The index of the entry that says so.
    pub index: u64,
    /// When.
    pub at: Timestamp,
}

const COLUMNS: &str = "epoch, size, root, note, signed_at";

/// The newest checkpoint; absent before the first.
pub async fn latest(db: &mut Conn, tenant: TenantId) -> Result<Option<Stored>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM ledger_published WHERE tenant_id = ").push_bind(tenant);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// The kept checkpoints of an epoch with a size above `after`, smallest first.
pub async fn list(db: &mut Conn, tenant: TenantId, epoch: u64, after: u64) -> Result<Vec<Stored>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM ledger_checkpoints WHERE tenant_id = ").push_bind(tenant);
    sql.push(" AND epoch = ").push_bind(epoch).push(" AND size > ").push_bind(after);
    sql.push(" ORDER BY size LIMIT ").push_bind(CHECKPOINTS_MAX);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// The epochs after the first, oldest first.
pub async fn epochs(db: &mut Conn, tenant: TenantId) -> Result<Vec<Opened>, StoreError> {
    let sql = Sql::new("SELECT epoch, sealed, idx, opened_at FROM ledger_epochs WHERE tenant_id = $1 ORDER BY epoch");
    let rows = db.fetch_all(sql.bind(tenant)).await?;
    let opened = |row: &Row| {
        Ok(Opened {
            epoch: row.get("epoch")?,
            sealed: row.get("sealed")?,
            index: row.get("idx")?,
            at: row.get("opened_at")?,
        })
    };
    rows.iter().map(opened).collect()
}

/// The epoch that the ledger is in.
pub async fn epoch(db: &mut Conn, tenant: TenantId) -> Result<u64, StoreError> {
    Ok(epochs(db, tenant).await?.last().map_or(FIRST_EPOCH, |opened| opened.epoch))
}

/// Keeps and publishes a checkpoint. Published again it changes nothing but when it was last looked at; an older one
/// never replaces a newer one.
pub(crate) async fn publish(db: &mut Conn, tenant: TenantId, c: &Stored, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new(
        "INSERT INTO ledger_checkpoints (tenant_id, epoch, size, root, note, signed_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (tenant_id, epoch, size) DO NOTHING",
    );
    let sql = sql.bind(tenant).bind(c.epoch).bind(c.size).bind(c.root).bind(c.note.as_str()).bind(c.signed_at);
    db.execute(sql).await?;
    let sql = Sql::new(
        "INSERT INTO ledger_published (tenant_id, epoch, size, root, note, signed_at, checked_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id) DO UPDATE SET epoch = excluded.epoch, \
         size = excluded.size, root = excluded.root, note = excluded.note, signed_at = excluded.signed_at, \
         checked_at = excluded.checked_at WHERE ledger_published.epoch < excluded.epoch \
         OR (ledger_published.epoch = excluded.epoch AND ledger_published.size <= excluded.size)",
    );
    let sql = sql.bind(tenant).bind(c.epoch).bind(c.size).bind(c.root).bind(c.note.as_str()).bind(c.signed_at);
    db.execute(sql.bind(now)).await.map(drop)
}

/// Notes how an epoch began; its entry is in the same transaction.
pub(crate) async fn open_epoch(db: &mut Conn, tenant: TenantId, opened: &Opened) -> Result<(), StoreError> {
    let sql =
        Sql::new("INSERT INTO ledger_epochs (tenant_id, epoch, sealed, idx, opened_at) VALUES ($1, $2, $3, $4, $5)");
    let sql = sql.bind(tenant).bind(opened.epoch).bind(opened.sealed.as_str()).bind(opened.index).bind(opened.at);
    db.execute(sql).await.map_err(|e| e.unique_as("epoch", "opened_before")).map(drop)
}

/// Tenants whose newest checkpoint is not of their whole ledger, or was last looked at before `idle`.
pub(crate) async fn due(db: &mut Conn, idle: Timestamp) -> Result<Vec<TenantId>, StoreError> {
    let sql = Sql::new(
        "SELECT h.tenant_id FROM ledger_heads h LEFT JOIN ledger_published p ON p.tenant_id = h.tenant_id \
         WHERE p.tenant_id IS NULL OR p.size <> h.size OR p.checked_at <= $1 \
         ORDER BY COALESCE(p.checked_at, 0), h.tenant_id LIMIT $2",
    );
    db.fetch_all(sql.bind(idle).bind(DUE_MAX)).await?.iter().map(|row| row.get("tenant_id")).collect()
}

/// Thins out old checkpoints: of each hour, and so of each epoch, the last is kept. How many were dropped.
pub async fn thin(db: &mut Conn, now: Timestamp) -> Result<u64, StoreError> {
    let sql = Sql::new(
        "DELETE FROM ledger_checkpoints WHERE signed_at < $1 AND EXISTS (SELECT 1 FROM ledger_checkpoints later \
         WHERE later.tenant_id = ledger_checkpoints.tenant_id AND later.epoch = ledger_checkpoints.epoch \
         AND later.size > ledger_checkpoints.size AND later.signed_at / $2 = ledger_checkpoints.signed_at / $2)",
    );
    db.execute(sql.bind(now.minus(ALL_KEPT)).bind(MICROS_PER_HOUR)).await
}

fn from_row(row: &Row) -> Result<Stored, StoreError> {
    Ok(Stored {
        epoch: row.get("epoch")?,
        size: row.get("size")?,
        root: row.get("root")?,
        note: row.get("note")?,
        signed_at: row.get("signed_at")?,
    })
}
