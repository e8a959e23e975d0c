//! Reading the ledger's rows: lists, search, single rows. Never a row without its tenant.

use aegis_core::decision::{Decision, Outcome};
use aegis_core::finding::FindingId;
use aegis_core::id::{AgentId, AuditId, BootId, ExecutionId, SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_ledger::chain;
use aegis_ledger::entry::Entry;
use aegis_ledger::hash::Hash;
use aegis_ledger::signing::EntrySignature;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::ledger::projection::Projection;
use crate::sql::{Row, Sql};

/// Rows one page has at most.
pub const PAGE_MAX: u32 = 500;
/// Notes on one row that are listed at most.
pub const NOTES_MAX: u32 = 1_000;
/// Rows a page may be away from the newest at most; further back goes by `before`.
pub const OFFSET_MAX: u64 = 100_000;

words! {
    /// What a row is.
    pub enum RowKind {
        /// A governed call.
        Decision = "decision",
        /// The end of a call decided durably before.
        Outcome = "outcome",
        /// A management write.
        Admin = "admin",
        /// A policy version changes state.
        Policy = "policy",
        /// The kill switch.
        Kill = "kill",
        /// A source is enrolled.
        Enrol = "enrol",
        /// A key enters use or leaves it.
        Key = "key",
        /// A source starts.
        Open = "open",
        /// A source ends.
        Close = "close",
        /// A source is alive.
        Heartbeat = "heartbeat",
        /// A declared loss.
        Gap = "gap",
        /// The tree at the end of a day.
        DailyStatement = "daily_statement",
        /// An analyst's note.
        Note = "note",
    }
}

/// Which rows; every field narrows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of these kinds; of every kind if empty.
    pub kinds: Vec<RowKind>,
    /// About this agent.
    pub agent_id: Option<AgentId>,
    /// With this action.
    pub action: Option<String>,
    /// Of this tool.
    pub tool: Option<String>,
    /// With this verdict.
    pub decision: Option<Decision>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Of this call.
    pub execution_id: Option<ExecutionId>,
    /// Of this request, by our id or the client's.
    pub request_id: Option<String>,
    /// Of this session.
    pub session_id: Option<String>,
    /// By this principal.
    pub principal: Option<String>,
    /// With this finding.
    pub finding: Option<FindingId>,
    /// With this rule.
    pub rule_id: Option<String>,
    /// With at least this score, 0–100.
    pub risk_min: Option<u8>,
    /// With at most this score, 0–100.
    pub risk_max: Option<u8>,
    /// From this time of the source's clock on.
    pub from: Option<Timestamp>,
    /// Before this time of the source's clock.
    pub until: Option<Timestamp>,
    /// That a shadow version of this policy would have decided otherwise.
    pub shadowed_by: Option<String>,
    /// With this text in reason or tool, in any case.
    pub text: Option<String>,
}

/// Which part of the matching rows, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Rows at most; cut to [`PAGE_MAX`].
    pub limit: u32,
    /// Rows to pass over.
    pub offset: u64,
    /// Only rows before this index.
    pub before: Option<u64>,
}

/// A row, with the record it is a projection of.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Its place in the tenant's ledger.
    pub index: u64,
    /// Its id.
    pub audit_id: AuditId,
    /// Who wrote it.
    pub source: SourceId,
    /// In which process start.
    pub boot: BootId,
    /// What it is.
    pub kind: RowKind,
    /// When, by the source's clock.
    pub ts: Timestamp,
    /// When the control plane committed it.
    pub received_at: Timestamp,
    /// The call.
    pub execution_id: Option<ExecutionId>,
    /// The request.
    pub request_id: Option<String>,
    /// The id that the client gave it.
    pub client_request_id: Option<String>,
    /// The agent it is about.
    pub agent_id: Option<AgentId>,
    /// By whom.
    pub principal: Option<String>,
    /// The agent's session.
    pub session_id: Option<String>,
    /// The tool.
    pub tool: Option<String>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub object: Option<String>,
    /// The verdict.
    pub decision: Option<Decision>,
    /// What became of it; settled by a later `outcome` row if the decision waited for one.
    pub outcome: Option<Outcome>,
    /// 0–100.
    pub risk_score: Option<u8>,
    /// What it cost.
    pub cost_micro_usd: Option<MicroUsd>,
    /// How many alike refusals it stands for.
    pub count: Option<u64>,
    /// One sentence.
    pub reason: Option<String>,
    /// The index of the `outcome` row that settled it.
    pub outcome_index: Option<u64>,
    /// The signed bytes.
    pub bytes: Vec<u8>,
    /// Their signature.
    pub signature: EntrySignature,
    /// The leaf hash.
    pub leaf: Hash,
    /// The tenant's chain hash up to and with this row.
    pub chain: Hash,
    /// The tenant's chain hash before this row.
    pub chain_before: Hash,
}

impl AuditRow {
    /// The record itself.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the stored bytes are not an entry.
    pub fn entry(&self) -> Result<Entry, StoreError> {
        Entry::decode(&self.bytes).map_err(StoreError::corrupt)
    }
}

/// One page of matching rows.
#[derive(Debug, Clone)]
pub struct AuditPage {
    /// The rows, newest first.
    pub rows: Vec<AuditRow>,
    /// How many match in all, `before` aside.
    pub total: u64,
}

impl AuditPage {
    /// Where the next page begins: [`Page::before`]; absent on the last.
    pub fn next_cursor(&self, page: Page) -> Option<String> {
        let full = u32::try_from(self.rows.len()).is_ok_and(|n| n >= page.limit);
        self.rows.last().filter(|last| full && last.index > 0).map(|last| last.index.to_string())
    }
}

/// The columns of a row with its record, from [`FROM`].
const COLUMNS: &str = "a.idx, a.audit_id, a.source_id, a.kind, a.ts, a.received_at, a.execution_id, a.request_id, \
     a.client_request_id, a.agent_id, a.principal, a.session_id, a.tool, a.action, a.object, a.decision, a.outcome, \
     a.score_bp, a.risk_score, a.findings, a.rule_ids, a.cost_micro_usd, a.count, a.reason, a.shadow, a.outcome_idx, e.boot_id, \
     e.entry, e.signature, e.leaf, e.chain, p.chain AS chain_before";
const FROM: &str = " FROM audit_rows a JOIN ledger_entries e ON e.tenant_id = a.tenant_id AND e.idx = a.idx \
     LEFT JOIN ledger_entries p ON p.tenant_id = a.tenant_id AND p.idx = a.idx - 1 WHERE a.tenant_id = ";

/// Matching rows, newest first, with how many there are.
pub async fn list(db: &mut Conn, tenant: TenantId, filter: &Filter, page: Page) -> Result<AuditPage, StoreError> {
    let mut count = Sql::new("SELECT COUNT(*) AS n FROM audit_rows a WHERE a.tenant_id = ");
    count.push_bind(tenant);
    narrow(&mut count, db, filter);
    let total: u64 = db.fetch_one(count).await?.get("n")?;
    Ok(AuditPage { rows: newest(db, tenant, filter, page).await?, total })
}

/// Matching rows, newest first, uncounted: counting costs by what matches, this by what is told.
pub async fn newest(db: &mut Conn, tenant: TenantId, filter: &Filter, page: Page) -> Result<Vec<AuditRow>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(FROM).push_bind(tenant);
    narrow(&mut sql, db, filter);
    if let Some(before) = page.before {
        sql.push(" AND a.idx < ").push_bind(before);
    }
    sql.push(" ORDER BY a.idx DESC LIMIT ").push_bind(page.limit.min(PAGE_MAX));
    sql.push(" OFFSET ").push_bind(page.offset.min(OFFSET_MAX));
    db.fetch_all(sql).await?.iter().map(|row| from_row(tenant, row)).collect()
}

/// One row.
pub async fn get(db: &mut Conn, tenant: TenantId, audit_id: AuditId) -> Result<Option<AuditRow>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(FROM).push_bind(tenant).push(" AND a.audit_id = ").push_bind(audit_id);
    db.fetch_optional(sql).await?.map(|row| from_row(tenant, &row)).transpose()
}

/// The decision of a call.
pub async fn by_execution(
    db: &mut Conn,
    tenant: TenantId,
    execution_id: ExecutionId,
) -> Result<Option<AuditRow>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(FROM).push_bind(tenant).push(" AND a.execution_id = ").push_bind(execution_id);
    sql.push(" AND a.kind = 'decision' ORDER BY a.idx LIMIT 1");
    db.fetch_optional(sql).await?.map(|row| from_row(tenant, &row)).transpose()
}

/// Rows from an index on, oldest first: to follow a ledger as it grows.
pub async fn since(db: &mut Conn, tenant: TenantId, from: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(FROM).push_bind(tenant).push(" AND a.idx >= ").push_bind(from);
    sql.push(" ORDER BY a.idx LIMIT ").push_bind(limit.min(PAGE_MAX));
    db.fetch_all(sql).await?.iter().map(|row| from_row(tenant, row)).collect()
}

/// Notes on a row, oldest first; the first [`NOTES_MAX`].
pub async fn notes(db: &mut Conn, tenant: TenantId, about: AuditId) -> Result<Vec<AuditRow>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(FROM).push_bind(tenant).push(" AND a.kind = 'note' AND a.object = ");
    sql.push_bind(format!("audit:{about}")).push(" ORDER BY a.idx LIMIT ").push_bind(NOTES_MAX);
    db.fetch_all(sql).await?.iter().map(|row| from_row(tenant, row)).collect()
}

/// How many rows match below an index.
pub async fn count(db: &mut Conn, tenant: TenantId, filter: &Filter, end: u64) -> Result<u64, StoreError> {
    let mut sql = Sql::new("SELECT COUNT(*) AS n FROM audit_rows a WHERE a.tenant_id = ");
    sql.push_bind(tenant).push(" AND a.idx < ").push_bind(end);
    narrow(&mut sql, db, filter);
    db.fetch_one(sql).await?.get("n")
}

/// Matching rows from one index to before another, oldest first: to read a ledger through in pieces.
pub async fn through(
    db: &mut Conn,
    tenant: TenantId,
    filter: &Filter,
    (from, end): (u64, u64),
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(FROM).push_bind(tenant);
    sql.push(" AND a.idx >= ").push_bind(from).push(" AND a.idx < ").push_bind(end);
    narrow(&mut sql, db, filter);
    sql.push(" ORDER BY a.idx LIMIT ").push_bind(limit.min(PAGE_MAX));
    db.fetch_all(sql).await?.iter().map(|row| from_row(tenant, row)).collect()
}

fn narrow(sql: &mut Sql, db: &Conn, filter: &Filter) {
    if !filter.kinds.is_empty() {
        sql.push(" AND a.kind IN ").push_tuple(filter.kinds.iter().map(|k| k.as_str().into()));
    }
    if let Some(agent) = filter.agent_id {
        sql.push(" AND a.agent_id = ").push_bind(agent);
    }
    if let Some(decision) = filter.decision {
        sql.push(" AND a.decision = ").push_bind(decision.as_str());
    }
    if let Some(outcome) = filter.outcome {
        sql.push(" AND a.outcome = ").push_bind(outcome.as_str());
    }
    if let Some(execution) = filter.execution_id {
        sql.push(" AND a.execution_id = ").push_bind(execution);
    }
    let texts = [
        (" AND a.action = ", &filter.action),
        (" AND a.tool = ", &filter.tool),
        (" AND a.session_id = ", &filter.session_id),
        (" AND a.principal = ", &filter.principal),
    ];
    for (clause, text) in texts {
        if let Some(text) = text {
            sql.push(clause).push_bind(text.as_str());
        }
    }
    if let Some(request) = &filter.request_id {
        sql.push(" AND (a.request_id = ").push_bind(request.as_str());
        sql.push(" OR a.client_request_id = ").push_bind(request.as_str()).push(")");
    }
    if let Some(finding) = filter.finding {
        sql.push(" AND a.findings LIKE ").push_bind(format!("%\"{finding}\"%"));
    }
    if let Some(rule) = &filter.rule_id {
        let quoted = serde_json::Value::from(rule.as_str()).to_string();
        sql.push(" AND a.rule_ids LIKE ").push_bind(contains(&quoted)).push(" ESCAPE '!'");
    }
    if let Some(name) = &filter.shadowed_by {
        sql.push(" AND a.shadow IS NOT NULL AND a.shadow LIKE ").push_bind(contains(&format!("\"{name}@")));
        sql.push(" ESCAPE '!'");
    }
    if let Some(risk) = filter.risk_min {
        sql.push(" AND a.risk_score >= ").push_bind(risk);
    }
    if let Some(risk) = filter.risk_max {
        sql.push(" AND a.risk_score <= ").push_bind(risk);
    }
    if let Some(from) = filter.from {
        sql.push(" AND a.ts >= ").push_bind(from);
    }
    if let Some(until) = filter.until {
        sql.push(" AND a.ts < ").push_bind(until);
    }
    if let Some(text) = &filter.text {
        let like = db.dialect().ilike();
        sql.push(" AND (a.reason").push(like).push_bind(contains(text)).push(" ESCAPE '!' OR a.tool").push(like);
        sql.push_bind(contains(text)).push(" ESCAPE '!')");
    }
}

/// A pattern for text that contains this one literally; `!` escapes.
fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn from_row(tenant: TenantId, row: &Row) -> Result<AuditRow, StoreError> {
    let p = Projection::from_row(row)?;
    let chain_before: Option<Hash> = row.maybe("chain_before")?;
    Ok(AuditRow {
        index: row.get("idx")?,
        audit_id: p.audit_id,
        source: p.source,
        boot: row.get("boot_id")?,
        kind: row.word("kind", RowKind::parse)?,
        ts: p.ts,
        received_at: row.get("received_at")?,
        execution_id: p.execution_id,
        request_id: p.request_id,
        client_request_id: p.client_request_id,
        agent_id: p.agent_id,
        principal: p.principal,
        session_id: p.session_id,
        tool: p.tool,
        action: p.action,
        object: p.object,
        decision: p.decision,
        outcome: p.outcome,
        risk_score: p.risk_score,
        cost_micro_usd: p.cost_micro_usd,
        count: p.count,
        reason: p.reason,
        outcome_index: row.maybe("outcome_idx")?,
        bytes: row.get("entry")?,
        signature: row.json("signature")?,
        leaf: row.get("leaf")?,
        chain: row.get("chain")?,
        chain_before: chain_before.unwrap_or_else(|| chain::tenant_genesis(tenant)),
    })
}
