//! Why a decision was made.

mod rules;

use aegis_core::decision::{Decision, Outcome, Stage};
use aegis_core::id::{AgentId, ApprovalId, AuditId, ContractId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::DecisionRow;
use aegis_store::Conn;
use aegis_store::audit::{self, AuditRow, Filter, Page, RowKind};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use rules::RuleView;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Path;
use crate::state::App;

/// Rows of the timeline and of the like.
const NEIGHBOURS: u32 = 5;

/// A decision with its reasons.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explained {
    audit_id: AuditId,
    request_id: Option<String>,
    agent_id: AgentId,
    action: String,
    tool: Option<String>,
    decision: Decision,
    outcome: Option<Outcome>,
    /// 0–100.
    risk_score: u8,
    /// The findings' ids.
    findings: Vec<String>,
    /// What the decision was computed from.
    signals: Vec<SignalView>,
    /// The stage that decided.
    decided_by: StageView,
    /// The stages that ran, in order.
    stages: Vec<StageView>,
    /// The rules that spoke, the deciding one first.
    rule_ids: Vec<String>,
    /// The same with their text, their place in it and what of the input they read; the first ten.
    rules: Vec<RuleView>,
    /// In words.
    explanation: String,
    policy_context: PolicyContext,
    /// The contract in force.
    contract_id: Option<ContractId>,
    /// The approval used or asked for.
    approval_id: Option<ApprovalId>,
    timestamp: Timestamp,
    /// The newest other decisions about the same agent.
    timeline: Vec<Neighbour>,
    /// The newest other decisions with the same tool and verdict.
    similar: Vec<Neighbour>,
}

/// A signal: a finding, or one of the weighted signals of the verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignalView {
    #[schema(examples("policy"))]
    finding: String,
    #[schema(examples("policy: 7200 of 10000, triggered from 5000"))]
    label: String,
    triggered: bool,
    /// Basis points, 0–10 000.
    score_bp: u16,
    /// The score from which it is triggered, basis points; absent for findings.
    threshold_bp: Option<u16>,
}

/// A stage of the call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StageView {
    /// 0–10.
    n: u8,
    #[schema(examples("policy"))]
    name: &'static str,
    #[schema(examples("refuse"))]
    outcome: String,
    /// Microseconds.
    us: u64,
}

/// The policy that was in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyContext {
    #[schema(examples("OPA"))]
    framework: &'static str,
    /// Revision of the platform bundle; empty if policy was not reached.
    version: String,
    /// Revision of the tenant's overlay, if policy was reached.
    overlay: Option<String>,
}

/// Another decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Neighbour {
    audit_id: AuditId,
    action: String,
    tool: Option<String>,
    decision: Option<Decision>,
    timestamp: Timestamp,
    risk_score: Option<u8>,
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AuditId>,
) -> Result<Answer<Explained>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let row = audit::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("decision"))?;
    if caller.only_agent().is_some_and(|own| row.agent_id != Some(own)) {
        return Err(ApiError::NotFound("decision"));
    }
    let Body::Decision(said) = row.entry()?.body else { return Err(ApiError::NotFound("decision")) };
    let of_agent = Filter { agent_id: Some(said.agent_id), ..Filter::default() };
    let alike = Filter {
        tool: Some(said.tool.clone()),
        decision: Some(said.decision),
        agent_id: caller.only_agent(),
        ..Filter::default()
    };
    let timeline = neighbours(&mut tx, &caller, of_agent, id).await?;
    let similar = neighbours(&mut tx, &caller, alike, id).await?;
    let rules = rules::of(&app, &mut tx, tenant, &row, &said).await?;
    Ok(Answer::ok(explain(&row, *said, rules, timeline, similar)))
}

async fn neighbours(tx: &mut Conn, caller: &Caller, filter: Filter, of: AuditId) -> Result<Vec<Neighbour>, ApiError> {
    let filter = Filter { kinds: vec![RowKind::Decision], ..filter };
    let page = Page { limit: NEIGHBOURS + 1, offset: 0, before: None };
    let found = audit::list(tx, caller.tenant_id(), &filter, page).await?;
    let others = found.rows.into_iter().filter(|row| row.audit_id != of).take(NEIGHBOURS as usize);
    Ok(others.map(Neighbour::from).collect())
}

impl From<AuditRow> for Neighbour {
    fn from(row: AuditRow) -> Self {
        Self {
            audit_id: row.audit_id,
            action: row.action,
            tool: row.tool,
            decision: row.decision,
            timestamp: row.ts,
            risk_score: row.risk_score,
        }
    }
}

fn explain(
    row: &AuditRow,
    said: DecisionRow,
    rules: Vec<RuleView>,
    timeline: Vec<Neighbour>,
    similar: Vec<Neighbour>,
) -> Explained {
    let stages: Vec<StageView> = said
        .stages
        .iter()
        .map(|step| StageView { n: step.n, name: stage_name(step.n), outcome: step.outcome.clone(), us: step.us })
        .collect();
    let decided_by = deciding(&said);
    Explained {
        audit_id: row.audit_id,
        request_id: row.request_id.clone(),
        agent_id: said.agent_id,
        tool: Some(said.tool.clone()),
        decision: said.decision,
        outcome: row.outcome,
        risk_score: said.risk_score,
        findings: said.findings.iter().map(|f| f.id.to_string()).collect(),
        signals: signals(&said),
        explanation: sentence(&said, row.outcome, decided_by.name),
        decided_by,
        stages,
        rule_ids: said.rule_ids,
        rules,
        policy_context: PolicyContext {
            framework: "OPA",
            version: said.policy.as_ref().map(|p| p.bundle.clone()).unwrap_or_default(),
            overlay: said.policy.map(|p| p.revision),
        },
        contract_id: said.contract,
        approval_id: said.approval,
        action: said.action,
        timestamp: row.ts,
        timeline,
        similar,
    }
}

/// The stage that refused; if none did, the one that gives the verdict.
fn deciding(said: &DecisionRow) -> StageView {
    let refused = said.stages.iter().find(|step| step.outcome == "refuse");
    let verdict = said.stages.iter().find(|step| step.n == Stage::Decision.number());
    let step = refused.or(verdict);
    StageView {
        n: step.map_or(Stage::Decision.number(), |s| s.n),
        name: stage_name(step.map_or(Stage::Decision.number(), |s| s.n)),
        outcome: step.map(|s| s.outcome.clone()).unwrap_or_default(),
        us: step.map(|s| s.us).unwrap_or_default(),
    }
}

fn stage_name(n: u8) -> &'static str {
    Stage::ALL.get(usize::from(n)).map_or("unknown", |stage| stage.as_str())
}

fn signals(said: &DecisionRow) -> Vec<SignalView> {
    let weighted = said.signals.iter().map(|(name, signal)| {
        let (score, threshold) = (signal.score_bp.get(), signal.threshold_bp.get());
        SignalView {
            finding: name.clone(),
            label: format!("{name}: {score} of 10000, triggered from {threshold}"),
            triggered: score >= threshold,
            score_bp: score,
            threshold_bp: Some(threshold),
        }
    });
    let findings = said.findings.iter().map(|finding| {
        let (category, _, technique) = finding.id.registry();
        let place = if finding.pointer.is_empty() { "the call as a whole" } else { &finding.pointer };
        let technique = if technique.is_empty() { String::new() } else { format!(", {technique}") };
        SignalView {
            finding: finding.id.to_string(),
            label: format!("{} ({category}{technique}), {} at {place}", finding.id, finding.severity),
            triggered: true,
            score_bp: u16::from(finding.score) * 100,
            threshold_bp: None,
        }
    });
    weighted.chain(findings).collect()
}

fn sentence(said: &DecisionRow, outcome: Option<Outcome>, stage: &str) -> String {
    let rule = said.rule_ids.first().map(|rule| format!("; the deciding rule is {rule}")).unwrap_or_default();
    let end = outcome.map(|o| format!("; the call was {}", o.as_str().replace('_', " "))).unwrap_or_default();
    let (decision, risk, reason) = (said.decision, said.risk_score, &said.reason);
    format!("{decision} by stage {stage} with a risk of {risk} of 100{rule}{end}: {reason}")
}
