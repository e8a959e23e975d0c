//! Tag `tenant`: limits and consumption of the caller's tenant.

use aegis_core::money::MicroUsd;
use aegis_core::tenant::Tier;
use aegis_core::time::Timestamp;
use aegis_store::source::{self, Source};
use aegis_store::usage::{self, Window};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Level;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::operation::{Operation, get, tagged};
use crate::state::App;
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Tenant,
        vec![get("/tenant/quota", Level::Any, quota, "Limits and current consumption of caller's tenant")],
    )
}

/// Limits and consumption.
#[derive(Debug, Serialize, ToSchema)]
struct Quota {
    /// What is allowed.
    limits: QuotaLimits,
    /// What was used, as the tenant's sidecars count it.
    usage: QuotaUsage,
}

/// What is allowed.
#[derive(Debug, Serialize, ToSchema)]
struct QuotaLimits {
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
    /// Management requests a minute.
    #[schema(examples(60))]
    rpm_limit: u32,
    /// The tier.
    tier: Tier,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
struct QuotaUsage {
    /// Calls admitted today.
    daily_used: u64,
    /// The day's cap.
    daily_cap: u64,
    /// When the day ends.
    daily_resets_at: Timestamp,
    /// Calls admitted this month.
    monthly_used: u64,
    /// The month's cap.
    monthly_cap: Option<u64>,
    /// When the month ends.
    monthly_resets_at: Option<Timestamp>,
    /// Whether four fifths of the month's cap are used.
    monthly_warn_emitted: bool,
    /// Dollars spent today, decimal.
    #[schema(examples("1.250000"))]
    tenant_usd_used: String,
    /// When the day ends.
    tenant_resets_at: Timestamp,
    /// For an agent: dollars it spent today, decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("0.250000"))]
    agent_usd_used: Option<String>,
    /// For an agent: when its day ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_resets_at: Option<Timestamp>,
}

/// What sidecars counted for a tenant, in the current day and month.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    day: u64,
    month: u64,
    cost: MicroUsd,
}

/// `GET /tenant/quota`.
async fn quota(State(app): State<App>, caller: Caller) -> Result<Answer<Quota>, ApiError> {
    let (tenant, now) = (caller.tenant_id(), app.clock.now());
    let record = app.directory.record(tenant).ok_or(ApiError::NotFound("tenant"))?;
    let mut db = app.store.read(tenant).await?;
    let used = used(&source::list(&mut db, tenant).await?, tenant, now);
    let agent_cost = match caller.only_agent() {
        None => None,
        Some(agent) => {
            let day_start = Timestamp::from_micros(now.day() * aegis_core::time::MICROS_PER_DAY);
            let today = Window { from: Some(day_start), until: None, agent_id: Some(agent) };
            Some(MicroUsd::from_micros(usage::total(&mut db, tenant, today).await?.cost_micro_usd))
        }
    };
    let limits = record.limits;
    Ok(Answer::ok(Quota {
        limits: QuotaLimits {
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            daily_request_cap: limits.daily_request_cap,
            monthly_request_cap: limits.monthly_request_cap,
            daily_inference_cost_cap_usd: limits.daily_cost_cap_micro_usd.map(|m| m.to_string()),
            rpm_limit: record.requests_per_minute(),
            tier: record.tier,
        },
        usage: QuotaUsage {
            daily_used: used.day,
            daily_cap: limits.daily_request_cap,
            daily_resets_at: now.next_day(),
            monthly_used: used.month,
            monthly_cap: limits.monthly_request_cap,
            monthly_resets_at: limits.monthly_request_cap.map(|_| now.next_month()),
            monthly_warn_emitted: limits.monthly_request_cap.is_some_and(|cap| used.month >= cap / 5 * 4),
            tenant_usd_used: used.cost.to_string(),
            tenant_resets_at: now.next_day(),
            agent_usd_used: agent_cost.map(|cost| cost.to_string()),
            agent_resets_at: agent_cost.map(|_| now.next_day()),
        },
    }))
}

/// Sums what each sidecar counted; a sidecar last heard on an earlier day counted for that day.
fn used(sources: &[Source], tenant: aegis_core::id::TenantId, now: Timestamp) -> Used {
    let mut used = Used::default();
    for source in sources {
        let (Some(beat), Some(seen)) = (&source.heartbeat, source.last_seen_at) else { continue };
        for counters in beat.counters.iter().filter(|c| c.tenant_id == tenant) {
            if seen.day() == now.day() {
                used.day = used.day.saturating_add(counters.day_used);
                used.cost = used.cost.plus(counters.day_cost_micro_usd);
            }
            if seen.month_start() == now.month_start() {
                used.month = used.month.saturating_add(counters.month_used);
            }
        }
    }
    used
}
