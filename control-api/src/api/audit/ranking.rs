//! What comes first: reasons, findings, tools and agents, from the rollups.

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::agent_activity;
use aegis_store::facet::{self, Facet};
use aegis_store::tally::{self, Order, TALLIES_MAX, Tally};
use aegis_store::usage::Window;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::scope::of_agent;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::figures::{mean_risk, percent, share};
use crate::span::{Days, Limit, Ranking, Top};
use crate::state::App;

/// A reason with how often it denied.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReasonCount {
    /// The rule that decided, or `score` where no rule spoke.
    #[schema(examples("agent.deny.destructive_sql"))]
    reason: String,
    count: u64,
    /// Of all denied calls, 0–100.
    pct: f64,
}

/// Why calls were denied.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DenyReasons {
    reasons: Vec<ReasonCount>,
    /// Denied calls of the listed reasons.
    total_denied: u64,
    days: u32,
    computed_at: Timestamp,
}

/// A finding with how many calls had it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FindingCount {
    #[schema(examples("sql_injection"))]
    finding: String,
    /// Calls that had it.
    count: u64,
}

/// A finding with its share.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FindingShare {
    #[schema(examples("sql_injection"))]
    finding: String,
    /// Calls that had it.
    count: u64,
    /// Of all findings, 0–100.
    pct: f64,
}

/// The findings that most calls had.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopFindings {
    findings: Vec<FindingCount>,
    days: u32,
    /// Findings in all, each once a call.
    total_events: u64,
    computed_at: Timestamp,
}

/// Findings with their shares.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FindingBreakdown {
    findings: Vec<FindingShare>,
    /// Findings in all, each once a call.
    total: u64,
    days: u32,
    computed_at: Timestamp,
}

/// One agent's findings.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentFindings {
    agent_id: AgentId,
    findings: Vec<FindingShare>,
    /// Findings in all, each once a call.
    total: u64,
    days: u32,
    computed_at: Timestamp,
}

/// A tool with its denials.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolDenials {
    #[schema(examples("db.query"))]
    tool: String,
    total_calls: u64,
    /// KILL, and ESCALATE that was not approved.
    denied_calls: u64,
    /// 0–1.
    deny_rate: f64,
    /// Mean score, 0–100.
    avg_risk: f64,
}

/// Tools by denials.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolBreakdown {
    tools: Vec<ToolDenials>,
    days: u32,
    /// Tools that were called.
    total_tools: u64,
    computed_at: Timestamp,
}

/// A tool with its risk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolRisk {
    #[schema(examples("db.query"))]
    tool: String,
    calls: u64,
    /// KILL, and ESCALATE that was not approved.
    deny_count: u64,
    /// 0–1.
    deny_rate: f64,
    /// Mean score, 0–100.
    avg_risk: f64,
    /// Agents that called it.
    agent_count: u64,
}

/// Tools by mean risk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolLeaderboard {
    tools: Vec<ToolRisk>,
    days: u32,
    computed_at: Timestamp,
}

/// A tool as one agent uses it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolUse {
    #[schema(examples("db.query"))]
    tool: String,
    calls: u64,
    /// KILL, and ESCALATE that was not approved.
    deny_count: u64,
    /// 0–1.
    deny_rate: f64,
    /// Mean score, 0–100.
    avg_risk: f64,
}

/// One agent's tools, most calls first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolUsage {
    agent_id: AgentId,
    tools: Vec<ToolUse>,
    total_calls: u64,
    days: u32,
    computed_at: Timestamp,
}

/// An agent with what it did in all.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentActivityView {
    agent_id: AgentId,
    /// Its first call on record, by its sidecar's clock.
    first_seen: Option<Timestamp>,
    /// Its last call on record, by its sidecar's clock.
    last_seen: Option<Timestamp>,
    total_calls: u64,
    /// KILL, and ESCALATE that was not approved.
    deny_count: u64,
    /// 0–1.
    deny_rate: f64,
    /// Mean score, 0–100.
    avg_risk: f64,
}

/// The agents with most calls.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentActivityList {
    agents: Vec<AgentActivityView>,
    /// Agents listed.
    total: u64,
    computed_at: Timestamp,
}

pub(super) async fn deny_reasons(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Ranking<30, 1, 90, 15, 5, 50>>,
) -> Result<Answer<DenyReasons>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = query.window(&caller, now);
    let (found, all) = facet::ranked(&mut tx, caller.tenant_id(), Facet::DenyReason, window, query.limit()).await?;
    Ok(Answer::ok(DenyReasons {
        total_denied: found.iter().map(|(_, count)| count).sum(),
        reasons: found
            .into_iter()
            .map(|(reason, count)| ReasonCount { reason, count, pct: percent(count, all) })
            .collect(),
        days: query.days(),
        computed_at: now,
    }))
}

pub(super) async fn top_findings(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Ranking<30, 1, 90, 15, 1, 50>>,
) -> Result<Answer<TopFindings>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = query.window(&caller, now);
    let (found, all) = facet::ranked(&mut tx, caller.tenant_id(), Facet::Finding, window, query.limit()).await?;
    let findings = found.into_iter().map(|(finding, count)| FindingCount { finding, count }).collect();
    Ok(Answer::ok(TopFindings { findings, days: query.days(), total_events: all, computed_at: now }))
}

fn shares((found, all): (Vec<(String, u64)>, u64)) -> Vec<FindingShare> {
    found.into_iter().map(|(finding, count)| FindingShare { finding, count, pct: percent(count, all) }).collect()
}

pub(super) async fn finding_breakdown(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Ranking<30, 1, 90, 20, 5, 50>>,
) -> Result<Answer<FindingBreakdown>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = query.window(&caller, now);
    let found = facet::ranked(&mut tx, caller.tenant_id(), Facet::Finding, window, query.limit()).await?;
    let total = found.1;
    Ok(Answer::ok(FindingBreakdown { findings: shares(found), total, days: query.days(), computed_at: now }))
}

pub(super) async fn agent_findings(
    State(app): State<App>,
    caller: Caller,
    Path(agent_id): Path<AgentId>,
    Query(query): Query<Top<30, 1, 90, 15, 5, 50>>,
) -> Result<Answer<AgentFindings>, ApiError> {
    let (now, days) = (app.store.now(), query.days.get());
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = of_agent(&mut tx, &caller, agent_id, now, days).await?;
    let found = facet::ranked(&mut tx, caller.tenant_id(), Facet::Finding, window, query.limit.get()).await?;
    let total = found.1;
    Ok(Answer::ok(AgentFindings { agent_id, findings: shares(found), total, days, computed_at: now }))
}

fn deny_rate(tally: &Tally) -> f64 {
    share(tally.denied(), tally.calls)
}

pub(super) async fn tool_breakdown(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Ranking<30, 1, 90, 20, 1, 100>>,
) -> Result<Answer<ToolBreakdown>, ApiError> {
    let (now, tenant) = (app.store.now(), caller.tenant_id());
    let mut tx = app.store.read(tenant).await?;
    let window = query.window(&caller, now);
    let found = tally::by_tool(&mut tx, tenant, window, Order::Denied, query.limit()).await?;
    let tools = found.into_iter().map(|(tool, tally)| ToolDenials {
        tool,
        total_calls: tally.calls,
        denied_calls: tally.denied(),
        deny_rate: deny_rate(&tally),
        avg_risk: mean_risk(&tally),
    });
    Ok(Answer::ok(ToolBreakdown {
        tools: tools.collect(),
        days: query.days(),
        total_tools: tally::total(&mut tx, tenant, window).await?.tools,
        computed_at: now,
    }))
}

pub(super) async fn tool_risk(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Ranking<30, 1, 90, 20, 5, 50>>,
) -> Result<Answer<ToolLeaderboard>, ApiError> {
    let (now, tenant) = (app.store.now(), caller.tenant_id());
    let mut tx = app.store.read(tenant).await?;
    let found = tally::by_tool(&mut tx, tenant, query.window(&caller, now), Order::Risk, query.limit()).await?;
    let tools = found.into_iter().map(|(tool, tally)| ToolRisk {
        tool,
        calls: tally.calls,
        deny_count: tally.denied(),
        deny_rate: deny_rate(&tally),
        avg_risk: mean_risk(&tally),
        agent_count: tally.agents,
    });
    Ok(Answer::ok(ToolLeaderboard { tools: tools.collect(), days: query.days(), computed_at: now }))
}

pub(super) async fn tool_usage(
    State(app): State<App>,
    caller: Caller,
    Path(agent_id): Path<AgentId>,
    Query(query): Query<Days<30, 1, 90>>,
) -> Result<Answer<ToolUsage>, ApiError> {
    let (now, tenant, days) = (app.store.now(), caller.tenant_id(), query.days.get());
    let mut tx = app.store.read(tenant).await?;
    let window = of_agent(&mut tx, &caller, agent_id, now, days).await?;
    let found = tally::by_tool(&mut tx, tenant, window, Order::Calls, TALLIES_MAX).await?;
    let total_calls = found.iter().map(|(_, tally)| tally.calls).sum();
    let tools = found.into_iter().map(|(tool, tally)| ToolUse {
        tool,
        calls: tally.calls,
        deny_count: tally.denied(),
        deny_rate: deny_rate(&tally),
        avg_risk: mean_risk(&tally),
    });
    Ok(Answer::ok(ToolUsage { agent_id, tools: tools.collect(), total_calls, days, computed_at: now }))
}

pub(super) async fn agent_activity(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Limit<20, 5, 100>>,
) -> Result<Answer<AgentActivityList>, ApiError> {
    let (now, tenant) = (app.store.now(), caller.tenant_id());
    let mut tx = app.store.read(tenant).await?;
    let window = Window { agent_id: caller.only_agent(), ..Window::default() };
    let found = tally::by_agent(&mut tx, tenant, window, Order::Calls, query.limit.get()).await?;
    let mut agents = Vec::with_capacity(found.len());
    for (agent_id, tally) in found {
        let (first_seen, last_seen) = agent_activity::seen(&mut tx, tenant, agent_id).await?;
        agents.push(AgentActivityView {
            agent_id,
            first_seen,
            last_seen,
            total_calls: tally.calls,
            deny_count: tally.denied(),
            deny_rate: deny_rate(&tally),
            avg_risk: mean_risk(&tally),
        });
    }
    Ok(Answer::ok(AgentActivityList { total: agents.len() as u64, agents, computed_at: now }))
}
