//! Daily roots: what the tree was at the end of each UTC day, sealed once and never changed.
//!
//! A day ends before the first entry that the control plane received after it. Where that is, is looked for when the
//! day is sealed; an entry of that day that is committed later stands behind the cut and belongs to the next day.

use std::collections::BTreeMap;

use aegis_core::day::Day;
use aegis_core::id::{AuditId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::DailyStatement;
use aegis_ledger::statement::{RootStatement, STATEMENT_KIND, STATEMENT_VERSION, SignedStatement};

use super::{Head, proof, tile};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{self, Row, Sql};
use crate::store::Store;

/// Days one list returns at most.
pub const DAYS_MAX: u32 = 4_000;
/// Days that one call seals at most; a ledger that slept for longer is sealed over several.
const SEALED_AT_ONCE_MAX: u32 = 400;
/// Tenants that one look for work returns at most.
const DUE_MAX: u32 = 1_000;

/// A sealed day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDay {
    /// The day.
    pub day: Day,
    /// Entries before it.
    pub size_from: u64,
    /// Entries up to its end.
    pub size_to: u64,
    /// The tree's root over the first `size_to`.
    pub root: Hash,
    /// The signed statement.
    pub statement: SignedStatement,
    /// The index of its `daily_statement` entry.
    pub index: u64,
    /// SHA-256 of that entry's bytes.
    pub entry_hash: Hash,
    /// When it was sealed.
    pub sealed_at: Timestamp,
}

const COLUMNS: &str = "day, size_from, size_to, root, statement, idx, entry_hash, sealed_at";

/// One sealed day.
pub async fn get(db: &mut Conn, tenant: TenantId, day: Day) -> Result<Option<SealedDay>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM ledger_days WHERE tenant_id = ").push_bind(tenant);
    sql.push(" AND day = ").push_bind(day.number());
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// Sealed days from one to another, both with them, newest first.
pub async fn list(
    db: &mut Conn,
    tenant: TenantId,
    since: Option<Day>,
    until: Option<Day>,
    limit: u32,
) -> Result<Vec<SealedDay>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM ledger_days WHERE tenant_id = ").push_bind(tenant);
    if let Some(since) = since {
        sql.push(" AND day >= ").push_bind(since.number());
    }
    if let Some(until) = until {
        sql.push(" AND day <= ").push_bind(until.number());
    }
    sql.push(" ORDER BY day DESC LIMIT ").push_bind(limit.min(DAYS_MAX));
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// The newest sealed day.
pub async fn last(db: &mut Conn, tenant: TenantId) -> Result<Option<SealedDay>, StoreError> {
    Ok(list(db, tenant, None, None, 1).await?.pop())
}

/// Tenants with entries whose day before `today` is not sealed.
pub(crate) async fn due(db: &mut Conn, today: Day) -> Result<Vec<TenantId>, StoreError> {
    let sql = Sql::new(
        "SELECT h.tenant_id FROM ledger_heads h WHERE NOT EXISTS (SELECT 1 FROM ledger_days d \
         WHERE d.tenant_id = h.tenant_id AND d.day >= $1) AND EXISTS (SELECT 1 FROM ledger_entries e \
         WHERE e.tenant_id = h.tenant_id AND e.idx = 0 AND e.received_at < $2) ORDER BY h.tenant_id LIMIT $3",
    );
    let sql = sql.bind(today.previous().number()).bind(today.start()).bind(DUE_MAX);
    db.fetch_all(sql).await?.iter().map(|row| row.get("tenant_id")).collect()
}

/// Seals every day that is over, from the first that is not sealed up to `until`; how many. Each is one transaction:
/// a process that dies on the way has sealed whole days, and the next call goes on.
pub async fn seal(store: &Store, tenant: TenantId, until: Day) -> Result<u32, StoreError> {
    let until = until.min(Day::of(store.now()).previous());
    let mut sealed = 0;
    while sealed < SEALED_AT_ONCE_MAX {
        let Some(next) = next(store, tenant).await? else { break };
        if next.day > until {
            break;
        }
        seal_one(store, tenant, &next).await?;
        sealed += 1;
    }
    Ok(sealed)
}

/// The day to be sealed next and what is before it.
struct Next {
    day: Day,
    before: Option<SealedDay>,
}

async fn next(store: &Store, tenant: TenantId) -> Result<Option<Next>, StoreError> {
    let mut db = store.read(tenant).await?;
    if let Some(before) = last(&mut db, tenant).await? {
        return Ok(Some(Next { day: before.day.next(), before: Some(before) }));
    }
    let first = received_at(&mut db, tenant, 0).await?;
    Ok(first.map(|at| Next { day: Day::of(at), before: None }))
}

async fn seal_one(store: &Store, tenant: TenantId, next: &Next) -> Result<(), StoreError> {
    let from = next.before.as_ref().map_or(0, |before| before.size_to);
    let mut db = store.read(tenant).await?;
    let size = Head::read(&mut db, tenant).await?.size;
    let to = cut(&mut db, tenant, from, size, next.day.next().start()).await?;
    drop(db);
    tile::write(store, tenant, to).await?;
    let mut db = store.read(tenant).await?;
    let root = proof::root(&mut db, tenant, to).await?;
    let counts = counts(&mut db, tenant, from, to).await?;
    let (first, last) = match to.checked_sub(1).filter(|last| *last >= from) {
        Some(last) => (Some(audit_id(&mut db, tenant, from).await?), Some(audit_id(&mut db, tenant, last).await?)),
        None => (None, None),
    };
    drop(db);
    let statement = RootStatement {
        version: STATEMENT_VERSION,
        kind: STATEMENT_KIND.into(),
        tenant_id: tenant,
        root_date: next.day,
        root_hash: root.to_hex(),
        prev_root_hash: next.before.as_ref().map(|before| before.root.to_hex()),
        leaf_count: to - from,
        leaf_range_start_id: first,
        leaf_range_end_id: last,
        size_from: from,
        size_to: to,
    };
    let keys = store.control().checkpoint_keys();
    let key = keys.refreshed()?;
    let statement = statement.sign(&key.private).map_err(StoreError::corrupt)?;
    let entry = Body::DailyStatement(DailyStatement {
        date: next.day,
        size_from: from,
        size_to: to,
        root,
        prev_statement_hash: next.before.as_ref().map(|before| before.entry_hash),
        counts,
    });
    // From here on under the ledger's lock: whoever sealed the day meanwhile is found by the insert.
    let mut tx = store.write(tenant).await?.record(entry).await?;
    if keys.refreshed()?.private.public() != key.private.public() {
        // The ledger may have learned of the new key before this entry: the old one must not speak after that.
        return Err(StoreError::Conflict { what: "checkpoint key", reason: "changed_meanwhile" });
    }
    let index = Head::read(&mut tx, tenant).await?.size.saturating_sub(1);
    let sql = Sql::new("SELECT entry FROM ledger_entries WHERE tenant_id = $1 AND idx = $2").bind(tenant).bind(index);
    let entry: Vec<u8> = tx.fetch_one(sql).await?.get("entry")?;
    let sql = Sql::new(
        "INSERT INTO ledger_days (tenant_id, day, size_from, size_to, root, statement, idx, entry_hash, sealed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    );
    let sql = sql.bind(tenant).bind(next.day.number()).bind(from).bind(to).bind(root);
    let sql = sql.bind(sql::json(&statement)?).bind(index).bind(Hash::of(&[&entry])).bind(store.now());
    match tx.execute(sql).await {
        Ok(_) => tx.commit().await,
        // Another replica was first: its day stands.
        Err(e) if e.is_unique_violation() => Ok(()),
        Err(e) => Err(e),
    }
}

/// The first index from `from` on that was received at `end` or later; `size` if none was. Times of receipt grow with
/// the index but for the moments in which two transactions overlap, so halving finds a cut.
async fn cut(db: &mut Conn, tenant: TenantId, from: u64, size: u64, end: Timestamp) -> Result<u64, StoreError> {
    let (mut low, mut high) = (from, size);
    while low < high {
        let middle = low + (high - low) / 2;
        let at = received_at(db, tenant, middle).await?;
        if at.ok_or_else(|| StoreError::corrupt(format!("the ledger has no entry {middle}")))? < end {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

async fn received_at(db: &mut Conn, tenant: TenantId, index: u64) -> Result<Option<Timestamp>, StoreError> {
    let sql = Sql::new("SELECT received_at FROM ledger_entries WHERE tenant_id = $1 AND idx = $2");
    db.fetch_optional(sql.bind(tenant).bind(index)).await?.map(|row| row.get("received_at")).transpose()
}

async fn counts(db: &mut Conn, tenant: TenantId, from: u64, to: u64) -> Result<BTreeMap<String, u64>, StoreError> {
    let sql = Sql::new(
        "SELECT kind, COUNT(*) AS n FROM audit_rows WHERE tenant_id = $1 AND idx >= $2 AND idx < $3 GROUP BY kind",
    );
    let rows = db.fetch_all(sql.bind(tenant).bind(from).bind(to)).await?;
    rows.iter().map(|row| Ok((row.get("kind")?, row.get("n")?))).collect()
}

async fn audit_id(db: &mut Conn, tenant: TenantId, index: u64) -> Result<AuditId, StoreError> {
    let sql = Sql::new("SELECT audit_id FROM audit_rows WHERE tenant_id = $1 AND idx = $2");
    db.fetch_one(sql.bind(tenant).bind(index)).await?.get("audit_id")
}

fn from_row(row: &Row) -> Result<SealedDay, StoreError> {
    let statement: SignedStatement = row.json("statement")?;
    Ok(SealedDay {
        day: Day::from_number(row.get("day")?),
        size_from: row.get("size_from")?,
        size_to: row.get("size_to")?,
        root: row.get("root")?,
        statement,
        index: row.get("idx")?,
        entry_hash: row.get("entry_hash")?,
        sealed_at: row.get("sealed_at")?,
    })
}
