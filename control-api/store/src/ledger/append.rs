//! The one way into a ledger, for ingested entries and for the control plane's own.

use aegis_core::decision::{Decision, Outcome};
use aegis_core::id::{AgentId, BootId, SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;
use aegis_ledger::chain::{self, Cursor};
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::rows::OutcomeRow;
use aegis_ledger::signing::EntrySignature;

use super::Head;
use super::projection::{self, Projection};
use super::rollup::{Additions, Key, hour_of};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{self, PLACEHOLDERS_MAX, Sql, Value};

/// An entry whose form, signature and place in its source's chain have been checked.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) entry: Entry,
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaf: Hash,
    pub(crate) signature: EntrySignature,
}

impl Admitted {
    /// Joins the parts; the leaf hash is computed here.
    pub(crate) fn new(entry: Entry, bytes: Vec<u8>, signature: EntrySignature) -> Self {
        let leaf = hash::leaf(&bytes);
        Self { entry, bytes, leaf, signature }
    }
}

/// Appends the entries in order: bytes, hashes, projections, outcomes, rollups, boot keys and head together.
///
/// The caller holds the head's lock and keeps the sources' cursors.
pub(crate) async fn append(
    db: &mut Conn,
    tenant: TenantId,
    head: &mut Head,
    entries: &[Admitted],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut records = Vec::with_capacity(entries.len());
    let mut projections = Vec::with_capacity(entries.len());
    let mut additions = Additions::default();
    let first = head.size;
    for admitted in entries {
        head.chain = chain::tenant_next(head.chain, admitted.leaf);
        records.push(record(tenant, head, admitted, now)?);
        let mut row: Vec<Value> = vec![tenant.into(), head.size.into(), now.into()];
        row.extend(Projection::of(&admitted.entry)?.values());
        projections.push(row);
        if let Body::Decision(decision) = &admitted.entry.body {
            additions.decision(admitted.entry.header.ts, decision);
        }
        head.size += 1;
        head.tree.push(admitted.leaf);
    }
    insert(db, "INSERT INTO ledger_entries (tenant_id, idx, source_id, boot_id, seq, entry, leaf, chain, signature, received_at) VALUES ", 10, &records).await?;
    insert_projections(db, &projections).await?;
    for (index, admitted) in (first..).zip(entries) {
        match &admitted.entry.body {
            Body::Open(open) => boot_key(db, admitted, &open.boot_key, index).await?,
            Body::Outcome(outcome) => {
                settle(db, tenant, admitted.entry.header.source, outcome, index, &mut additions).await?;
            }
            Body::Close(_)
            | Body::Heartbeat(_)
            | Body::Decision(_)
            | Body::Gap(_)
            | Body::Admin(_)
            | Body::Key(_)
            | Body::Enrol(_)
            | Body::Policy(_)
            | Body::Kill(_)
            | Body::DailyStatement(_)
            | Body::Note(_) => {}
        }
    }
    additions.store(db, tenant).await?;
    head.store(db, tenant, now).await
}

fn record(tenant: TenantId, head: &Head, admitted: &Admitted, now: Timestamp) -> Result<Vec<Value>, StoreError> {
    let header = &admitted.entry.header;
    Ok(vec![
        tenant.into(),
        head.size.into(),
        header.source.into(),
        header.boot.into(),
        header.seq.into(),
        admitted.bytes.clone().into(),
        admitted.leaf.into(),
        head.chain.into(),
        sql::json(&admitted.signature)?.into(),
        now.into(),
    ])
}

async fn insert(db: &mut Conn, text: &'static str, columns: usize, rows: &[Vec<Value>]) -> Result<(), StoreError> {
    for chunk in rows.chunks(PLACEHOLDERS_MAX / columns) {
        let mut sql = Sql::new(text);
        sql.push_rows(chunk.iter().cloned());
        db.execute(sql).await?;
    }
    Ok(())
}

async fn insert_projections(db: &mut Conn, rows: &[Vec<Value>]) -> Result<(), StoreError> {
    for chunk in rows.chunks(PLACEHOLDERS_MAX / (projection::COLUMNS.len() + 3)) {
        let mut sql = Sql::new("INSERT INTO audit_rows (tenant_id, idx, received_at, ");
        sql.push_columns("", &projection::COLUMNS).push(") VALUES ").push_rows(chunk.iter().cloned());
        db.execute(sql).await?;
    }
    Ok(())
}

async fn boot_key(db: &mut Conn, admitted: &Admitted, public_key: &str, index: u64) -> Result<(), StoreError> {
    let header = &admitted.entry.header;
    let sql = Sql::new(
        "INSERT INTO boot_keys (tenant_id, source_id, boot_id, key_id, public_key, idx) VALUES ($1, $2, $3, $4, $5, $6)",
    );
    let sql = sql.bind(header.tenant_id).bind(header.source).bind(header.boot);
    db.execute(sql.bind(admitted.signature.key_id.0.as_str()).bind(public_key).bind(index)).await.map(drop)
}

/// An outcome settles its decision, once, if the same source wrote both and the decision waits for it.
async fn settle(
    db: &mut Conn,
    tenant: TenantId,
    source: SourceId,
    outcome: &OutcomeRow,
    index: u64,
    additions: &mut Additions,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "SELECT idx, ts, agent_id, tool, decision, cost_micro_usd, rule_ids FROM audit_rows \
         WHERE tenant_id = $1 AND execution_id = $2 AND source_id = $3 AND kind = 'decision' AND outcome = 'pending' \
         ORDER BY idx LIMIT 1",
    );
    let sql = sql.bind(tenant).bind(outcome.execution_id).bind(source);
    let Some(row) = db.fetch_optional(sql).await? else { return Ok(()) };
    let decided: u64 = row.get("idx")?;
    let cost_before: MicroUsd = row.get("cost_micro_usd")?;
    let ts: Timestamp = row.get("ts")?;
    let rules: Vec<String> = row.json("rule_ids")?;
    let key = Key {
        hour: hour_of(ts),
        agent: row.get::<AgentId>("agent_id")?,
        tool: row.get("tool")?,
        decision: row.word("decision", Decision::parse)?,
    };
    let change = signed(outcome.cost_micro_usd).saturating_sub(signed(cost_before));
    let sql = Sql::new(
        "UPDATE audit_rows SET outcome = $1, cost_micro_usd = $2, outcome_idx = $3 WHERE tenant_id = $4 AND idx = $5",
    );
    let sql = sql.bind(outcome.outcome.as_str()).bind(outcome.cost_micro_usd).bind(index);
    db.execute(sql.bind(tenant).bind(decided)).await?;
    if outcome.outcome != Outcome::Pending {
        additions.settled(ts, key, outcome.outcome, change, rules.first().map(String::as_str));
    }
    Ok(())
}

fn signed(amount: MicroUsd) -> i64 {
    i64::try_from(amount.as_micros()).unwrap_or(i64::MAX)
}

/// Where a source's boot stands. `prev` is absent after a gap: the next entry's predecessor is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) next_seq: u64,
    pub(crate) prev: Option<Hash>,
}

impl From<Cursor> for Position {
    fn from(cursor: Cursor) -> Self {
        Self { next_seq: cursor.next_seq, prev: Some(cursor.prev) }
    }
}

impl Position {
    /// Before the first entry of a boot.
    pub(crate) fn start(tenant: TenantId, source: SourceId, boot: BootId) -> Self {
        Cursor::start(tenant, source, boot).into()
    }
}

/// Reads where a source's boot stands in a tenant.
pub(crate) async fn position(
    db: &mut Conn,
    tenant: TenantId,
    source: SourceId,
    boot: BootId,
) -> Result<Option<Position>, StoreError> {
    let sql =
        Sql::new("SELECT next_seq, prev FROM source_cursors WHERE tenant_id = $1 AND source_id = $2 AND boot_id = $3");
    let row = db.fetch_optional(sql.bind(tenant).bind(source).bind(boot)).await?;
    row.map(|r| Ok(Position { next_seq: r.get("next_seq")?, prev: r.maybe("prev")? })).transpose()
}

/// Writes where a source's boot stands.
pub(crate) async fn position_set(
    db: &mut Conn,
    (tenant, source, boot): (TenantId, SourceId, BootId),
    position: Position,
    closed: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "INSERT INTO source_cursors (tenant_id, source_id, boot_id, next_seq, prev, closed, opened_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (tenant_id, source_id, boot_id) DO UPDATE \
         SET next_seq = excluded.next_seq, prev = excluded.prev, closed = excluded.closed, updated_at = excluded.updated_at",
    );
    let sql = sql.bind(tenant).bind(source).bind(boot).bind(position.next_seq).bind(position.prev);
    db.execute(sql.bind(closed).bind(now)).await.map(drop)
}
