//! Tag `admin`: the tenants of the deployment, for platform administrators.

use aegis_core::id::TenantId;
use aegis_core::tenant::{DegradedModePolicy, TenantStatus, Tier};
use aegis_core::time::Timestamp;
use aegis_store::tenant::{self, TENANTS_PAGE_MAX, Tenant};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Level;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Path, Query};
use crate::operation::{Operation, failure, get, tagged};
use crate::state::App;
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Admin,
        vec![
            get("/admin/tenants", Level::Platform, list, "All tenants"),
            get("/admin/tenants/{tenant_id}", Level::Platform, one, "One tenant").fails(&[failure(
                404,
                "not_found",
                "there is no such tenant",
            )]),
        ],
    )
}

/// A tenant as the platform sees it.
#[derive(Debug, Serialize, ToSchema)]
struct PlatformTenant {
    /// The tenant.
    id: TenantId,
    /// The same.
    tenant_id: TenantId,
    /// Its name.
    #[schema(examples("Default Tenant"))]
    name: String,
    /// Its tier.
    plan: Tier,
    /// Whether it is served.
    is_active: bool,
    /// What a cut-off sidecar does.
    degraded_mode_policy: DegradedModePolicy,
    /// Whether its users need a second factor.
    mfa_enforced: bool,
    /// Management requests a minute.
    #[schema(examples(60))]
    rpm_limit: u32,
    /// Calls a second.
    #[schema(examples(50))]
    requests_per_second: u32,
    /// Calls in one burst.
    #[schema(examples(100))]
    burst: u32,
    /// Calls a UTC day.
    #[schema(examples(1_000_000))]
    daily_request_cap: u64,
    /// Calls a UTC month; uncapped if null.
    monthly_request_cap: Option<u64>,
    /// Dollars a UTC day, decimal; uncapped if null.
    #[schema(examples("25.500000"))]
    daily_inference_cost_cap_usd: Option<String>,
    /// When it was made.
    created_at: Timestamp,
    /// When its settings last changed.
    updated_at: Timestamp,
}

impl From<Tenant> for PlatformTenant {
    fn from(Tenant { record, created_at, updated_at }: Tenant) -> Self {
        Self {
            id: record.id,
            tenant_id: record.id,
            plan: record.tier,
            is_active: record.status == TenantStatus::Active,
            degraded_mode_policy: record.degraded_mode_policy,
            mfa_enforced: record.mfa_enforced,
            rpm_limit: record.requests_per_minute(),
            requests_per_second: record.limits.requests_per_second,
            burst: record.limits.burst,
            daily_request_cap: record.limits.daily_request_cap,
            monthly_request_cap: record.limits.monthly_request_cap,
            daily_inference_cost_cap_usd: record.limits.daily_cost_cap_micro_usd.map(|amount| amount.to_string()),
            name: record.name,
            created_at,
            updated_at,
        }
    }
}

/// Which tenants to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// How many at most.
    #[serde(default = "page")]
    #[param(default = 100, minimum = 1, maximum = 500)]
    limit: u32,
    /// How many to pass over.
    #[serde(default)]
    #[param(default = 0, maximum = 1_000_000)]
    offset: u32,
}

const fn page() -> u32 {
    100
}

/// `GET /admin/tenants`, oldest first.
async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Result<Answer<Vec<PlatformTenant>>, ApiError> {
    let mut issues = Issues::default();
    if !(1..=TENANTS_PAGE_MAX).contains(&query.limit) {
        issues.note("value_error", &["query", "limit"], "must be between 1 and 500");
    }
    if query.offset > 1_000_000 {
        issues.note("value_error", &["query", "offset"], "must be 1000000 at most");
    }
    issues.into_result()?;
    let mut db = app.store.read_platform().await?;
    let tenants = tenant::list(&mut db, query.limit, query.offset.into()).await?;
    let total = tenant::count(&mut db).await?;
    Ok(Answer::ok(tenants.into_iter().map(PlatformTenant::from).collect()).paged(total, None))
}

/// `GET /admin/tenants/{tenant_id}`.
async fn one(State(app): State<App>, Path(id): Path<TenantId>) -> Result<Answer<PlatformTenant>, ApiError> {
    let found = tenant::get(&mut *app.store.read(id).await?, id).await?;
    Ok(Answer::ok(found.ok_or(ApiError::NotFound("tenant"))?.into()))
}
