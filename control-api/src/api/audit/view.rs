//! How audit rows look in answers.

use aegis_core::decision::Decision;
use aegis_core::id::{AgentId, AuditId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_store::StoreError;
use aegis_store::audit::{AuditPage, AuditRow, Page};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A page of audit rows, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogPage {
    /// Rows that match in all.
    total: u64,
    limit: u32,
    offset: u64,
    items: Vec<LogView>,
}

impl LogPage {
    /// The page, and where the next one begins.
    pub(super) fn new(tenant: TenantId, found: &AuditPage, page: Page) -> Result<(Self, Option<String>), StoreError> {
        let next = found.next_cursor(page);
        let items = found.rows.iter().map(|row| LogView::new(tenant, row)).collect::<Result<_, _>>()?;
        Ok((Self { total: found.total, limit: page.limit, offset: page.offset, items }, next))
    }
}

/// One audit row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogView {
    id: AuditId,
    tenant_id: TenantId,
    /// The agent it is about; management rows may have none.
    agent_id: Option<AgentId>,
    /// What was done: `execute`, or a management verb.
    #[schema(examples("execute"))]
    action: String,
    #[schema(examples("db.query"))]
    tool: Option<String>,
    /// The verdict; management rows have none.
    decision: Option<Decision>,
    /// One sentence.
    reason: Option<String>,
    /// Everything else that the row says.
    #[schema(value_type = Object)]
    metadata_json: Map<String, Value>,
    request_id: Option<String>,
    /// The tenant's chain hash up to and with this row (SHA-256, hex).
    event_hash: Option<String>,
    /// The tenant's chain hash before this row (SHA-256, hex).
    prev_hash: Option<String>,
    /// When, by the clock of the row's source.
    timestamp: Timestamp,
}

impl LogView {
    /// The row as clients see it.
    pub(crate) fn new(tenant_id: TenantId, row: &AuditRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.audit_id,
            tenant_id,
            agent_id: row.agent_id,
            action: row.action.clone(),
            tool: row.tool.clone(),
            decision: row.decision,
            reason: row.reason.clone(),
            metadata_json: metadata(row)?,
            request_id: row.request_id.clone(),
            event_hash: Some(row.chain.to_hex()),
            prev_hash: Some(row.chain_before.to_hex()),
            timestamp: row.ts,
        })
    }
}

/// The row's other facts: what the columns know, and from the record what they do not.
pub(super) fn metadata(row: &AuditRow) -> Result<Map<String, Value>, StoreError> {
    let mut facts = json!({
        "kind": row.kind,
        "index": row.index,
        "source": row.source,
        "boot": row.boot,
        "received_at": row.received_at,
        "leaf_hash": row.leaf,
        "principal": row.principal,
        "object": row.object,
        "execution_id": row.execution_id,
        "client_request_id": row.client_request_id,
        "session_id": row.session_id,
        "outcome": row.outcome,
        "outcome_index": row.outcome_index,
        "risk_score": row.risk_score,
        "cost_micro_usd": row.cost_micro_usd,
        "count": row.count,
    });
    match row.entry()?.body {
        Body::Decision(d) => merge(
            &mut facts,
            json!({
                "score_bp": d.score_bp,
                "findings": d.findings,
                "rule_ids": d.rule_ids,
                "signals": d.signals,
                "stages": d.stages,
                "policy": d.policy,
                "shadow": if d.shadow.is_empty() { None } else { Some(d.shadow) },
                "contract": d.contract,
                "approval": d.approval,
                "snapshot_version": d.snapshot_version,
                "redactions": d.redactions,
                "upstream": d.upstream,
                "level": d.level,
            }),
        ),
        Body::Admin(admin) => merge(&mut facts, json!({ "detail": admin.detail })),
        Body::Outcome(o) => merge(&mut facts, json!({ "redactions": o.redactions, "upstream": o.upstream })),
        Body::Gap(gap) => merge(&mut facts, json!({ "from": gap.from, "to": gap.to })),
        Body::Heartbeat(beat) => merge(
            &mut facts,
            json!({
                "forwarded": beat.forwarded,
                "denied": beat.denied,
                "errored": beat.errored,
                "last_seq": beat.last_seq,
            }),
        ),
        Body::Open(_)
        | Body::Close(_)
        | Body::Key(_)
        | Body::Enrol(_)
        | Body::Policy(_)
        | Body::Kill(_)
        | Body::DailyStatement(_)
        | Body::Note(_) => {}
    }
    Ok(match facts {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    })
}

fn merge(facts: &mut Value, more: Value) {
    if let (Value::Object(facts), Value::Object(more)) = (facts, more) {
        facts.extend(more);
    }
}
