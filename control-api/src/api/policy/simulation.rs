//! Deciding stored calls again with a draft: what would have changed.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::decision::Decision;
use aegis_core::id::{AgentId, AuditId, ExecutionId};
use aegis_core::policy::{POLICY_TEXT_MAX, PolicyFile};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_pipeline::policy::TenantPolicy;
use aegis_store::audit::{self, Filter, PAGE_MAX, Page, RowKind};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::is_policy_name;
use super::conditions::{self, ConditionRule};
use super::replay::{Outcome, Stage};
use super::upload::refusal;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::state::App;

/// Rows that one simulation decides at most, the newest of the window.
pub(super) const ROWS_MAX: usize = 10_000;
/// Changes that are told one by one at most, the newest.
pub(super) const DIFF_MAX: usize = 200;
/// The name of a draft that has none.
const DRAFT_NAME: &str = "draft";

words! {
    /// A window by name.
    pub(crate) enum TimeRange {
        /// The last hour.
        Hour = "1h",
        /// The last six hours.
        SixHours = "6h",
        /// The last day.
        Day = "24h",
        /// The last week.
        Week = "7d",
    }
}

impl TimeRange {
    const fn hours(self) -> u32 {
        match self {
            Self::Hour => 1,
            Self::SixHours => 6,
            Self::Day => 24,
            Self::Week => 168,
        }
    }
}

/// A draft and the calls to decide again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Simulation {
    /// The draft as Rego; exactly one of `rego` and `policy`.
    #[schema(max_length = 262_144)]
    rego: Option<String>,
    /// The draft as conditions; exactly one of `rego` and `policy`.
    #[schema(max_items = 50)]
    policy: Option<Vec<ConditionRule>>,
    /// The policy in whose place the draft stands; by default it joins those in force.
    #[schema(pattern = "^[a-zA-Z0-9_]{1,64}$", examples("no_friday_deploys"))]
    name: Option<String>,
    /// Calls of this agent only.
    agent_id: Option<AgentId>,
    /// How far back; 24 by default.
    #[schema(minimum = 1, maximum = 720, default = 24)]
    window_hours: Option<u32>,
    /// The same by name; at most one of both.
    time_range: Option<TimeRange>,
}

impl RequestBody for Simulation {
    fn validate(&self, issues: &mut Issues) {
        issues.check(self.rego.is_some() != self.policy.is_some(), "rego", "exactly one of rego and policy is needed");
        let short = self.rego.as_ref().is_none_or(|rego| rego.len() <= POLICY_TEXT_MAX);
        issues.check(short, "rego", "may have 262144 bytes at most");
        let named = self.name.as_deref().is_none_or(is_policy_name);
        issues.check(named, "name", "must be 1-64 letters, digits and underscores");
        let hours = self.window_hours.is_none_or(|hours| (1..=720).contains(&hours));
        issues.check(hours, "window_hours", "must be between 1 and 720");
        let one = self.window_hours.is_none() || self.time_range.is_none();
        issues.check(one, "time_range", "may not stand beside window_hours");
        if let Some(rules) = &self.policy {
            let few = (1..=conditions::RULES_MAX).contains(&rules.len());
            issues.check(few, "policy", format!("must have 1 to {} rules", conditions::RULES_MAX));
            for rule in rules {
                rule.validate(issues);
            }
        }
    }
}

impl Simulation {
    /// The draft as a file, under its name.
    fn draft(&self) -> PolicyFile {
        let rego = self.rego.clone().or_else(|| self.policy.as_deref().map(conditions::rego)).unwrap_or_default();
        let name = self.name.clone().unwrap_or_else(|| DRAFT_NAME.to_owned());
        PolicyFile { name, version: 0, revision: String::new(), rego }
    }

    fn hours(&self) -> u32 {
        self.time_range.map(TimeRange::hours).or(self.window_hours).unwrap_or(24)
    }
}

/// What a draft would have changed.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SimulationView {
    /// Calls of the window that were looked at: the newest 10 000.
    total: u64,
    /// ALLOW and MONITOR.
    would_allow: u64,
    /// KILL.
    would_deny: u64,
    /// ESCALATE.
    would_escalate: u64,
    /// THROTTLE.
    would_throttle: u64,
    /// Went on, and would be stopped: THROTTLE, ESCALATE or KILL.
    newly_blocked: u64,
    /// Was stopped, and would go on.
    newly_allowed: u64,
    /// Would go on as before, or be stopped as before.
    no_change: u64,
    /// Calls that cannot be decided again: a gate refused them before any rule, their agent is gone, or deciding them
    /// again by the policy of then does not come to what was decided (a rule read the payload, or facts changed since).
    not_replayable: u64,
    /// Calls decided again on findings and facts, because no payload is kept.
    replayed_on_findings: u64,
    /// Whether the window has more calls than were looked at.
    truncated: bool,
    /// Calls whose verdict would be another, newest first, 200 at most.
    diff: Vec<ChangeView>,
}

/// A call whose verdict would be another.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    pub(super) audit_id: AuditId,
    pub(super) execution_id: ExecutionId,
    #[schema(examples("db.query"))]
    pub(super) tool: String,
    pub(super) timestamp: Timestamp,
    pub(super) old_action: Decision,
    pub(super) new_action: Decision,
    /// The rules that would speak, the deciding one first.
    pub(super) rule_ids: Vec<String>,
    /// The score it would have, 0–100.
    pub(super) risk_score: u8,
}

pub(super) async fn run(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<Simulation>,
) -> Result<Answer<SimulationView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let present = aegis_store::policy::active(&mut tx, tenant).await?;
    let policies = compile(&app, present, body.draft()).await?;
    let mut stage = Stage::set(&mut tx, tenant, Arc::clone(&app.platform), policies).await?;
    let since = app.store.now().minus(Duration::from_hours(body.hours().into()));
    let filter = Filter {
        kinds: vec![RowKind::Decision],
        agent_id: caller.only_agent().or(body.agent_id),
        from: Some(since),
        ..Filter::default()
    };
    let mut view = SimulationView::default();
    let mut page = Page { limit: PAGE_MAX, offset: 0, before: None };
    loop {
        let rows = audit::newest(&mut tx, tenant, &filter, page).await?;
        let full = u32::try_from(rows.len()).is_ok_and(|n| n >= page.limit);
        page.before = rows.last().map(|row| row.index);
        stage.learn(&mut tx, &rows).await?;
        // Away from the async threads: hundreds of microseconds a row.
        let decided = tokio::task::spawn_blocking(move || {
            let outcomes: Result<Vec<_>, ApiError> = rows.iter().map(|row| stage.decide(row)).collect();
            (stage, outcomes)
        });
        let (back, outcomes) = decided.await.map_err(|e| ApiError::bug("simulation", &e))?;
        stage = back;
        outcomes?.into_iter().flatten().for_each(|outcome| view.count(outcome));
        if !full {
            break;
        }
        if view.total >= ROWS_MAX as u64 {
            view.truncated = true;
            break;
        }
    }
    Ok(Answer::ok(view))
}

/// The policy in force, and the one with the draft in its place.
async fn compile(
    app: &App,
    present: Vec<PolicyFile>,
    draft: PolicyFile,
) -> Result<(Arc<TenantPolicy>, Arc<TenantPolicy>), ApiError> {
    let platform = Arc::clone(&app.platform);
    let compiled = tokio::task::spawn_blocking(move || {
        let mut drafted: Vec<PolicyFile> = present.iter().filter(|file| file.name != draft.name).cloned().collect();
        drafted.push(draft);
        drafted.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((TenantPolicy::compile(&platform, &present)?, TenantPolicy::compile(&platform, &drafted)?))
    });
    compiled.await.map_err(|e| ApiError::bug("simulation", &e))?.map_err(|problem| refusal(&problem))
}

/// Whether a verdict lets the call go on.
pub(super) const fn goes_on(decision: Decision) -> bool {
    match decision {
        Decision::Allow | Decision::Monitor => true,
        Decision::Throttle | Decision::Escalate | Decision::Kill | Decision::Refused => false,
    }
}

impl SimulationView {
    fn count(&mut self, outcome: Outcome) {
        self.total += 1;
        let Some(new) = outcome.new else {
            self.not_replayable += 1;
            return;
        };
        self.replayed_on_findings += 1;
        match new.decision {
            Decision::Allow | Decision::Monitor => self.would_allow += 1,
            Decision::Throttle => self.would_throttle += 1,
            Decision::Escalate => self.would_escalate += 1,
            Decision::Kill | Decision::Refused => self.would_deny += 1,
        }
        match (goes_on(outcome.old), goes_on(new.decision)) {
            (true, false) => self.newly_blocked += 1,
            (false, true) => self.newly_allowed += 1,
            (true, true) | (false, false) => self.no_change += 1,
        }
        if outcome.old != new.decision && self.diff.len() < DIFF_MAX {
            self.diff.push(ChangeView {
                audit_id: outcome.audit_id,
                execution_id: outcome.execution_id,
                tool: outcome.tool,
                timestamp: outcome.at,
                old_action: outcome.old,
                new_action: new.decision,
                rule_ids: new.rule_ids,
                risk_score: new.score.as_percent(),
            });
        }
    }
}
