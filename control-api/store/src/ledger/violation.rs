//! What was delivered and is not in the ledger, or breaks its rules: kept with its bytes, never dropped.

use aegis_core::id::{BootId, SourceId, TenantId, ViolationId};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_ledger::hash::Hash;

use super::intake::Delivered;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};
use crate::store::Store;

/// Violations kept per deliverer and tenant at most: a source that breaks the rules for ever is refused then.
pub const VIOLATIONS_PER_SOURCE_MAX: u64 = 10_000;
/// Violations one page lists at most.
pub const VIOLATIONS_PAGE_MAX: u32 = 500;

words! {
    /// Which rule is broken.
    pub enum ViolationKind {
        /// The bytes are not an entry.
        Undecodable = "undecodable",
        /// The signature does not verify with the boot's key.
        BadSignature = "bad_signature",
        /// The boot's first entry is not an `open` that the source's identity key vouches for.
        BadOpen = "bad_open",
        /// The boot's `open` has not been delivered.
        UnknownBoot = "unknown_boot",
        /// It names another predecessor.
        WrongPrev = "wrong_prev",
        /// Entries before it have not been delivered.
        Gap = "gap",
        /// Another entry with its number is in the ledger already.
        Equivocation = "equivocation",
        /// It came after the gap that it belongs to was closed.
        Late = "late",
        /// It speaks for a tenant that its deliverer does not speak for.
        ForeignTenant = "foreign_tenant",
        /// Its key, or the one that vouches for it, was reported compromised before it came.
        CompromisedKey = "compromised_key",
        /// It speaks for another source.
        ForeignSource = "foreign_source",
    }
}

/// A kept violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its id.
    pub id: ViolationId,
    /// The sidecar that delivered it.
    pub delivered_by: SourceId,
    /// The source that the entry names, if it could be read.
    pub source: Option<SourceId>,
    /// The boot that the entry names.
    pub boot: Option<BootId>,
    /// The number that the entry names.
    pub seq: Option<u64>,
    /// Which rule is broken.
    pub kind: ViolationKind,
    /// For people.
    pub detail: String,
    /// The bytes as they were delivered.
    pub entry: Vec<u8>,
    /// The signature as it was delivered, JSON.
    pub signature: String,
    /// First delivery.
    pub first_seen: Timestamp,
    /// Last delivery.
    pub last_seen: Timestamp,
    /// How often it was delivered.
    pub deliveries: u64,
    /// Whether it has resolved itself: what was missing has come.
    pub settled: bool,
}

const COLUMNS: &str = "violation_id, delivered_by, source_id, boot_id, seq, kind, detail, entry, signature, first_seen, \
     last_seen, deliveries, settled";

/// A tenant's violations, newest first.
pub async fn list(db: &mut Conn, tenant: TenantId, limit: u32, offset: u64) -> Result<Vec<Violation>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM ledger_violations WHERE tenant_id = ").push_bind(tenant);
    sql.push(" ORDER BY first_seen DESC, violation_id DESC LIMIT ").push_bind(limit.min(VIOLATIONS_PAGE_MAX));
    sql.push(" OFFSET ").push_bind(offset);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// A tenant's violations that have not resolved themselves, newest first.
pub async fn list_open(db: &mut Conn, tenant: TenantId, limit: u32) -> Result<Vec<Violation>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM ledger_violations WHERE NOT settled AND tenant_id = ").push_bind(tenant);
    sql.push(" ORDER BY first_seen DESC, violation_id DESC LIMIT ").push_bind(limit.min(VIOLATIONS_PAGE_MAX));
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// How many of a tenant's violations have not resolved themselves.
pub async fn count_open(db: &mut Conn, tenant: TenantId) -> Result<u64, StoreError> {
    let sql = Sql::new("SELECT COUNT(*) AS n FROM ledger_violations WHERE tenant_id = $1 AND NOT settled").bind(tenant);
    db.fetch_one(sql).await?.get("n")
}

fn from_row(row: &Row) -> Result<Violation, StoreError> {
    Ok(Violation {
        id: row.get("violation_id")?,
        delivered_by: row.get("delivered_by")?,
        source: row.maybe("source_id")?,
        boot: row.maybe("boot_id")?,
        seq: row.maybe("seq")?,
        kind: row.word("kind", ViolationKind::parse)?,
        detail: row.get("detail")?,
        entry: row.get("entry")?,
        signature: row.get("signature")?,
        first_seen: row.get("first_seen")?,
        last_seen: row.get("last_seen")?,
        deliveries: row.get("deliveries")?,
        settled: row.get("settled")?,
    })
}

/// Keeps a violation, or counts one more delivery of it; when it was first seen.
///
/// # Errors
/// [`StoreError::Conflict`] `too_many` beyond [`VIOLATIONS_PER_SOURCE_MAX`]: nothing of the batch is acknowledged.
pub(crate) async fn keep(
    db: &mut Conn,
    store: &Store,
    (tenant, delivered_by): (TenantId, SourceId),
    kind: ViolationKind,
    detail: &str,
    item: &Delivered,
) -> Result<Timestamp, StoreError> {
    let sql = Sql::new("SELECT COUNT(*) AS n FROM ledger_violations WHERE tenant_id = $1 AND delivered_by = $2");
    let kept: u64 = db.fetch_one(sql.bind(tenant).bind(delivered_by)).await?.get("n")?;
    if kept >= VIOLATIONS_PER_SOURCE_MAX {
        return Err(StoreError::Conflict { what: "violations", reason: "too_many" });
    }
    let now = store.now();
    let sql = Sql::new(
        "INSERT INTO ledger_violations (violation_id, tenant_id, delivered_by, source_id, boot_id, seq, kind, detail, \
         entry, entry_hash, signature, first_seen, last_seen, deliveries, settled) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, 1, FALSE) \
         ON CONFLICT (tenant_id, delivered_by, kind, entry_hash) DO UPDATE \
         SET last_seen = excluded.last_seen, deliveries = ledger_violations.deliveries + 1 RETURNING first_seen",
    )
    .bind(ViolationId::generate(now, store.entropy()))
    .bind(tenant)
    .bind(delivered_by)
    .bind(item.place.map(|p| p.source))
    .bind(item.place.map(|p| p.boot))
    .bind(item.place.map(|p| p.seq))
    .bind(kind.as_str())
    .bind(detail)
    .bind(item.bytes.clone())
    .bind(item.leaf)
    .bind(item.signature.as_str())
    .bind(now);
    tracing::error!(%tenant, source = %delivered_by, place = ?item.place, kind = kind.as_str(), detail, "ledger violation");
    db.fetch_one(sql).await?.get("first_seen")
}

/// Whether these bytes are kept already, under any rule.
pub(crate) async fn is_kept(db: &mut Conn, tenant: TenantId, by: SourceId, leaf: Hash) -> Result<bool, StoreError> {
    let sql = Sql::new(
        "SELECT 1 AS one FROM ledger_violations WHERE tenant_id = $1 AND delivered_by = $2 AND entry_hash = $3 LIMIT 1",
    );
    Ok(db.fetch_optional(sql.bind(tenant).bind(by).bind(leaf)).await?.is_some())
}

/// What was missing before `next_seq` has come: entries that waited for it are no longer out of order.
pub(crate) async fn settle(
    db: &mut Conn,
    (tenant, source, boot): (TenantId, SourceId, BootId),
    next_seq: u64,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "UPDATE ledger_violations SET settled = TRUE WHERE tenant_id = $1 AND source_id = $2 AND boot_id = $3 \
         AND seq < $4 AND kind IN ('gap', 'unknown_boot') AND NOT settled \
         AND EXISTS (SELECT 1 FROM ledger_entries e WHERE e.tenant_id = ledger_violations.tenant_id \
         AND e.source_id = ledger_violations.source_id AND e.boot_id = ledger_violations.boot_id \
         AND e.seq = ledger_violations.seq - 1)",
    );
    db.execute(sql.bind(tenant).bind(source).bind(boot).bind(next_seq)).await.map(drop)
}

/// What was missing before `next_seq` is declared as lost: the entry that waited for it is accounted for.
pub(crate) async fn settle_declared(
    db: &mut Conn,
    (tenant, source, boot): (TenantId, SourceId, BootId),
    next_seq: u64,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "UPDATE ledger_violations SET settled = TRUE WHERE tenant_id = $1 AND source_id = $2 AND boot_id = $3 \
         AND seq = $4 AND kind = 'gap' AND NOT settled",
    );
    db.execute(sql.bind(tenant).bind(source).bind(boot).bind(next_seq)).await.map(drop)
}
