//! The SOC's timeline: denied and risky calls, kill switches and policy changes, merged by their place in the ledger.

use std::collections::BTreeMap;

use aegis_core::decision::Decision;
use aegis_core::id::{AgentId, AuditId};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::audit::{self, AuditRow, Filter, Page, RowKind};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::span::Limit;
use crate::state::App;

/// The score from which a call is of high risk.
const HIGH_RISK: u8 = 70;

words! {
    /// What happened.
    pub(crate) enum SocType {
        /// A call judged KILL.
        AgentKill = "agent_kill",
        /// A call judged ESCALATE.
        Escalation = "escalation",
        /// A call that a policy rule denied.
        PolicyDeny = "policy_deny",
        /// A call of high risk that went on, was slowed down or was refused by a gate.
        HighRisk = "high_risk",
        /// The kill switch was engaged or disengaged.
        KillSwitch = "kill_switch",
        /// A policy version came into force, beside it, or left.
        PolicyChange = "policy_change",
    }
}

words! {
    /// How bad.
    pub(crate) enum SocSeverity {
        /// Look at once.
        Critical = "CRITICAL",
        /// Look today.
        High = "HIGH",
        /// Look when there is time.
        Medium = "MEDIUM",
        /// For the record.
        Low = "LOW",
    }
}

/// Something that matters to security.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SocEvent {
    /// The row.
    id: AuditId,
    r#type: SocType,
    severity: SocSeverity,
    /// The agent, if it is about one.
    agent_id: Option<AgentId>,
    timestamp: Timestamp,
    #[schema(examples("KILL at risk 95: rule agent.deny.destructive_sql spoke."))]
    message: String,
    tool: Option<String>,
    /// The verdict, if it is a call.
    decision: Option<Decision>,
    /// 0–100, if it is a call.
    risk_score: Option<u8>,
    /// By whom: a principal label.
    principal: Option<String>,
}

pub(super) async fn timeline(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Limit<60, 1, 200>>,
) -> Result<Answer<Vec<SocEvent>>, ApiError> {
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let calls = || Filter { kinds: vec![RowKind::Decision], agent_id: caller.only_agent(), ..Filter::default() };
    let mut filters = vec![
        Filter { decision: Some(Decision::Kill), ..calls() },
        Filter { decision: Some(Decision::Escalate), ..calls() },
        Filter { risk_min: Some(HIGH_RISK), ..calls() },
    ];
    // Whoever is bound to one agent sees that agent's rows only.
    if caller.only_agent().is_none() {
        filters.push(Filter { kinds: vec![RowKind::Kill, RowKind::Policy], ..Filter::default() });
    }
    let page = Page { limit: query.limit.get(), offset: 0, before: None };
    let mut events: BTreeMap<u64, SocEvent> = BTreeMap::new();
    for filter in filters {
        let rows = audit::newest(&mut tx, caller.tenant_id(), &filter, page).await?;
        events.extend(rows.into_iter().map(|row| (row.index, SocEvent::from(row))));
    }
    let limit = usize::try_from(query.limit.get()).unwrap_or(usize::MAX);
    Ok(Answer::ok(events.into_values().rev().take(limit).collect()))
}

impl From<AuditRow> for SocEvent {
    fn from(row: AuditRow) -> Self {
        let (r#type, severity) = judge(&row);
        let reason = row.reason.unwrap_or_default();
        let message = match row.kind {
            RowKind::Decision => reason,
            _ => [row.action.as_str(), row.object.as_deref().unwrap_or_default(), reason.as_str()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
        };
        Self {
            id: row.audit_id,
            r#type,
            severity,
            agent_id: row.agent_id,
            timestamp: row.ts,
            message,
            tool: row.tool,
            decision: row.decision,
            risk_score: row.risk_score,
            principal: row.principal,
        }
    }
}

fn judge(row: &AuditRow) -> (SocType, SocSeverity) {
    let by_rule = row.reason.as_deref().is_some_and(|reason| reason.starts_with("policy_denied"));
    match (row.kind, row.decision) {
        (RowKind::Kill, _) => (SocType::KillSwitch, SocSeverity::Critical),
        (RowKind::Policy, _) => (SocType::PolicyChange, SocSeverity::Low),
        (_, Some(Decision::Kill)) if by_rule => (SocType::PolicyDeny, SocSeverity::High),
        (_, Some(Decision::Kill)) => (SocType::AgentKill, SocSeverity::Critical),
        (_, Some(Decision::Escalate)) => (SocType::Escalation, SocSeverity::High),
        (_, Some(Decision::Allow | Decision::Monitor | Decision::Throttle | Decision::Refused) | None) => {
            (SocType::HighRisk, SocSeverity::Medium)
        }
    }
}
