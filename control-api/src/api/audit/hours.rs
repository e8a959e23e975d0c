//! When calls are made: hours of the day and of the week, from the rollups, all of them with their zeros.

use std::collections::BTreeMap;

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::tally::{self, DAY_HOURS, Grain, Tally, WEEK_HOURS};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::figures::{mean_risk, percent};
use crate::span::Span;
use crate::state::App;

/// Days of the week grid of the last seven days.
const WEEK: u32 = 7;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Whose.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentQuery {
    /// Of this agent only.
    agent_id: Option<AgentId>,
}

/// Calls by hour (UTC) of each of the last seven days.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Heatmap {
    mon: Vec<u64>,
    tue: Vec<u64>,
    wed: Vec<u64>,
    thu: Vec<u64>,
    fri: Vec<u64>,
    sat: Vec<u64>,
    sun: Vec<u64>,
}

/// An hour of the UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HourBucket {
    #[schema(minimum = 0, maximum = 23)]
    hour: usize,
    count: u64,
    /// Denied: KILL, and ESCALATE that was not approved.
    deny_count: u64,
    /// Mean score, 0–100; 0 without calls.
    avg_risk: f64,
}

/// Calls by hour of the UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HourlyActivity {
    buckets: Vec<HourBucket>,
    days: u32,
    computed_at: Timestamp,
}

/// An hour of the UTC week.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WeekCell {
    /// Monday is 0.
    #[schema(minimum = 0, maximum = 6)]
    day: usize,
    #[schema(examples("Mon"))]
    day_label: &'static str,
    #[schema(minimum = 0, maximum = 23)]
    hour: usize,
    count: u64,
    /// Of the fullest cell, 0–100.
    pct: f64,
}

/// Calls by hour of the UTC week.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WeekGrid {
    cells: Vec<WeekCell>,
    days: u32,
    /// Calls of the fullest cell.
    max_count: u64,
    computed_at: Timestamp,
}

/// All slots from 0 on, those without calls included.
fn slots(found: &BTreeMap<i64, Tally>, count: usize) -> Vec<Tally> {
    let slot = |n: usize| i64::try_from(n).ok().and_then(|n| found.get(&n)).copied().unwrap_or_default();
    (0..count).map(slot).collect()
}

pub(super) async fn heatmap(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AgentQuery>,
) -> Result<Answer<Heatmap>, ApiError> {
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = tally::days_until(app.store.now(), WEEK, caller.only_agent().or(query.agent_id));
    let found = tally::by_time(&mut tx, caller.tenant_id(), window, Grain::HourOfWeek).await?;
    let calls: Vec<u64> = slots(&found, WEEK_HOURS).iter().map(|tally| tally.calls).collect();
    let mut days = calls.chunks(DAY_HOURS).map(<[u64]>::to_vec);
    let mut next = || days.next().unwrap_or_default();
    Ok(Answer::ok(Heatmap {
        mon: next(),
        tue: next(),
        wed: next(),
        thu: next(),
        fri: next(),
        sat: next(),
        sun: next(),
    }))
}

pub(super) async fn hourly(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<7, 1, 30>>,
) -> Result<Answer<HourlyActivity>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let found = tally::by_time(&mut tx, caller.tenant_id(), query.window(&caller, now), Grain::HourOfDay).await?;
    let buckets = slots(&found, DAY_HOURS).into_iter().enumerate().map(|(hour, tally)| HourBucket {
        hour,
        count: tally.calls,
        deny_count: tally.denied(),
        avg_risk: mean_risk(&tally),
    });
    Ok(Answer::ok(HourlyActivity { buckets: buckets.collect(), days: query.days(), computed_at: now }))
}

pub(super) async fn weekly(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Span<28, 7, 90>>,
) -> Result<Answer<WeekGrid>, ApiError> {
    let now = app.store.now();
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let found = tally::by_time(&mut tx, caller.tenant_id(), query.window(&caller, now), Grain::HourOfWeek).await?;
    let max_count = found.values().map(|tally| tally.calls).max().unwrap_or(0);
    let cells = slots(&found, WEEK_HOURS).into_iter().enumerate().map(|(slot, tally)| WeekCell {
        day: slot / DAY_HOURS,
        day_label: WEEKDAYS.get(slot / DAY_HOURS).copied().unwrap_or_default(),
        hour: slot % DAY_HOURS,
        count: tally.calls,
        pct: percent(tally.calls, max_count),
    });
    Ok(Answer::ok(WeekGrid { cells: cells.collect(), days: query.days(), max_count, computed_at: now }))
}
