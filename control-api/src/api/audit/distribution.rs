//! How risk is distributed, and the calls at its upper end.

use aegis_core::decision::Decision;
use aegis_core::finding::FindingId;
use aegis_core::id::{AgentId, AuditId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_store::audit::{self, AuditRow, Filter, Page, RowKind};
use aegis_store::facet;
use aegis_store::tally;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::scope::date;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::Query;
use crate::figures::{percentile, round};
use crate::span::{Bounded, Days};
use crate::state::App;

/// Findings that one call is shown with at most.
const FINDINGS_MAX: usize = 5;

/// How to cut the histogram.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct HistogramQuery {
    /// Of this agent only.
    agent_id: Option<AgentId>,
    /// UTC days until now, today included.
    #[serde(default)]
    #[param(inline)]
    days: Bounded<30, 1, 90>,
    /// Bins of equal width.
    #[serde(default)]
    #[param(inline)]
    bins: Bounded<10, 5, 20>,
}

/// One bin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Bucket {
    /// From 0.
    bin: u32,
    /// Its least score, 0–1.
    low: f64,
    /// Its upper end, 0–1; belongs to the next bin, except for the last one.
    high: f64,
    count: u64,
}

/// Calls by score. Scores are kept as whole hundredths.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Histogram {
    buckets: Vec<Bucket>,
    total: u64,
    days: u32,
    bins: u32,
    computed_at: Timestamp,
}

/// Scores of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PercentileDay {
    #[schema(examples("2026-01-15"))]
    date: String,
    /// Median, 0–100; `null` without calls. Percentiles are by nearest rank.
    p50: Option<u8>,
    p75: Option<u8>,
    p95: Option<u8>,
    scored_count: u64,
}

/// Percentiles of the score per day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PercentileTrend {
    series: Vec<PercentileDay>,
    days: u32,
    computed_at: Timestamp,
}

/// Which calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct HighRiskQuery {
    /// Of this agent only.
    agent_id: Option<AgentId>,
    /// UTC days until now, today included.
    #[serde(default)]
    #[param(inline)]
    days: Bounded<7, 1, 30>,
    /// How many to tell at most.
    #[serde(default)]
    #[param(inline)]
    limit: Bounded<20, 5, 100>,
    /// The least score, 0–1; scores are kept as whole hundredths.
    #[serde(default = "high")]
    #[param(minimum = 0, maximum = 1, default = 0.7)]
    threshold: f64,
}

const fn high() -> f64 {
    0.7
}

/// A call of high risk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RiskEvent {
    id: AuditId,
    agent_id: Option<AgentId>,
    #[schema(examples("db.query"))]
    tool: Option<String>,
    decision: Option<Decision>,
    timestamp: Timestamp,
    /// 0–100.
    risk_score: Option<u8>,
    /// The worst, five at most.
    findings: Vec<FindingId>,
}

/// Calls at or above a score, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RiskEvents {
    events: Vec<RiskEvent>,
    /// 0–1.
    threshold: f64,
    days: u32,
    computed_at: Timestamp,
}

pub(super) async fn histogram(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HistogramQuery>,
) -> Result<Answer<Histogram>, ApiError> {
    let (now, bins) = (app.store.now(), query.bins.get());
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = tally::days_until(now, query.days.get(), caller.only_agent().or(query.agent_id));
    let scores = facet::scores(&mut tx, caller.tenant_id(), window).await?;
    let buckets = (0..bins).map(|bin| Bucket {
        bin,
        low: round(f64::from(bin) / f64::from(bins)),
        high: round(f64::from(bin + 1) / f64::from(bins)),
        count: scores.iter().filter(|(score, _)| bin_of(*score, bins) == bin).map(|(_, calls)| calls).sum(),
    });
    Ok(Answer::ok(Histogram {
        buckets: buckets.collect(),
        total: scores.iter().map(|(_, calls)| calls).sum(),
        days: query.days.get(),
        bins,
        computed_at: now,
    }))
}

/// The highest score belongs to the last bin.
fn bin_of(score: u8, bins: u32) -> u32 {
    (u32::from(score) * bins / 100).min(bins.saturating_sub(1))
}

pub(super) async fn percentiles(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<Days<30, 7, 90>>,
) -> Result<Answer<PercentileTrend>, ApiError> {
    let (now, days) = (app.store.now(), query.days.get());
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let window = tally::days_until(now, days, caller.only_agent());
    let scores = facet::daily_scores(&mut tx, caller.tenant_id(), window).await?;
    let of_day = |day: Timestamp| {
        let counted: Vec<(u8, u64)> = scores.iter().filter(|(at, ..)| *at == day).map(|(_, s, n)| (*s, *n)).collect();
        PercentileDay {
            date: date(day),
            p50: percentile(&counted, 50),
            p75: percentile(&counted, 75),
            p95: percentile(&counted, 95),
            scored_count: counted.iter().map(|(_, calls)| calls).sum(),
        }
    };
    Ok(Answer::ok(PercentileTrend { series: tally::days_of(now, days).map(of_day).collect(), days, computed_at: now }))
}

pub(super) async fn high_risk(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HighRiskQuery>,
) -> Result<Answer<RiskEvents>, ApiError> {
    if !(0.0..=1.0).contains(&query.threshold) {
        let mut issues = Issues::default();
        issues.note("value_error", &["query", "threshold"], "must be between 0 and 1");
        return Err(issues.into_error());
    }
    let now = app.store.now();
    let filter = Filter {
        kinds: vec![RowKind::Decision],
        agent_id: caller.only_agent().or(query.agent_id),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
        risk_min: Some((query.threshold * 100.0).ceil() as u8),
        from: Some(tally::day_start(now, i64::from(query.days.get()) - 1)),
        ..Filter::default()
    };
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let page = Page { limit: query.limit.get(), offset: 0, before: None };
    let rows = audit::newest(&mut tx, caller.tenant_id(), &filter, page).await?;
    let events = rows.iter().map(event).collect::<Result<_, _>>()?;
    Ok(Answer::ok(RiskEvents { events, threshold: query.threshold, days: query.days.get(), computed_at: now }))
}

fn event(row: &AuditRow) -> Result<RiskEvent, ApiError> {
    let mut findings = match row.entry()?.body {
        Body::Decision(said) => said.findings.iter().map(|finding| finding.id).collect(),
        _ => Vec::new(),
    };
    // Worst first already; one finding may stand at several places.
    let mut seen = std::collections::BTreeSet::new();
    findings.retain(|id| seen.insert(*id));
    findings.truncate(FINDINGS_MAX);
    Ok(RiskEvent {
        id: row.audit_id,
        agent_id: row.agent_id,
        tool: row.tool.clone(),
        decision: row.decision,
        timestamp: row.ts,
        risk_score: row.risk_score,
        findings,
    })
}
