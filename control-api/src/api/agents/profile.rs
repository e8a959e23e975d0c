//! An agent's profile: what it is, and what it did in the last seven days.

use std::collections::BTreeMap;

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::agent_activity::{self, AgentActivity, DaySums};
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::agent;
use super::view::AgentView;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Path;
use crate::state::App;

/// Earlier days with calls that an anomaly is measured against at least.
const DAYS_MIN: usize = 3;
/// Standard deviations that make a full anomaly.
const SIGMAS: f64 = 3.0;
/// Points of mean risk that always count as usual variation.
const RISK_SIGMA_MIN: f64 = 5.0;

/// An agent with its aggregates of seven UTC days, today included.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProfileView {
    agent_id: AgentId,
    /// Calls of every kind.
    total_decisions: u64,
    /// ALLOW, MONITOR, and escalations that were approved.
    allowed: u64,
    /// KILL, and escalations that were not approved.
    blocked: u64,
    /// THROTTLE.
    throttled: u64,
    /// Refused by a gate before a decision.
    refused: u64,
    /// Mean risk of a call, 0–100; 0 without calls.
    avg_risk_score: f64,
    /// Mean risk of each day, 0–100, oldest first; 0 on days without calls.
    risk_trend: Vec<f64>,
    /// The tools it called most, at most five.
    top_tools: Vec<ToolCount>,
    /// Its last call of all time.
    last_active: Option<Timestamp>,
    /// Whether `anomaly_score` has reached 1; false while that cannot be told.
    behavioral_drift: bool,
    /// How far today lies above the earlier days, in calls or in mean risk: standard deviations divided by 3, 0–1.
    /// `null` with fewer than three earlier days of calls.
    anomaly_score: Option<f64>,
    /// `blocked` / `total_decisions`; 0 without calls.
    block_rate: f64,
    agent: AgentView,
    /// `null` while `not_available` says why.
    open_incidents: Option<Vec<Value>>,
    /// `null` while `not_available` says why.
    contract: Option<Value>,
    /// `null` while `not_available` says why.
    baseline: Option<Value>,
    /// Fields that are `null` for a reason, with the reason.
    not_available: BTreeMap<&'static str, &'static str>,
}

/// How often a tool was called.
#[derive(Debug, Serialize, ToSchema)]
struct ToolCount {
    #[schema(examples("db.query"))]
    tool: String,
    count: u64,
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AgentId>,
) -> Result<Answer<ProfileView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let agent = agent::read(&app, &mut tx, tenant, id).await?;
    let activity = agent_activity::of_agent(&mut tx, tenant, id, app.store.now()).await?;
    Ok(Answer::ok(ProfileView::new(id, agent, activity)))
}

impl ProfileView {
    fn new(agent_id: AgentId, agent: AgentView, activity: AgentActivity) -> Self {
        let sums = activity.days.iter().fold(DaySums::default(), |sums, day| sums.plus(*day));
        let anomaly_score = anomaly(&activity.days);
        let mut not_available = BTreeMap::from([
            ("open_incidents", "this deployment does not record incidents"),
            ("contract", "this deployment has no autonomy contracts"),
            ("baseline", "this deployment computes no baselines"),
        ]);
        if anomaly_score.is_none() {
            not_available.insert("anomaly_score", "fewer than three earlier days of calls");
        }
        Self {
            agent_id,
            total_decisions: sums.calls,
            allowed: sums.allowed,
            blocked: sums.denied,
            throttled: sums.throttled,
            refused: sums.refused,
            avg_risk_score: mean_risk(&sums),
            risk_trend: activity.days.iter().map(mean_risk).collect(),
            top_tools: activity.top_tools.into_iter().map(|(tool, count)| ToolCount { tool, count }).collect(),
            last_active: activity.last_active,
            behavioral_drift: anomaly_score.is_some_and(|score| score >= 1.0),
            anomaly_score,
            block_rate: ratio(sums.denied, sums.calls),
            agent,
            open_incidents: None,
            contract: None,
            baseline: None,
            not_available,
        }
    }
}

/// The last day against those before it that have calls.
fn anomaly(days: &[DaySums]) -> Option<f64> {
    let (today, earlier) = days.split_last()?;
    let earlier: Vec<&DaySums> = earlier.iter().filter(|day| day.calls > 0).collect();
    if earlier.len() < DAYS_MIN {
        return None;
    }
    let calls: Vec<f64> = earlier.iter().map(|day| as_f64(day.calls)).collect();
    let risks: Vec<f64> = earlier.iter().map(|day| mean_risk(day)).collect();
    // Counts vary by their square root even when nothing changes.
    let by_calls = sigmas(as_f64(today.calls), &calls, mean(&calls).sqrt());
    let by_risk = if today.calls == 0 { 0.0 } else { sigmas(mean_risk(today), &risks, RISK_SIGMA_MIN) };
    Some((by_calls.max(by_risk) / SIGMAS).clamp(0.0, 1.0))
}

/// How many standard deviations, `least` at least, the value lies above the mean.
fn sigmas(value: f64, sample: &[f64], least: f64) -> f64 {
    let centre = mean(sample);
    let squares: Vec<f64> = sample.iter().map(|x| (x - centre).powi(2)).collect();
    (value - centre) / mean(&squares).sqrt().max(least)
}

fn mean(sample: &[f64]) -> f64 {
    sample.iter().sum::<f64>() / as_f64(sample.len().max(1) as u64)
}

fn mean_risk(sums: &DaySums) -> f64 {
    ratio(sums.risk_sum, sums.calls)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { as_f64(part) / as_f64(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people, not decided on")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(calls: u64, risk: u64) -> DaySums {
        DaySums { calls, risk_sum: calls * risk, ..DaySums::default() }
    }

    #[test]
    fn a_usual_day_is_no_anomaly_and_an_outlier_is_a_full_one() {
        let usual = [day(100, 10); 6];
        let with = |today: DaySums| anomaly(&[usual.as_slice(), &[today]].concat());
        assert_eq!(with(day(100, 10)), Some(0.0));
        assert_eq!(with(day(0, 0)), Some(0.0));
        assert_eq!(with(day(130, 10)), Some(1.0));
        assert_eq!(with(day(100, 25)), Some(1.0));
        assert!(with(day(115, 10)).is_some_and(|score| (score - 0.5).abs() < 1e-9));
    }

    #[test]
    fn two_earlier_days_tell_nothing() {
        let mut days = [day(0, 0); 7];
        days[0] = day(5, 1);
        days[3] = day(5, 1);
        days[6] = day(500, 90);
        assert_eq!(anomaly(&days), None);
    }
}
