//! Risk over time, and by whom.

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::tally::{self, Grain, Order};
use aegis_store::usage::Window;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::audit::{Summary, summarize};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::figures::mean_risk;
use crate::span::{Days, Limit};
use crate::state::App;

/// Risk of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DayRisk {
    /// Its first instant.
    date: Timestamp,
    /// Calls, and refusals as often as they were counted.
    count: u64,
    /// Calls judged KILL or ESCALATE.
    threats: u64,
    /// Mean score, 0–100; 0 without calls.
    avg_risk: f64,
}

/// An agent with threats.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentThreats {
    agent_id: AgentId,
    /// Its calls judged KILL or ESCALATE.
    threat_count: u64,
    /// Mean score of all its calls, 0–100.
    avg_risk_score: f64,
    /// All its calls.
    total_calls: u64,
}

pub(super) async fn summary(State(app): State<App>, caller: Caller) -> Result<Answer<Summary>, ApiError> {
    Ok(Answer::ok(summarize(&app, &caller).await?))
}

pub(super) async fn timeline(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Days<7, 1, 90>>,
) -> Result<Answer<Vec<DayRisk>>, ApiError> {
    Ok(Answer::ok(daily(&app, &caller, query.days.get(), caller.only_agent()).await?))
}

/// The last days with their risk, oldest first, days without calls included.
pub(crate) async fn daily(
    app: &App,
    caller: &Caller,
    days: u32,
    agent: Option<AgentId>,
) -> Result<Vec<DayRisk>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = tally::days_until(now, days, agent);
    let found = tally::by_time(&mut tx, caller.tenant_id(), window, Grain::Day).await?;
    let day = |date: Timestamp| {
        let sums = found.get(&date.as_micros()).copied().unwrap_or_default();
        DayRisk { date, count: sums.calls, threats: sums.threats(), avg_risk: mean_risk(&sums) }
    };
    Ok(tally::days_of(now, days).map(day).collect())
}

pub(super) async fn top_threats(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Limit<10, 1, 100>>,
) -> Result<Answer<Vec<AgentThreats>>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let window = Window { agent_id: caller.only_agent(), ..Window::default() };
    let found = tally::by_agent(&mut tx, tenant, window, Order::Threats, query.limit.get()).await?;
    // Agents without a threat are not among them, even if there is room.
    let threats = found.into_iter().filter(|(_, sums)| sums.threats() > 0).map(|(agent_id, sums)| AgentThreats {
        agent_id,
        threat_count: sums.threats(),
        avg_risk_score: mean_risk(&sums),
        total_calls: sums.calls,
    });
    Ok(Answer::ok(threats.collect()))
}
