//! What an entry says, as columns. Verification computes the same again from the bytes and compares.

use std::ops::Range;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::id::{AgentId, AuditId, ExecutionId, SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::rows::DecisionRow;

use crate::error::StoreError;
use crate::sql::{self, Row, Sql, Value};

/// The columns of `audit_rows` that come from the entry, in the order of [`Projection::values`].
pub(crate) const COLUMNS: [&str; 23] = [
    "audit_id",
    "source_id",
    "kind",
    "ts",
    "execution_id",
    "request_id",
    "client_request_id",
    "agent_id",
    "principal",
    "session_id",
    "tool",
    "action",
    "object",
    "decision",
    "outcome",
    "score_bp",
    "risk_score",
    "findings",
    "rule_ids",
    "cost_micro_usd",
    "count",
    "reason",
    "shadow",
];

/// One row of `audit_rows`, without index and time of receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Projection {
    pub(crate) audit_id: AuditId,
    pub(crate) source: SourceId,
    pub(crate) kind: String,
    pub(crate) ts: Timestamp,
    pub(crate) execution_id: Option<ExecutionId>,
    pub(crate) request_id: Option<String>,
    pub(crate) client_request_id: Option<String>,
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) principal: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) action: String,
    pub(crate) object: Option<String>,
    pub(crate) decision: Option<Decision>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) score_bp: Option<u16>,
    pub(crate) risk_score: Option<u8>,
    /// JSON list of finding ids.
    pub(crate) findings: Option<String>,
    /// JSON list.
    pub(crate) rule_ids: Option<String>,
    pub(crate) cost_micro_usd: Option<MicroUsd>,
    pub(crate) count: Option<u64>,
    pub(crate) reason: Option<String>,
    /// JSON list of the shadow versions (`name@version`) that would have decided otherwise; absent if none.
    pub(crate) shadow: Option<String>,
}

impl Projection {
    /// The entry's columns.
    pub(crate) fn of(entry: &Entry) -> Result<Self, StoreError> {
        let mut row = Self::empty(entry);
        match &entry.body {
            Body::Decision(decision) => row.decision(decision)?,
            Body::Outcome(o) => {
                row.execution_id = Some(o.execution_id);
                row.outcome = Some(o.outcome);
                row.cost_micro_usd = Some(o.cost_micro_usd);
                row.reason = Some(o.reason.clone());
            }
            Body::Admin(a) => {
                row.principal = Some(a.actor.clone());
                row.action.clone_from(&a.action);
                row.agent_id = a.object.strip_prefix("agent:").and_then(|id| id.parse().ok());
                row.object = Some(a.object.clone());
                row.request_id = Some(a.request_id.clone());
            }
            Body::Policy(p) => {
                row.principal = Some(p.actor.clone());
                row.action = format!("policy.{}", p.mode);
                row.object = Some(format!("policy:{}@{}", p.name, p.version));
            }
            Body::Kill(k) => {
                row.principal = Some(k.actor.clone());
                row.action = if k.engaged.is_some() { "kill_switch.engage" } else { "kill_switch.disengage" }.into();
                row.reason = k.engaged.as_ref().map(|e| e.reason.clone());
            }
            Body::Enrol(e) => row.object = Some(format!("source:{}", e.enrolled)),
            Body::Key(k) => {
                row.action = format!("key.{}", k.state);
                row.object = Some(format!("key:{}", k.key_id));
            }
            Body::Close(c) => row.reason = Some(c.reason.clone()),
            Body::Gap(g) => {
                row.reason = Some(g.why.clone());
                row.object = Some(format!("boot:{}", g.lost_boot));
            }
            Body::DailyStatement(s) => row.object = Some(format!("day:{}", s.date)),
            Body::Note(n) => {
                row.principal = Some(n.actor.clone());
                row.object = Some(format!("audit:{}", n.about));
                row.reason = Some(n.body.clone());
            }
            Body::Open(_) | Body::Heartbeat(_) => {}
        }
        Ok(row)
    }

    fn empty(entry: &Entry) -> Self {
        Self {
            audit_id: entry.header.audit_id,
            source: entry.header.source,
            kind: entry.body.kind().to_owned(),
            ts: entry.header.ts,
            execution_id: None,
            request_id: None,
            client_request_id: None,
            agent_id: None,
            principal: None,
            session_id: None,
            tool: None,
            action: entry.body.kind().to_owned(),
            object: None,
            decision: None,
            outcome: None,
            score_bp: None,
            risk_score: None,
            findings: None,
            rule_ids: None,
            cost_micro_usd: None,
            count: None,
            reason: None,
            shadow: None,
        }
    }

    fn decision(&mut self, d: &DecisionRow) -> Result<(), StoreError> {
        let findings: Vec<&str> = d.findings.iter().map(|f| f.id.as_str()).collect();
        self.execution_id = Some(d.execution_id);
        self.request_id = Some(d.request_id.clone());
        self.client_request_id.clone_from(&d.client_request_id);
        self.agent_id = Some(d.agent_id);
        self.principal = Some(d.principal.clone());
        self.session_id.clone_from(&d.session_id);
        self.tool = Some(d.tool.clone());
        self.action.clone_from(&d.action);
        self.decision = Some(d.decision);
        self.outcome = Some(d.outcome);
        self.score_bp = Some(d.score_bp.get());
        self.risk_score = Some(d.risk_score);
        self.findings = Some(sql::json(&findings)?);
        self.rule_ids = Some(sql::json(&d.rule_ids)?);
        self.cost_micro_usd = Some(d.cost_micro_usd);
        self.count = Some(d.count);
        self.reason = Some(d.reason.clone());
        let otherwise = d.shadow.iter().filter(|shadow| shadow.decision != d.decision);
        let otherwise: Vec<String> = otherwise.map(|shadow| format!("{}@{}", shadow.name, shadow.version)).collect();
        if !otherwise.is_empty() {
            self.shadow = Some(sql::json(&otherwise)?);
        }
        Ok(())
    }

    /// The columns, in the order of [`COLUMNS`].
    pub(crate) fn values(self) -> [Value; COLUMNS.len()] {
        [
            self.audit_id.into(),
            self.source.into(),
            self.kind.into(),
            self.ts.into(),
            self.execution_id.into(),
            self.request_id.into(),
            self.client_request_id.into(),
            self.agent_id.into(),
            self.principal.into(),
            self.session_id.into(),
            self.tool.into(),
            self.action.into(),
            self.object.into(),
            self.decision.map(Decision::as_str).into(),
            self.outcome.map(Outcome::as_str).into(),
            self.score_bp.into(),
            self.risk_score.into(),
            self.findings.into(),
            self.rule_ids.into(),
            self.cost_micro_usd.into(),
            self.count.into(),
            self.reason.into(),
            self.shadow.into(),
        ]
    }

    /// The columns as they are stored.
    pub(crate) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let decision: Option<String> = row.maybe("decision")?;
        let outcome: Option<String> = row.maybe("outcome")?;
        Ok(Self {
            audit_id: row.get("audit_id")?,
            source: row.get("source_id")?,
            kind: row.get("kind")?,
            ts: row.get("ts")?,
            execution_id: row.maybe("execution_id")?,
            request_id: row.maybe("request_id")?,
            client_request_id: row.maybe("client_request_id")?,
            agent_id: row.maybe("agent_id")?,
            principal: row.maybe("principal")?,
            session_id: row.maybe("session_id")?,
            tool: row.maybe("tool")?,
            action: row.get("action")?,
            object: row.maybe("object")?,
            decision: word(decision, Decision::parse)?,
            outcome: word(outcome, Outcome::parse)?,
            score_bp: row.maybe("score_bp")?,
            risk_score: row.maybe("risk_score")?,
            findings: row.maybe("findings")?,
            rule_ids: row.maybe("rule_ids")?,
            cost_micro_usd: row.maybe("cost_micro_usd")?,
            count: row.maybe("count")?,
            reason: row.maybe("reason")?,
            shadow: row.maybe("shadow")?,
        })
    }
}

/// Appends the projection's columns and the end of a statement over entries `e`, in their order, with the row `a` of each.
pub(crate) fn push_beside_entries(sql: &mut Sql, tenant: TenantId, indices: Range<u64>) {
    sql.push_columns("a.", &COLUMNS);
    sql.push(
        " FROM ledger_entries e LEFT JOIN audit_rows a ON a.tenant_id = e.tenant_id AND a.idx = e.idx \
         WHERE e.tenant_id = ",
    );
    sql.push_bind(tenant).push(" AND e.idx >= ").push_bind(indices.start);
    sql.push(" AND e.idx < ").push_bind(indices.end).push(" ORDER BY e.idx");
}

fn word<T>(text: Option<String>, parse: fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
    text.map(|t| parse(&t).ok_or_else(|| StoreError::corrupt(format!("unknown word {t}")))).transpose()
}
