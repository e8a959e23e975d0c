//! Tenants: tier, limits, status.

use aegis_core::id::{OrgId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::tenant::{DegradedModePolicy, Limits, SignalWeights, TenantRecord, TenantStatus, Tier};
use aegis_store::{tenant, token_key};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, Path, RequestBody};
use crate::record;
use crate::state::App;

/// Requests a minute or a second at most.
const RATE_MAX: u32 = 1_000_000;
/// Requests a day or a month at most.
const CAP_MAX: u64 = 1_000_000_000_000;

/// A tenant's settings; what is left out has its default, if nothing else is said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutTenant {
    /// The tenant.
    tenant_id: TenantId,
    /// Its organisation; by default the tenant's own id.
    #[serde(default)]
    org_id: Option<OrgId>,
    /// Its name.
    #[serde(default = "default_name")]
    #[schema(max_length = 200, examples("Default Tenant"))]
    name: String,
    /// Its tier.
    #[serde(default = "basic")]
    tier: Tier,
    /// Management requests a minute; by default 60, 300 or 1000 by tier.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000, examples(60))]
    rpm_limit: Option<u32>,
    /// Whether it is served; left out, it stays as it is, and is `active` in a new tenant.
    #[serde(default)]
    status: Option<TenantStatus>,
    /// Whether its users need a second factor to sign in and to stay signed in; left out, it stays as it is, and is
    /// false in a new tenant.
    #[serde(default)]
    mfa_enforced: Option<bool>,
    /// What a cut-off sidecar does.
    #[serde(default = "block_high_risk")]
    degraded_mode_policy: DegradedModePolicy,
    /// Calls a second.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000, examples(50))]
    requests_per_second: Option<u32>,
    /// Calls in one burst.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000, examples(100))]
    burst: Option<u32>,
    /// Calls a UTC day.
    #[serde(default)]
    #[schema(examples(1_000_000))]
    daily_request_cap: Option<u64>,
    /// Calls a UTC month; uncapped if null.
    #[serde(default)]
    monthly_request_cap: Option<u64>,
    /// Dollars a UTC day as a number or decimal text; uncapped if null.
    #[serde(default)]
    #[schema(value_type = Option<f64>, examples(25.5))]
    daily_inference_cost_cap_usd: Option<Dollars>,
}

/// An amount of dollars as a JSON number or a decimal text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Dollars {
    Number(Number),
    Text(String),
}

impl Dollars {
    fn amount(&self) -> Option<MicroUsd> {
        match self {
            Self::Number(number) => MicroUsd::parse_usd(&number.to_string()).ok(),
            Self::Text(text) => MicroUsd::parse_usd(text).ok(),
        }
    }
}

fn default_name() -> String {
    "Default Tenant".into()
}

fn basic() -> Tier {
    Tier::Basic
}

fn block_high_risk() -> DegradedModePolicy {
    DegradedModePolicy::BlockHighRisk
}

impl RequestBody for PutTenant {
    const OWN_FIELDS: &'static [&'static str] = &["tenant_id"];

    fn validate(&self, issues: &mut Issues) {
        let name_fits = (1..=200).contains(&self.name.trim().chars().count());
        issues.check(name_fits, "name", "must have 1 to 200 characters");
        for (field, value) in
            [("rpm_limit", self.rpm_limit), ("requests_per_second", self.requests_per_second), ("burst", self.burst)]
        {
            issues.check(value.is_none_or(|v| (1..=RATE_MAX).contains(&v)), field, "must be 1 to 1000000");
        }
        for (field, value) in
            [("daily_request_cap", self.daily_request_cap), ("monthly_request_cap", self.monthly_request_cap)]
        {
            issues.check(value.is_none_or(|v| v <= CAP_MAX), field, "must be at most 1000000000000");
        }
        let cap = self.daily_inference_cost_cap_usd.as_ref();
        issues.check(
            cap.is_none_or(|d| d.amount().is_some()),
            "daily_inference_cost_cap_usd",
            "is not an amount of dollars",
        );
    }
}

impl PutTenant {
    /// What others set, and what protects the tenant, is kept unless it is told.
    fn record(&self, known: Option<&TenantRecord>) -> TenantRecord {
        let defaults = Limits::default();
        TenantRecord {
            id: self.tenant_id,
            org_id: self.org_id.unwrap_or(OrgId::from_uuid(self.tenant_id.as_uuid())),
            name: self.name.trim().to_owned(),
            tier: self.tier,
            status: self.status.or(known.map(|old| old.status)).unwrap_or(TenantStatus::Active),
            limits: Limits {
                requests_per_second: self.requests_per_second.unwrap_or(defaults.requests_per_second),
                burst: self.burst.unwrap_or(defaults.burst),
                daily_request_cap: self.daily_request_cap.unwrap_or(defaults.daily_request_cap),
                monthly_request_cap: self.monthly_request_cap,
                daily_cost_cap_micro_usd: self.daily_inference_cost_cap_usd.as_ref().and_then(Dollars::amount),
            },
            degraded_mode_policy: self.degraded_mode_policy,
            weights: known.map_or_else(SignalWeights::default, |old| old.weights),
            rpm_limit: self.rpm_limit,
            redact_pii: known.is_some_and(|old| old.redact_pii),
            mfa_enforced: self.mfa_enforced.unwrap_or(known.is_some_and(|old| old.mfa_enforced)),
        }
    }
}

/// A tenant's settings.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantView {
    /// The tenant.
    tenant_id: TenantId,
    /// Its organisation.
    org_id: OrgId,
    /// Its name.
    #[schema(examples("Default Tenant"))]
    name: String,
    /// Its tier.
    tier: Tier,
    /// Management requests a minute.
    #[schema(examples(60))]
    rpm_limit: u32,
    /// Whether it is served.
    status: TenantStatus,
    /// Whether its users need a second factor.
    mfa_enforced: bool,
    /// What a cut-off sidecar does.
    degraded_mode_policy: DegradedModePolicy,
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
}

impl From<&TenantRecord> for TenantView {
    fn from(record: &TenantRecord) -> Self {
        Self {
            tenant_id: record.id,
            org_id: record.org_id,
            name: record.name.clone(),
            tier: record.tier,
            rpm_limit: record.requests_per_minute(),
            status: record.status,
            mfa_enforced: record.mfa_enforced,
            degraded_mode_policy: record.degraded_mode_policy,
            requests_per_second: record.limits.requests_per_second,
            burst: record.limits.burst,
            daily_request_cap: record.limits.daily_request_cap,
            monthly_request_cap: record.limits.monthly_request_cap,
            daily_inference_cost_cap_usd: record.limits.daily_cost_cap_micro_usd.map(|amount| amount.to_string()),
        }
    }
}

/// What was written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantPut {
    /// `ok`.
    status: &'static str,
    /// The tenant.
    tenant_id: TenantId,
    /// Its tier.
    tier: Tier,
    /// Management requests a minute.
    rpm_limit: u32,
    /// What a cut-off sidecar does.
    degraded_mode_policy: DegradedModePolicy,
    /// Calls a second.
    requests_per_second: u32,
    /// Calls in one burst.
    burst: u32,
    /// Calls a UTC day.
    daily_request_cap: u64,
    /// Calls a UTC month; uncapped if null.
    monthly_request_cap: Option<u64>,
    /// Dollars a UTC day, decimal; uncapped if null.
    #[schema(examples("25.500000"))]
    daily_inference_cost_cap_usd: Option<String>,
}

/// `POST /auth/tenants`.
pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<PutTenant>,
) -> Result<Answer<TenantPut>, ApiError> {
    let known = app.directory.record(body.tenant_id);
    let record = body.record(known.as_deref());
    let tx = if known.is_some() {
        let mut tx = app.store.write(record.id).await?;
        tenant::update(&mut tx, &record).await?;
        tx
    } else {
        tenant::create(&app.store, &record).await?
    };
    let action = if known.is_some() { "tenant.update" } else { "tenant.create" };
    let facts = [
        ("tier", record.tier.as_str().into()),
        ("status", record.status.as_str().into()),
        ("mfa_enforced", record.mfa_enforced.into()),
    ];
    let entry = record::admin(&caller, action, format!("tenant:{}", record.id), facts);
    tx.record(entry).await?.commit().await?;
    token_key::publish(&app.store, app.signer.key(), "introduced").await?;
    let view = TenantView::from(&record);
    Ok(Answer::ok(TenantPut {
        status: "ok",
        tenant_id: view.tenant_id,
        tier: view.tier,
        rpm_limit: view.rpm_limit,
        degraded_mode_policy: view.degraded_mode_policy,
        requests_per_second: view.requests_per_second,
        burst: view.burst,
        daily_request_cap: view.daily_request_cap,
        monthly_request_cap: view.monthly_request_cap,
        daily_inference_cost_cap_usd: view.daily_inference_cost_cap_usd,
    }))
}

/// `GET /auth/tenants/{tenant_id}`: one's own; any for a platform administrator.
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TenantId>,
) -> Result<Answer<TenantView>, ApiError> {
    if id != caller.tenant_id() && !caller.principal().platform_admin {
        return Err(ApiError::NotFound("tenant"));
    }
    let mut db = app.store.read(id).await?;
    let found = tenant::get(&mut db, id).await?.ok_or(ApiError::NotFound("tenant"))?;
    Ok(Answer::ok(TenantView::from(&found.record)))
}
