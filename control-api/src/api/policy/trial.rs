//! Trying a policy out: its `test_*` rules and cases, with the lines they reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_core::agent::{AgentRecord, AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::id::{AgentId, GrantId, TenantId};
use aegis_core::pattern::{ToolName, ToolPattern};
use aegis_core::policy::{POLICY_TEXT_MAX, PolicyFile};
use aegis_core::snapshot::Item;
use aegis_core::tenant::TenantRecord;
use aegis_core::words;
use aegis_pipeline::policy::{
    CASES_MAX, Case, CaseResult, FileCoverage, PolicyFailure, PolicyVerdict, TestResult, Trial, try_out,
};
use aegis_store::{Conn, item, policy, registry, tenant};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::replay::effect_of;
use super::upload::refusal;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::figures::percent;
use crate::state::App;

/// The name of a submitted text.
const DRAFT_NAME: &str = "draft";

words! {
    /// What a policy says of a call, the strictest first.
    pub(crate) enum PolicyWord {
        /// A rule denies it.
        Deny = "deny",
        /// A rule wants a human.
        Escalate = "escalate",
        /// A rule wants it watched.
        Monitor = "monitor",
        /// No rule speaks.
        Allow = "allow",
        /// The policy cannot be evaluated: the call would be denied.
        Error = "error",
    }
}

/// What to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialBody {
    /// The text, beside the platform's rules; by default the tenant's policies that are in force.
    #[schema(max_length = 262_144)]
    rego: Option<String>,
    /// Calls and what the rules should say of them.
    #[serde(default)]
    #[schema(max_items = 200)]
    test_cases: Vec<TrialCase>,
}

/// A call that may never have been made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialCase {
    #[schema(examples("db.query"))]
    tool_name: String,
    /// The arguments, looked at by detection as in a real call.
    #[serde(default)]
    #[schema(value_type = Object, examples(json!({"query": "SELECT 1"})))]
    payload: Map<String, Value>,
    agent: Option<TrialAgent>,
    expected: PolicyWord,
}

/// On behalf of whom: one of the tenant's agents, or an active one of low risk with every tool granted, and what of it
/// shall be otherwise.
#[derive(Debug, Default, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialAgent {
    /// One of the tenant's agents.
    id: Option<AgentId>,
    status: Option<AgentStatus>,
    risk_level: Option<RiskLevel>,
    metadata: Option<BTreeMap<String, String>>,
    /// Whether every tool is granted, or none.
    granted: Option<bool>,
}

impl RequestBody for TrialBody {
    fn validate(&self, issues: &mut Issues) {
        let short = self.rego.as_ref().is_none_or(|rego| rego.len() <= POLICY_TEXT_MAX);
        issues.check(short, "rego", "may have 262144 bytes at most");
        let few = self.test_cases.len() <= CASES_MAX;
        issues.check(few, "test_cases", format!("may have {CASES_MAX} cases at most"));
        for case in &self.test_cases {
            issues.check(ToolName::parse(&case.tool_name).is_ok(), "test_cases", "tool_name is not a tool's name");
        }
    }
}

/// What a trial showed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialView {
    /// The `test_*` rules, then the cases.
    results: Vec<ResultView>,
    passed_count: u64,
    total: u64,
    /// Whether all passed; true if there were none.
    all_passed: bool,
    coverage: CoverageView,
}

/// One test rule or case.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultView {
    /// The test rule's file and name; `null` for cases.
    #[schema(examples("draft.rego: test_friday_is_denied"))]
    name: Option<String>,
    /// The case's call; `null` for test rules.
    input: Option<CaseView>,
    /// `true` for a test rule, else what the case expects.
    #[schema(examples("deny"))]
    expected: String,
    /// `true` or `false` for a test rule, else what the rules say.
    #[schema(examples("deny"))]
    actual: String,
    passed: bool,
    /// The rules that spoke, the strictest first.
    rule_ids: Vec<String>,
    /// Microseconds it took, detection included.
    duration_us: u64,
}

/// A case's call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaseView {
    #[schema(examples("db.query"))]
    tool_name: String,
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
}

/// The lines that tests and cases reached, of those with anything to evaluate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CoverageView {
    covered_lines: u64,
    total_lines: u64,
    /// 0–100.
    percent: f64,
    files: Vec<FileView>,
}

/// The lines of one file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileView {
    #[schema(examples("draft.rego"))]
    file: String,
    covered_lines: u64,
    /// Lines that were not reached, from 1.
    not_covered: Vec<u32>,
}

pub(super) async fn run(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<TrialBody>,
) -> Result<Answer<TrialView>, ApiError> {
    let tenant = caller.tenant_id();
    let TrialBody { rego, test_cases } = body;
    let mut tx = app.store.read(tenant).await?;
    let record = tenant::get(&mut tx, tenant).await?.ok_or(ApiError::NotFound("tenant"))?.record;
    let files = match rego {
        Some(rego) => vec![PolicyFile { name: DRAFT_NAME.into(), version: 0, revision: String::new(), rego }],
        None => policy::active(&mut tx, tenant).await?,
    };
    let mut cases = Vec::with_capacity(test_cases.len());
    let tools = registry::announced(&mut tx, tenant).await?;
    for case in &test_cases {
        let tool = ToolName::parse(&case.tool_name).map_err(|e| ApiError::invalid("test_cases", e.to_string()))?;
        let agent = agent_of(&mut tx, tenant, &record, case.agent.clone().unwrap_or_default()).await?;
        cases.push(Case { effect: effect_of(&tools, &tool), tool, payload: case.payload.clone(), agent });
    }
    drop(tx);
    let (platform, clock) = (Arc::clone(&app.platform), Arc::clone(&app.clock));
    let tried = tokio::task::spawn_blocking(move || try_out(&platform, &files, &record, &cases, &*clock));
    let tried = tried.await.map_err(|e| ApiError::bug("policy trial", &e))?.map_err(|problem| refusal(&problem))?;
    Ok(Answer::ok(TrialView::new(tried, test_cases)))
}

async fn agent_of(
    db: &mut Conn,
    tenant: TenantId,
    record: &TenantRecord,
    wanted: TrialAgent,
) -> Result<AgentRecord, ApiError> {
    let mut agent = match wanted.id {
        None => AgentRecord {
            id: AgentId::from_uuid(Uuid::nil()),
            org_id: record.org_id,
            name: "trial".into(),
            status: AgentStatus::Active,
            risk_level: RiskLevel::Low,
            metadata: BTreeMap::new(),
            grants: every_tool(),
            requests_per_second: None,
            daily_cost_cap_micro_usd: None,
            parent: None,
        },
        Some(id) => match item::get(db, tenant, &format!("agent/{id}")).await? {
            Some(Item::Agent(agent)) => agent,
            _ => return Err(ApiError::invalid("test_cases", "the tenant has no agent with this id")),
        },
    };
    agent.status = wanted.status.unwrap_or(agent.status);
    agent.risk_level = wanted.risk_level.unwrap_or(agent.risk_level);
    agent.metadata = wanted.metadata.unwrap_or(agent.metadata);
    match wanted.granted {
        Some(true) => agent.grants = every_tool(),
        Some(false) => agent.grants.clear(),
        None => {}
    }
    Ok(agent)
}

fn every_tool() -> Vec<Grant> {
    let id = GrantId::from_uuid(Uuid::nil());
    vec![Grant { id, tool: ToolPattern::Any, effect: GrantEffect::Allow, expires_at: None }]
}

impl TrialView {
    fn new(tried: Trial, cases: Vec<TrialCase>) -> Self {
        let tests = tried.tests.into_iter().map(ResultView::from);
        let cases = tried.cases.into_iter().zip(cases).map(ResultView::from);
        let results: Vec<ResultView> = tests.chain(cases).collect();
        let passed = results.iter().filter(|result| result.passed).count();
        Self {
            passed_count: passed as u64,
            total: results.len() as u64,
            all_passed: passed == results.len(),
            coverage: tried.coverage.into(),
            results,
        }
    }
}

impl From<TestResult> for ResultView {
    fn from(test: TestResult) -> Self {
        Self {
            name: Some(format!("{}: {}", test.file, test.name)),
            input: None,
            expected: true.to_string(),
            actual: test.passed.to_string(),
            passed: test.passed,
            rule_ids: Vec::new(),
            duration_us: micros(test.took),
        }
    }
}

impl From<(CaseResult, TrialCase)> for ResultView {
    fn from((result, case): (CaseResult, TrialCase)) -> Self {
        let actual = said(&result.verdict);
        let rule_ids = result.verdict.map(rules).unwrap_or_default();
        Self {
            name: None,
            input: Some(CaseView { tool_name: case.tool_name, payload: case.payload }),
            expected: case.expected.to_string(),
            actual: actual.to_string(),
            passed: actual == case.expected,
            rule_ids,
            duration_us: micros(result.took),
        }
    }
}

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn said(verdict: &Result<PolicyVerdict, PolicyFailure>) -> PolicyWord {
    match verdict {
        Err(_) => PolicyWord::Error,
        Ok(verdict) if !verdict.denies.is_empty() => PolicyWord::Deny,
        Ok(verdict) if !verdict.escalations.is_empty() => PolicyWord::Escalate,
        Ok(verdict) if !verdict.monitors.is_empty() => PolicyWord::Monitor,
        Ok(_) => PolicyWord::Allow,
    }
}

fn rules(verdict: PolicyVerdict) -> Vec<String> {
    let PolicyVerdict { denies, escalations, monitors, .. } = verdict;
    denies.into_iter().chain(escalations).chain(monitors).map(|hit| hit.id).collect()
}

impl From<Vec<FileCoverage>> for CoverageView {
    fn from(files: Vec<FileCoverage>) -> Self {
        let covered_lines: u64 = files.iter().map(|file| file.covered.len() as u64).sum();
        let missed: u64 = files.iter().map(|file| file.not_covered.len() as u64).sum();
        let files = files.into_iter().map(|file| FileView {
            file: file.file,
            covered_lines: file.covered.len() as u64,
            not_covered: file.not_covered,
        });
        Self {
            covered_lines,
            total_lines: covered_lines + missed,
            percent: percent(covered_lines, covered_lines + missed),
            files: files.collect(),
        }
    }
}
