//! What was decided: counters, today's risk by hour, and the newest calls.

use aegis_store::audit::{self, Filter, Page, RowKind};
use aegis_store::tally::{self, DAY_HOURS, Grain};
use aegis_store::usage::{self, Window};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::audit::LogView;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::Query;
use crate::span::Bounded;
use crate::state::App;

/// Counters over everything the tenant's ledger holds, and today's risk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionSummary {
    /// Calls that were denied: KILL, and ESCALATE that was not approved.
    threats_blocked: u64,
    /// Agents that ever made a call of high or critical risk.
    high_risk_agents: u64,
    /// Calls, and refusals as often as they were counted.
    total_requests: u64,
    /// The hours of this UTC day, 24 of them.
    metrics: Vec<HourRisk>,
}

/// The risk of one hour.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HourRisk {
    #[schema(examples("14:00"))]
    time: String,
    /// Mean score of the hour's calls, 0–100; 0 without calls.
    #[schema(minimum = 0, maximum = 100)]
    score: u64,
    /// Calls in it.
    calls: u64,
}

pub(super) async fn summary(State(app): State<App>, caller: Caller) -> Result<Answer<DecisionSummary>, ApiError> {
    let tenant = caller.tenant_id();
    let all = Window { agent_id: caller.only_agent(), ..Window::default() };
    let today = Window { from: Some(tally::day_start(app.store.now(), 0)), ..all };
    let mut tx = app.store.read(tenant).await?;
    let total = tally::total(&mut tx, tenant, all).await?;
    let hours = tally::by_time(&mut tx, tenant, today, Grain::HourOfDay).await?;
    let metrics = (0..DAY_HOURS).map(|hour| {
        let sums = i64::try_from(hour).ok().and_then(|hour| hours.get(&hour)).copied().unwrap_or_default();
        let score = (sums.risk_sum + sums.calls / 2).checked_div(sums.calls).unwrap_or(0);
        HourRisk { time: format!("{hour:02}:00"), score, calls: sums.calls }
    });
    Ok(Answer::ok(DecisionSummary {
        threats_blocked: total.denied(),
        high_risk_agents: usage::risky_agent_count(&mut tx, tenant, all).await?,
        total_requests: total.calls,
        metrics: metrics.collect(),
    }))
}

/// Which part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// Rows a page holds.
    #[serde(default)]
    #[param(inline)]
    limit: Bounded<20, 1, 200>,
    /// Where the page before ended: `meta.next_cursor`.
    cursor: Option<String>,
}

/// Governed calls, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct History {
    items: Vec<LogView>,
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> Result<Answer<History>, ApiError> {
    let before = match query.cursor.as_deref().map(str::parse) {
        Some(Err(_)) => {
            let mut issues = Issues::default();
            issues.note("value_error", &["query", "cursor"], "is not a cursor of this list");
            return Err(issues.into_error());
        }
        Some(Ok(before)) => Some(before),
        None => None,
    };
    let tenant = caller.tenant_id();
    let filter = Filter {
        kinds: vec![RowKind::Decision],
        action: Some("execute".into()),
        agent_id: caller.only_agent(),
        ..Filter::default()
    };
    let mut tx = app.store.read(tenant).await?;
    let page = Page { limit: query.limit.get(), offset: 0, before };
    let found = audit::list(&mut tx, tenant, &filter, page).await?;
    let items = found.rows.iter().map(|row| LogView::new(tenant, row)).collect::<Result<_, _>>()?;
    Ok(Answer::ok(History { items }).paged(found.total, found.next_cursor(page)))
}
