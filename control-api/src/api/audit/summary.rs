//! The summary of a tenant's calls, from the hourly rollups.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::decision::Decision;
use aegis_core::finding::Severity;
use aegis_core::id::AgentId;
use aegis_core::time::{MICROS_PER_HOUR, Timestamp};
use aegis_store::usage::{self, Sums, Window};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::figures::mean;
use crate::state::App;

/// Hours of the trend.
const TREND_HOURS: usize = 24;
/// Agents that are named.
const TOP_AGENTS: usize = 5;

/// Totals over everything the tenant's ledger holds, and a trend.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// Calls, and refusals as often as they were counted.
    total_calls: u64,
    /// Calls that were denied: KILL, and ESCALATE that was not approved.
    total_denials: u64,
    /// Agents with calls in the hours of the trend.
    active_agents_count: u64,
    most_used_tool: Option<String>,
    /// As `total_calls`.
    total_requests: u64,
    /// Calls that a verdict or a gate kept from their tool: denied, throttled or refused.
    blocked_requests: u64,
    /// Calls that nothing of ours kept from their tool.
    allowed_requests: u64,
    /// Mean score of all calls, 0–100.
    avg_risk_score: f64,
    /// Calls in each of the last 24 hours (UTC), oldest first.
    requests_by_hour: Vec<u64>,
    /// Calls by severity of their score.
    risk_distribution: BTreeMap<&'static str, u64>,
    /// As `total_denials`.
    threats_blocked: u64,
    /// Agents that ever made a call of high or critical risk.
    high_risk_agents: u64,
    metadata: Metadata,
}

/// What the totals are made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metadata {
    /// First hour of the trend.
    hours_from: Timestamp,
    /// Calls that did not reach their tool, by the verdict that kept them: `KILL`, `ESCALATE`, `THROTTLE`, and
    /// `REFUSED` for gates.
    denials: BTreeMap<&'static str, u64>,
    /// Calls whose tool failed or may have acted without an answer.
    failed: u64,
    /// The agents with most calls.
    top_agents: Vec<TopAgent>,
}

/// An agent with many calls.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopAgent {
    agent_id: AgentId,
    calls: u64,
    /// Mean score of its calls, 0–100.
    avg_risk_score: f64,
}

pub(super) async fn get(State(app): State<App>, caller: Caller) -> Result<Answer<Summary>, ApiError> {
    Ok(Answer::ok(summarize(&app, &caller).await?))
}

/// The summary of what the caller may see.
pub(crate) async fn summarize(app: &App, caller: &Caller) -> Result<Summary, ApiError> {
    let tenant = caller.tenant_id();
    let all = Window { agent_id: caller.only_agent(), ..Window::default() };
    let hours_from = trend_start(app.store.now());
    let trend = Window { from: Some(hours_from), ..all };
    let mut tx = app.store.read(tenant).await?;
    let total = usage::total(&mut tx, tenant, all).await?;
    let denials = denials(&usage::by_decision(&mut tx, tenant, all).await?);
    let tools = usage::by_tool(&mut tx, tenant, all).await?;
    let agents = usage::by_agent(&mut tx, tenant, all).await?;
    let hours = usage::by_hour(&mut tx, tenant, trend).await?;
    let blocked = denials.values().sum();
    let denied = [Decision::Kill, Decision::Escalate].iter().filter_map(|d| denials.get(d.as_str())).sum();
    Ok(Summary {
        total_calls: total.calls,
        total_denials: denied,
        active_agents_count: usage::agent_count(&mut tx, tenant, trend).await?,
        most_used_tool: tools.into_iter().next().map(|(tool, _)| tool),
        total_requests: total.calls,
        blocked_requests: blocked,
        allowed_requests: total.calls.saturating_sub(blocked),
        avg_risk_score: mean(total.risk_sum, total.calls),
        requests_by_hour: buckets(hours_from, &hours),
        risk_distribution: distribution(&total),
        threats_blocked: denied,
        high_risk_agents: usage::risky_agent_count(&mut tx, tenant, all).await?,
        metadata: Metadata {
            hours_from,
            denials,
            failed: total.failed.saturating_add(total.unknown),
            top_agents: agents.into_iter().take(TOP_AGENTS).map(TopAgent::from).collect(),
        },
    })
}

impl From<(AgentId, Sums)> for TopAgent {
    fn from((agent_id, sums): (AgentId, Sums)) -> Self {
        Self { agent_id, calls: sums.calls, avg_risk_score: mean(sums.risk_sum, sums.calls) }
    }
}

/// The first instant of the oldest hour of the trend, the current hour being the newest.
fn trend_start(now: Timestamp) -> Timestamp {
    let hour = Timestamp::from_micros(now.as_micros().div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR);
    hour.minus(Duration::from_hours(TREND_HOURS as u64 - 1))
}

fn buckets(from: Timestamp, hours: &[(Timestamp, Sums)]) -> Vec<u64> {
    let mut buckets = vec![0; TREND_HOURS];
    for (hour, sums) in hours {
        let at = (hour.as_micros() - from.as_micros()).div_euclid(MICROS_PER_HOUR);
        if let Some(bucket) = usize::try_from(at).ok().and_then(|at| buckets.get_mut(at)) {
            *bucket += sums.calls;
        }
    }
    buckets
}

/// What each verdict kept from its tool; an escalation that was approved and ran is none.
fn denials(by_decision: &[(Decision, Sums)]) -> BTreeMap<&'static str, u64> {
    let denying = [Decision::Kill, Decision::Escalate, Decision::Throttle, Decision::Refused];
    let kept = |decision| by_decision.iter().filter(|(d, _)| *d == decision).map(|(_, s)| s.not_executed).sum();
    denying.into_iter().map(|decision| (decision.as_str(), kept(decision))).collect()
}

fn distribution(sums: &Sums) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        (Severity::Low.as_str(), sums.risk_low),
        (Severity::Medium.as_str(), sums.risk_medium),
        (Severity::High.as_str(), sums.risk_high),
        (Severity::Critical.as_str(), sums.risk_critical),
    ])
}
