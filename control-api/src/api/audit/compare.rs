//! An agent beside others, and beside itself before.

use std::collections::BTreeSet;
use std::time::Duration;

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::tally::{self, Order, TALLIES_MAX, Tally};
use aegis_store::usage::Window;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::scope::{known, of_agent};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::figures::{mean_risk, percent, percentile, round, share};
use crate::span::{Bounded, Days};
use crate::state::App;

/// An agent's figures.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct AgentStats {
    total_calls: u64,
    /// KILL, and ESCALATE that was not approved.
    denied_calls: u64,
    /// 0–1.
    deny_rate: f64,
    /// Mean score, 0–100.
    avg_risk: f64,
}

/// Share of the peers (the agent included) with a value that is not higher, 0–100.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ranks {
    deny_rate: f64,
    avg_risk: f64,
    call_volume: f64,
}

/// Values of the peers, by nearest rank.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reference {
    p50: Option<f64>,
    p75: Option<f64>,
    p95: Option<f64>,
}

/// Values of the peers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct References {
    deny_rate: Reference,
    avg_risk: Reference,
    call_volume: Reference,
}

/// Where an agent stands among the tenant's agents with calls.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PeerBenchmark {
    agent_id: AgentId,
    days: u32,
    /// Agents with calls in these days, this one included.
    peer_count: u64,
    agent_stats: AgentStats,
    /// `null` if the agent has no calls in these days.
    percentiles: Option<Ranks>,
    references: References,
    computed_at: Timestamp,
}

impl From<&Tally> for AgentStats {
    fn from(tally: &Tally) -> Self {
        Self {
            total_calls: tally.calls,
            denied_calls: tally.denied(),
            deny_rate: share(tally.denied(), tally.calls),
            avg_risk: mean_risk(tally),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
const fn volume(stats: &AgentStats) -> f64 {
    stats.total_calls as f64
}

pub(super) async fn peers(
    State(app): State<App>,
    caller: Caller,
    Path(agent_id): Path<AgentId>,
    Query(query): Query<Days<30, 7, 90>>,
) -> Result<Answer<PeerBenchmark>, ApiError> {
    let (now, days) = (app.store.now(), query.days.get());
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let own = of_agent(&mut tx, &caller, agent_id, now, days).await?;
    let all = Window { agent_id: None, ..own };
    let found = tally::by_agent(&mut tx, caller.tenant_id(), all, Order::Calls, TALLIES_MAX).await?;
    let mine = found.iter().find(|(id, _)| *id == agent_id).map(|(_, tally)| AgentStats::from(tally));
    let stats: Vec<AgentStats> = found.iter().map(|(_, tally)| AgentStats::from(tally)).collect();
    let values = |of: fn(&AgentStats) -> f64| {
        let mut values: Vec<(f64, u64)> = stats.iter().map(|s| (of(s), 1)).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values
    };
    let measures: [fn(&AgentStats) -> f64; 3] = [|s| s.deny_rate, |s| s.avg_risk, volume];
    let [deny_rate, avg_risk, call_volume] = measures.map(values);
    let rank = |values: &[(f64, u64)], own: f64| {
        percent(values.iter().filter(|(value, _)| *value <= own).count() as u64, values.len() as u64)
    };
    Ok(Answer::ok(PeerBenchmark {
        agent_id,
        days,
        peer_count: stats.len() as u64,
        percentiles: mine.map(|own| Ranks {
            deny_rate: rank(&deny_rate, own.deny_rate),
            avg_risk: rank(&avg_risk, own.avg_risk),
            call_volume: rank(&call_volume, volume(&own)),
        }),
        agent_stats: mine.unwrap_or_else(|| AgentStats::from(&Tally::default())),
        references: References {
            deny_rate: reference(&deny_rate),
            avg_risk: reference(&avg_risk),
            call_volume: reference(&call_volume),
        },
        computed_at: now,
    }))
}

fn reference(values: &[(f64, u64)]) -> Reference {
    Reference { p50: percentile(values, 50), p75: percentile(values, 75), p95: percentile(values, 95) }
}

words! {
    /// How far an agent has drifted.
    pub(crate) enum DriftLevel {
        /// Below 0.25.
        Low = "low",
        /// Below 0.5.
        Medium = "medium",
        /// Below 0.75.
        High = "high",
        /// 0.75 and above.
        Critical = "critical",
    }
}

/// What to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DriftQuery {
    /// Days of the baseline; it ends where the recent hours begin.
    #[serde(default)]
    #[param(inline)]
    baseline_days: Bounded<7, 1, 30>,
    /// Recent hours, from a full hour on.
    #[serde(default)]
    #[param(inline)]
    comparison_hours: Bounded<24, 1, 168>,
}

/// What an agent did in a window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowStats {
    total: u64,
    /// 0–1.
    deny_rate: f64,
    /// Mean score, 0–100.
    avg_risk: f64,
    unique_tools: u64,
}

/// The parts of drift, 0–1 each.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names that clients see")]
pub(super) struct DriftMetrics {
    /// Difference of the mean scores, of 100.
    risk_drift: f64,
    /// Difference of the deny rates.
    deny_drift: f64,
    /// Difference of the calls an hour, of the higher one.
    volume_drift: f64,
    /// Share of the tools of both windows that only one of them has.
    tool_drift: f64,
}

/// An agent's recent hours beside its days before. The score is the mean of the four metrics.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names that clients see")]
pub(super) struct Drift {
    agent_id: AgentId,
    /// 0–1; `null` while `not_available` says why.
    drift_score: Option<f64>,
    drift_level: Option<DriftLevel>,
    baseline_days: u32,
    comparison_hours: u32,
    baseline: WindowStats,
    recent: WindowStats,
    /// `null` while `not_available` says why.
    metrics: Option<DriftMetrics>,
    /// Why nothing can be compared.
    #[schema(examples("no calls in the baseline"))]
    not_available: Option<&'static str>,
    computed_at: Timestamp,
}

pub(super) async fn drift(
    State(app): State<App>,
    caller: Caller,
    Path(agent_id): Path<AgentId>,
    Query(query): Query<DriftQuery>,
) -> Result<Answer<Drift>, ApiError> {
    let (now, tenant) = (app.store.now(), caller.tenant_id());
    let (baseline_days, comparison_hours) = (query.baseline_days.get(), query.comparison_hours.get());
    let split = tally::hour_start(now.minus(Duration::from_hours(comparison_hours.into())));
    let from = split.minus(Duration::from_hours(24 * u64::from(baseline_days)));
    let mut tx = app.store.read(tenant).await?;
    known(&mut tx, &caller, agent_id).await?;
    let agent = Some(agent_id);
    let before = Window { from: Some(from), until: Some(split), agent_id: agent };
    let after = Window { from: Some(split), until: None, agent_id: agent };
    let baseline = tally::total(&mut tx, tenant, before).await?;
    let recent = tally::total(&mut tx, tenant, after).await?;
    let mut tools = Vec::new();
    for window in [before, after] {
        let found = tally::by_tool(&mut tx, tenant, window, Order::Calls, TALLIES_MAX).await?;
        tools.push(found.into_iter().map(|(tool, _)| tool).collect::<BTreeSet<_>>());
    }
    let hours = (u64::from(baseline_days) * 24, u64::from(comparison_hours));
    let not_available = match (baseline.calls, recent.calls) {
        (0, _) => Some("no calls in the baseline"),
        (_, 0) => Some("no calls in the recent hours"),
        _ => None,
    };
    let metrics = not_available.is_none().then(|| metrics(&baseline, &recent, hours, unlike(&tools)));
    let score = metrics.map(|m| round((m.risk_drift + m.deny_drift + m.volume_drift + m.tool_drift) / 4.0));
    Ok(Answer::ok(Drift {
        agent_id,
        drift_score: score,
        drift_level: score.map(level),
        baseline_days,
        comparison_hours,
        baseline: (&baseline).into(),
        recent: (&recent).into(),
        metrics,
        not_available,
        computed_at: now,
    }))
}

impl From<&Tally> for WindowStats {
    fn from(tally: &Tally) -> Self {
        Self {
            total: tally.calls,
            deny_rate: share(tally.denied(), tally.calls),
            avg_risk: mean_risk(tally),
            unique_tools: tally.tools,
        }
    }
}

fn metrics(baseline: &Tally, recent: &Tally, hours: (u64, u64), tool_drift: f64) -> DriftMetrics {
    let (before, after) = (WindowStats::from(baseline), WindowStats::from(recent));
    // Calls an hour, both times the product of the hours, so that they stay whole.
    let (slow, fast) = (baseline.calls * hours.1, recent.calls * hours.0);
    DriftMetrics {
        risk_drift: round((after.avg_risk - before.avg_risk).abs() / 100.0),
        deny_drift: round((after.deny_rate - before.deny_rate).abs()),
        volume_drift: share(slow.abs_diff(fast), slow.max(fast)),
        tool_drift,
    }
}

/// The share of all tools that is not common to all sets.
fn unlike(tools: &[BTreeSet<String>]) -> f64 {
    let [before, after] = tools else { return 0.0 };
    let (common, all) = (before.intersection(after).count() as u64, before.union(after).count() as u64);
    share(all - common, all)
}

fn level(score: f64) -> DriftLevel {
    match score {
        s if s < 0.25 => DriftLevel::Low,
        s if s < 0.5 => DriftLevel::Medium,
        s if s < 0.75 => DriftLevel::High,
        _ => DriftLevel::Critical,
    }
}
