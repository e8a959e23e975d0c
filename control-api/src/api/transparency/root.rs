//! Daily roots: sealed once, never changed.

use aegis_core::day::Day;
use aegis_core::id::AuditId;
use aegis_core::time::Timestamp;
use aegis_ledger::statement::SignedStatement;
use aegis_store::ledger::day::{self, SealedDay};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Path, Query};
use crate::state::App;

/// Roots one list holds at most.
const LIST_MAX: u32 = 365;

/// The root of a day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RootView {
    #[schema(value_type = String, format = Date)]
    root_date: Day,
    /// The tree's root (RFC 9162) at the day's end, hex.
    root_hash: String,
    /// The day's entries.
    leaf_count: u64,
    /// When the day was sealed.
    computed_at: Timestamp,
    /// The signed statement: `receipt`, `signature`, `algorithm`, `public_key_fingerprint`.
    #[schema(value_type = Object)]
    signed: SignedStatement,
}

/// A day that was sealed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ComputedView {
    #[schema(value_type = String, format = Date)]
    root_date: Day,
    root_hash: String,
    prev_root_hash: Option<String>,
    leaf_count: u64,
    leaf_range_start_id: Option<AuditId>,
    leaf_range_end_id: Option<AuditId>,
    signing_key_fingerprint: String,
    /// The signed statement.
    #[schema(value_type = Object)]
    signed: SignedStatement,
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RootsQuery {
    /// From this day on.
    #[param(value_type = Option<String>, format = Date)]
    since: Option<Day>,
    /// Up to this day, with it.
    #[param(value_type = Option<String>, format = Date)]
    until: Option<Day>,
    /// Roots at most.
    #[serde(default = "list_size")]
    #[param(minimum = 1, maximum = 365, default = 90)]
    limit: u32,
}

const fn list_size() -> u32 {
    90
}

/// Which day.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ComputeQuery {
    /// The day; yesterday by default. Days before it that are not sealed are sealed too.
    #[param(value_type = Option<String>, format = Date)]
    root_date: Option<Day>,
}

impl From<SealedDay> for RootView {
    fn from(day: SealedDay) -> Self {
        Self {
            root_date: day.day,
            root_hash: day.root.to_hex(),
            leaf_count: day.size_to - day.size_from,
            computed_at: day.sealed_at,
            signed: day.statement,
        }
    }
}

/// `GET /transparency/roots`
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<RootsQuery>,
) -> Result<Answer<Vec<RootView>>, ApiError> {
    let mut issues = Issues::default();
    if !(1..=LIST_MAX).contains(&query.limit) {
        issues.note("value_error", &["query", "limit"], "must be 1 to 365");
    }
    issues.into_result()?;
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let days = day::list(&mut tx, tenant, query.since, query.until, query.limit).await?;
    Ok(Answer::ok(days.into_iter().map(RootView::from).collect()))
}

/// `GET /transparency/roots/{root_date}`
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(date): Path<Day>,
) -> Result<Answer<RootView>, ApiError> {
    let tenant = caller.tenant_id();
    let sealed = day::get(&mut *app.store.read(tenant).await?, tenant, date).await?;
    Ok(Answer::ok(sealed.ok_or(ApiError::NotFound("root"))?.into()))
}

/// `POST /transparency/compute`: seals what is over; what is sealed stays as it is.
pub(super) async fn compute(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ComputeQuery>,
) -> Result<Answer<ComputedView>, ApiError> {
    let tenant = caller.tenant_id();
    let today = Day::of(app.clock.now());
    let date = query.root_date.unwrap_or(today.previous());
    if date >= today {
        return Err(ApiError::conflict("day_not_complete", "the day is not over"));
    }
    day::seal(&app.store, tenant, date).await?;
    let sealed = day::get(&mut *app.store.read(tenant).await?, tenant, date).await?;
    let sealed = sealed.ok_or(ApiError::NotFound("root"))?;
    let statement = sealed.statement.receipt.clone();
    Ok(Answer::ok(ComputedView {
        root_date: sealed.day,
        root_hash: statement.root_hash,
        prev_root_hash: statement.prev_root_hash,
        leaf_count: statement.leaf_count,
        leaf_range_start_id: statement.leaf_range_start_id,
        leaf_range_end_id: statement.leaf_range_end_id,
        signing_key_fingerprint: sealed.statement.public_key_fingerprint.clone(),
        signed: sealed.statement,
    }))
}
