//! What is worth a look, as computed statements: each with the numbers it was computed from and rows behind it.

mod outlier;

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::id::{AgentId, AuditId, TenantId};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::Conn;
use aegis_store::insight::{self, Pair, Sample};
use aegis_store::tally::hour_start;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::span::Bounded;
use crate::state::App;
use outlier::Outlier;

/// Statements are about the last day.
const RECENT: Duration = Duration::from_hours(24);
/// Rows that a statement names at most.
const ROWS_MAX: u32 = 3;

words! {
    /// What a statement is about.
    pub(crate) enum Classification {
        /// An hour with far more calls than usual.
        Spike = "spike",
        /// An hour that cost far more than usual.
        CostOutlier = "cost_outlier",
        /// A tool that the agent had never called.
        NewTool = "new_tool",
        /// A tool of which no call of the agent had ever been denied.
        FirstDenial = "first_denial",
    }
}

words! {
    /// What to do about it.
    pub(crate) enum Recommendation {
        /// Look at it.
        Highlight = "HIGHLIGHT",
        /// Keep an eye on the agent.
        Monitor = "MONITOR",
        /// Slow the agent down.
        Throttle = "THROTTLE",
        /// Ask a human.
        Escalate = "ESCALATE",
        /// Stop the agent.
        Terminate = "TERMINATE",
    }
}

words! {
    /// How much history the statement rests on.
    pub(crate) enum Confidence {
        /// A hundred hours or more.
        High = "HIGH",
        /// Two days or more.
        Medium = "MEDIUM",
        /// Less.
        Low = "LOW",
    }
}

/// A statement about something unusual in the last day.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InsightView {
    /// The same for the same statement.
    #[schema(examples("spike:0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21:1768467600"))]
    event_id: String,
    /// What it was computed from: `audit_signal`, the rollups of audit rows.
    #[schema(examples("audit_signal"))]
    source: &'static str,
    threat_classification: Classification,
    /// In one line.
    root_cause: String,
    recommendation: Recommendation,
    confidence: Confidence,
    /// In full.
    narrative: String,
    agent_id: AgentId,
    tool: Option<String>,
    /// The hour it is about.
    ts: Timestamp,
    /// The numbers of the statement by name.
    numbers: BTreeMap<&'static str, f64>,
    /// The first rows behind it.
    rows: Vec<AuditId>,
}

/// A statement before its rows are found.
struct Insight {
    classification: Classification,
    recommendation: Recommendation,
    confidence: Confidence,
    agent: AgentId,
    tool: Option<String>,
    hour: Timestamp,
    root_cause: String,
    narrative: String,
    numbers: BTreeMap<&'static str, f64>,
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct InsightQuery {
    /// How many to tell at most.
    #[serde(default)]
    #[param(inline)]
    limit: Bounded<20, 1, 100>,
    /// The caller's tenant, or empty.
    #[serde(default)]
    tenant_id: String,
}

pub(super) async fn recent(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<InsightQuery>,
) -> Result<Answer<Vec<InsightView>>, ApiError> {
    let tenant = caller.tenant_id();
    if !query.tenant_id.is_empty() && query.tenant_id.parse() != Ok(tenant) {
        return Err(ApiError::NotFound("tenant"));
    }
    let mut tx = app.store.read(tenant).await?;
    let mut found = compute(&mut tx, tenant, caller.only_agent(), app.store.now()).await?;
    // Newest first, and where two are of one hour always in the same order.
    found.sort_by_key(|i| (std::cmp::Reverse(i.hour), i.classification, i.agent, i.tool.clone()));
    found.truncate(usize::try_from(query.limit.get()).unwrap_or(usize::MAX));
    let mut views = Vec::with_capacity(found.len());
    for insight in found {
        let sample = Sample {
            agent: insight.agent,
            hour: insight.hour,
            tool: insight.tool.as_deref(),
            denied: insight.classification == Classification::FirstDenial,
        };
        let rows = insight::rows(&mut tx, tenant, sample, ROWS_MAX).await?;
        views.push(insight.view(rows.into_iter().map(|(id, _)| id).collect()));
    }
    Ok(Answer::ok(views))
}

async fn compute(
    db: &mut Conn,
    tenant: TenantId,
    agent: Option<AgentId>,
    now: Timestamp,
) -> Result<Vec<Insight>, ApiError> {
    let recent = hour_start(now.minus(RECENT));
    let hours = insight::agent_hours(db, tenant, agent, recent.minus(outlier::HISTORY)).await?;
    let pairs = insight::firsts(db, tenant, agent, recent).await?;
    let mut found: Vec<Insight> = outlier::find(&hours, recent).into_iter().map(Insight::from).collect();
    found.extend(pairs.iter().filter_map(|pair| new_tool(pair, recent)));
    found.extend(pairs.iter().filter_map(|pair| first_denial(pair, recent)));
    Ok(found)
}

/// How much history lies before an hour.
fn confidence(hours: u64) -> Confidence {
    match hours {
        100.. => Confidence::High,
        48.. => Confidence::Medium,
        _ => Confidence::Low,
    }
}

fn hours_between(from: Timestamp, until: Timestamp) -> u64 {
    until.since(from).as_secs() / 3_600
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn numbers<const N: usize>(named: [(&'static str, u64); N]) -> BTreeMap<&'static str, f64> {
    named.map(|(name, number)| (name, number as f64)).into()
}

/// A tool is new to an agent that is not new itself.
fn new_tool(pair: &Pair, recent: Timestamp) -> Option<Insight> {
    let known_hours = hours_between(pair.agent_since, pair.first_call);
    if pair.first_call < recent || pair.agent_since >= recent {
        return None;
    }
    let (tool, calls, denied) = (&pair.tool, pair.calls, pair.denied);
    Some(Insight {
        classification: Classification::NewTool,
        recommendation: if denied > 0 { Recommendation::Monitor } else { Recommendation::Highlight },
        confidence: confidence(known_hours),
        agent: pair.agent,
        tool: Some(tool.clone()),
        hour: pair.first_call,
        root_cause: format!("first call of {tool}"),
        narrative: format!(
            "Agent {} called {tool} for the first time, after {known_hours} hours without: {calls} calls since, {denied} of \
             them denied.",
            pair.agent
        ),
        numbers: numbers([("known_hours", known_hours), ("calls", calls), ("denied", denied)]),
    })
}

/// A denial is the first where calls of the same tool went on before.
fn first_denial(pair: &Pair, recent: Timestamp) -> Option<Insight> {
    let hour = pair.first_denial.filter(|hour| *hour >= recent && *hour > pair.first_call)?;
    let known_hours = hours_between(pair.first_call, hour);
    let (tool, calls, denied) = (&pair.tool, pair.calls, pair.denied);
    Some(Insight {
        classification: Classification::FirstDenial,
        recommendation: Recommendation::Monitor,
        confidence: confidence(known_hours),
        agent: pair.agent,
        tool: Some(tool.clone()),
        hour,
        root_cause: format!("first denied call of {tool}"),
        narrative: format!(
            "A call of {tool} by agent {} was denied for the first time, {known_hours} hours after its first: {denied} of \
             {calls} calls denied in all.",
            pair.agent
        ),
        numbers: numbers([("known_hours", known_hours), ("calls", calls), ("denied", denied)]),
    })
}

impl From<Outlier> for Insight {
    fn from(found: Outlier) -> Self {
        let Outlier { classification, agent, hour, value, mean, sigma, samples } = found;
        let (what, unit) = match classification {
            Classification::CostOutlier => ("cost", " micro-USD"),
            Classification::Spike | Classification::NewTool | Classification::FirstDenial => ("made", " calls"),
        };
        let steep = value >= 10.0 * mean.max(1.0);
        Self {
            classification,
            recommendation: if steep { Recommendation::Throttle } else { Recommendation::Monitor },
            confidence: confidence(samples),
            agent,
            tool: None,
            hour,
            root_cause: format!("{value:.0}{unit} in one hour, usual are {mean:.1}"),
            narrative: format!(
                "Agent {agent} {what} {value:.0}{unit} in the hour from {hour}. Its mean over the {samples} hours before is \
                 {mean:.1} with a standard deviation of {sigma:.1}: the hour lies above the mean by more than three of them."
            ),
            #[expect(clippy::cast_precision_loss, reason = "at most 168")]
            numbers: [("value", value), ("mean", mean), ("sigma", sigma), ("samples", samples as f64)].into(),
        }
    }
}

impl Insight {
    fn view(self, rows: Vec<AuditId>) -> InsightView {
        let about = self.tool.as_ref().map(|tool| format!(":{tool}")).unwrap_or_default();
        InsightView {
            event_id: format!("{}:{}{about}:{}", self.classification, self.agent, self.hour.as_seconds()),
            source: "audit_signal",
            threat_classification: self.classification,
            root_cause: self.root_cause,
            recommendation: self.recommendation,
            confidence: self.confidence,
            narrative: self.narrative,
            agent_id: self.agent,
            tool: self.tool,
            ts: self.hour,
            numbers: self.numbers,
            rows,
        }
    }
}
