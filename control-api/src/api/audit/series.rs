//! Daily series from the rollups: every day of the span is there, days without calls with zeros.

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::Conn;
use aegis_store::tally::{self, Grain, Tally};
use aegis_store::usage::Window;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::scope::{date, of_agent};
use crate::api::risk::{DayRisk, daily};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::figures::{mean, mean_risk, percent, rate};
use crate::span::{Days, Span};
use crate::state::App;

/// The days of the span with their sums, oldest first.
async fn days(
    db: &mut Conn,
    caller: &Caller,
    window: Window,
    (now, span): (Timestamp, u32),
) -> Result<Vec<(Timestamp, Tally)>, ApiError> {
    let found = tally::by_time(db, caller.tenant_id(), window, Grain::Day).await?;
    let of = |day: Timestamp| (day, found.get(&day.as_micros()).copied().unwrap_or_default());
    Ok(tally::days_of(now, span).map(of).collect())
}

fn sum(days: &[(Timestamp, Tally)], part: impl Fn(&Tally) -> u64) -> u64 {
    days.iter().map(|(_, tally)| part(tally)).sum()
}

/// Counts per verdict of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    /// ALLOW.
    allow: u64,
    /// Denied: KILL, and ESCALATE that was not approved.
    deny: u64,
    /// ESCALATE, approved or not.
    escalate: u64,
    /// MONITOR.
    monitor: u64,
    /// KILL.
    kill: u64,
    /// THROTTLE.
    throttle: u64,
    /// Refused by a gate.
    refused: u64,
}

/// Daily counts per verdict. `deny` sums over `kill` and part of `escalate`; the others do not overlap.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionTrend {
    series: Vec<DecisionDay>,
    days: u32,
    computed_at: Timestamp,
}

/// Escalations of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EscalationDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    total: u64,
    /// ESCALATE, approved or not.
    escalate_count: u64,
    /// 0–1; `null` without calls.
    escalation_rate: Option<f64>,
}

/// Daily share of escalations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EscalationTrend {
    series: Vec<EscalationDay>,
    /// Escalations of all calls, 0–1; `null` without calls.
    avg_rate: Option<f64>,
    /// The highest rate of a day, 0–1; `null` without calls.
    peak_rate: Option<f64>,
    days: u32,
    computed_at: Timestamp,
}

/// Posture of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PostureDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    total: u64,
    /// Went on: ALLOW, MONITOR, and ESCALATE that was approved.
    allow_count: u64,
    /// Denied: KILL, and ESCALATE that was not approved.
    deny_count: u64,
    /// `allow_count` of `total`, 0–100; `null` without calls.
    posture_score: Option<f64>,
}

/// Daily percentage of calls that went on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PostureTrend {
    series: Vec<PostureDay>,
    /// Over all calls, 0–100; `null` without calls.
    avg_score: Option<f64>,
    days: u32,
    computed_at: Timestamp,
}

/// Agents of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActiveDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    /// Distinct agents with calls.
    active_agents: u64,
    total_calls: u64,
}

/// Distinct agents per day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActiveAgents {
    series: Vec<ActiveDay>,
    peak_agents: u64,
    days: u32,
    computed_at: Timestamp,
}

/// One agent's UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    total: u64,
    /// Went on: ALLOW, MONITOR, and ESCALATE that was approved.
    allow: u64,
    /// Denied: KILL, and ESCALATE that was not approved.
    deny: u64,
}

/// One agent's daily calls.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentDays {
    agent_id: AgentId,
    series: Vec<AgentDay>,
    total_calls: u64,
    total_deny: u64,
    days: u32,
    computed_at: Timestamp,
}

/// Risk of one agent's UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RiskDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    /// Mean score, 0–100; 0 without calls.
    avg_risk: f64,
    /// Denied: KILL, and ESCALATE that was not approved.
    deny_count: u64,
    /// Went on: ALLOW, MONITOR, and ESCALATE that was approved.
    allow_count: u64,
    total_count: u64,
}

/// One agent's daily risk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RiskTrend {
    agent_id: AgentId,
    days: u32,
    series: Vec<RiskDay>,
    summary: RiskSummary,
    computed_at: Timestamp,
}

/// The series in four numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RiskSummary {
    /// The highest mean of a day, 0–100.
    max_risk: f64,
    /// Mean over all calls, 0–100.
    avg_risk: f64,
    total_denials: u64,
    /// Days with calls.
    active_days: u64,
}

pub(super) async fn trends(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<7, 1, 30>>,
) -> Result<Answer<Vec<DayRisk>>, ApiError> {
    Ok(Answer::ok(daily(&app, &caller, query.days(), query.agent(&caller)).await?))
}

pub(super) async fn decisions(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<30, 7, 90>>,
) -> Result<Answer<DecisionTrend>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let found = days(&mut tx, &caller, query.window(&caller, now), (now, query.days())).await?;
    let series = found.iter().map(|(day, tally)| DecisionDay {
        date: date(*day),
        allow: tally.allowed,
        deny: tally.denied(),
        escalate: tally.escalated,
        monitor: tally.monitored,
        kill: tally.killed,
        throttle: tally.throttled,
        refused: tally.refused,
    });
    Ok(Answer::ok(DecisionTrend { series: series.collect(), days: query.days(), computed_at: now }))
}

pub(super) async fn escalations(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<30, 7, 90>>,
) -> Result<Answer<EscalationTrend>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let found = days(&mut tx, &caller, query.window(&caller, now), (now, query.days())).await?;
    let of_day = |tally: &Tally| rate(tally.escalated, tally.calls);
    let series = found.iter().map(|(day, tally)| EscalationDay {
        date: date(*day),
        total: tally.calls,
        escalate_count: tally.escalated,
        escalation_rate: of_day(tally),
    });
    Ok(Answer::ok(EscalationTrend {
        series: series.collect(),
        avg_rate: rate(sum(&found, |t| t.escalated), sum(&found, |t| t.calls)),
        peak_rate: found.iter().filter_map(|(_, tally)| of_day(tally)).reduce(f64::max),
        days: query.days(),
        computed_at: now,
    }))
}

pub(super) async fn posture(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<30, 7, 90>>,
) -> Result<Answer<PostureTrend>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let found = days(&mut tx, &caller, query.window(&caller, now), (now, query.days())).await?;
    let score = |went_on, calls| (calls > 0).then(|| percent(went_on, calls));
    let series = found.iter().map(|(day, tally)| PostureDay {
        date: date(*day),
        total: tally.calls,
        allow_count: tally.went_on(),
        deny_count: tally.denied(),
        posture_score: score(tally.went_on(), tally.calls),
    });
    Ok(Answer::ok(PostureTrend {
        series: series.collect(),
        avg_score: score(sum(&found, Tally::went_on), sum(&found, |t| t.calls)),
        days: query.days(),
        computed_at: now,
    }))
}

pub(super) async fn active_agents(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<30, 7, 90>>,
) -> Result<Answer<ActiveAgents>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let found = days(&mut tx, &caller, query.window(&caller, now), (now, query.days())).await?;
    let series = found.iter().map(|(day, tally)| ActiveDay {
        date: date(*day),
        active_agents: tally.agents,
        total_calls: tally.calls,
    });
    Ok(Answer::ok(ActiveAgents {
        series: series.collect(),
        peak_agents: found.iter().map(|(_, tally)| tally.agents).max().unwrap_or(0),
        days: query.days(),
        computed_at: now,
    }))
}

pub(super) async fn agent_decisions(
    State(app): State<App>,
    caller: Caller,
    Path(agent_id): Path<AgentId>,
    Query(query): Query<Days<30, 7, 90>>,
) -> Result<Answer<AgentDays>, ApiError> {
    let (now, span) = (app.store.now(), query.days.get());
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = of_agent(&mut tx, &caller, agent_id, now, span).await?;
    let found = days(&mut tx, &caller, window, (now, span)).await?;
    let series = found.iter().map(|(day, tally)| AgentDay {
        date: date(*day),
        total: tally.calls,
        allow: tally.went_on(),
        deny: tally.denied(),
    });
    Ok(Answer::ok(AgentDays {
        agent_id,
        series: series.collect(),
        total_calls: sum(&found, |t| t.calls),
        total_deny: sum(&found, Tally::denied),
        days: span,
        computed_at: now,
    }))
}

pub(super) async fn agent_risk(
    State(app): State<App>,
    caller: Caller,
    Path(agent_id): Path<AgentId>,
    Query(query): Query<Days<30, 7, 90>>,
) -> Result<Answer<RiskTrend>, ApiError> {
    let (now, span) = (app.store.now(), query.days.get());
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = of_agent(&mut tx, &caller, agent_id, now, span).await?;
    let found = days(&mut tx, &caller, window, (now, span)).await?;
    let series = found.iter().map(|(day, tally)| RiskDay {
        date: date(*day),
        avg_risk: mean_risk(tally),
        deny_count: tally.denied(),
        allow_count: tally.went_on(),
        total_count: tally.calls,
    });
    let summary = RiskSummary {
        max_risk: found.iter().map(|(_, tally)| mean_risk(tally)).fold(0.0, f64::max),
        avg_risk: mean(sum(&found, |t| t.risk_sum), sum(&found, |t| t.calls)),
        total_denials: sum(&found, Tally::denied),
        active_days: found.iter().filter(|(_, tally)| tally.calls > 0).count() as u64,
    };
    Ok(Answer::ok(RiskTrend { agent_id, days: span, series: series.collect(), summary, computed_at: now }))
}
