//! The kill switch: who engaged it, why, when, and how far it has come on every sidecar.

use aegis_core::id::TenantId;
use aegis_core::principal::Subject;
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_ledger::entry;
use aegis_ledger::rows::Kill;
use aegis_store::kill_switch::{self, ITEM_KEY, SwitchState};
use aegis_store::propagation::{self, Propagation};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, Path, RequestBody};
use crate::state::App;

/// Characters of a reason at most.
const REASON_MAX: usize = 500;

words! {
    /// Whether the switch stops calls.
    pub(crate) enum SwitchStatus {
        /// Every tool call of the tenant is refused.
        Engaged = "engaged",
        /// Calls are decided as usual.
        Disengaged = "disengaged",
    }
}

words! {
    /// What to do with the switch.
    pub(crate) enum SwitchAction {
        /// Refuse every tool call of the tenant, until disengaged.
        Engage = "engage",
        /// Decide calls as usual again.
        Disengage = "disengage",
    }
}

/// What to do with the switch, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwitchBody {
    #[serde(default = "engage")]
    #[schema(default = "engage")]
    action: SwitchAction,
    /// Told to callers whose credential is valid.
    #[serde(default)]
    #[schema(max_length = 500, examples("credentials leaked"))]
    reason: String,
}

const fn engage() -> SwitchAction {
    SwitchAction::Engage
}

impl RequestBody for SwitchBody {
    const OPTIONAL: bool = true;

    fn validate(&self, issues: &mut Issues) {
        issues.check(self.reason.chars().count() <= REASON_MAX, "reason", "may have 500 characters at most");
    }
}

/// The kill switch of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SwitchView {
    status: SwitchStatus,
    engaged: bool,
    tenant_id: TenantId,
    /// Why it was last engaged; `null` if it never was.
    #[schema(examples("credentials leaked"))]
    reason: Option<String>,
    /// When it was last engaged.
    engaged_at: Option<Timestamp>,
    /// By whom it was last engaged.
    engaged_by: Option<String>,
    /// How far the present state has come, sidecar by sidecar.
    propagation: Vec<AppliedView>,
}

/// How far something has come on a sidecar.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppliedView {
    /// Its name.
    #[schema(examples("eu-1"))]
    sidecar: String,
    /// The snapshot it has in force, as last told.
    applied_version: Option<u64>,
    /// Milliseconds from the change to its being in force there, as the sidecar measured; `null` until told.
    lag_ms: Option<u64>,
    /// When it last told anything.
    last_seen_at: Option<Timestamp>,
}

impl From<Propagation> for AppliedView {
    fn from(told: Propagation) -> Self {
        Self {
            sidecar: told.name,
            applied_version: told.applied_version,
            // Two machines' clocks may differ by more than a push takes: never less than nothing.
            lag_ms: told.lag_us.map(|us| u64::try_from(us / 1_000).unwrap_or(0)),
            last_seen_at: told.last_seen_at,
        }
    }
}

impl SwitchView {
    fn new(tenant_id: TenantId, state: Option<SwitchState>, propagation: Vec<Propagation>) -> Self {
        let engaged = state.as_ref().is_some_and(|state| state.engaged);
        let last = state.map(|state| state.last);
        Self {
            status: if engaged { SwitchStatus::Engaged } else { SwitchStatus::Disengaged },
            engaged,
            tenant_id,
            reason: last.as_ref().map(|switch| switch.reason.clone()),
            engaged_at: last.as_ref().map(|switch| switch.engaged_at),
            engaged_by: last.map(|switch| switch.engaged_by),
            propagation: propagation.into_iter().map(AppliedView::from).collect(),
        }
    }
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(tenant): Path<TenantId>,
) -> Result<Answer<SwitchView>, ApiError> {
    own(&caller, tenant)?;
    Ok(Answer::ok(view(&app, tenant).await?))
}

pub(super) async fn set(
    State(app): State<App>,
    caller: Caller,
    Path(tenant): Path<TenantId>,
    Body(body): Body<SwitchBody>,
) -> Result<Answer<SwitchView>, ApiError> {
    own(&caller, tenant)?;
    match body.action {
        SwitchAction::Engage => engage_switch(&app, &caller, tenant, &body.reason).await?,
        SwitchAction::Disengage => disengage_switch(&app, &caller, tenant).await?,
    }
    Ok(Answer::ok(view(&app, tenant).await?))
}

pub(super) async fn lift(
    State(app): State<App>,
    caller: Caller,
    Path(tenant): Path<TenantId>,
) -> Result<Answer<SwitchView>, ApiError> {
    own(&caller, tenant)?;
    disengage_switch(&app, &caller, tenant).await?;
    Ok(Answer::ok(view(&app, tenant).await?))
}

/// Another tenant's switch does not exist, except for platform administrators.
fn own(caller: &Caller, tenant: TenantId) -> Result<(), ApiError> {
    if caller.tenant_id() == tenant || caller.principal().platform_admin {
        Ok(())
    } else {
        Err(ApiError::NotFound("tenant"))
    }
}

async fn view(app: &App, tenant: TenantId) -> Result<SwitchView, ApiError> {
    let mut tx = app.store.read(tenant).await?;
    aegis_store::tenant::get(&mut tx, tenant).await?.ok_or(ApiError::NotFound("tenant"))?;
    let state = kill_switch::get(&mut tx, tenant).await?;
    let propagation = propagation::of_item(&mut tx, tenant, ITEM_KEY).await?;
    Ok(SwitchView::new(tenant, state, propagation))
}

/// Engaging an engaged switch changes nothing: who engaged it first, and why, stays.
async fn engage_switch(app: &App, caller: &Caller, tenant: TenantId, reason: &str) -> Result<(), ApiError> {
    let mut tx = app.store.write(tenant).await?;
    if kill_switch::get(&mut tx, tenant).await?.is_some_and(|state| state.engaged) {
        return Ok(());
    }
    let state = kill_switch::engage(&mut tx, tenant, &caller.label(), reason).await?;
    tx.record(kill(caller, &state)).await?.commit().await?;
    Ok(())
}

async fn disengage_switch(app: &App, caller: &Caller, tenant: TenantId) -> Result<(), ApiError> {
    let mut tx = app.store.write(tenant).await?;
    if let Some(state) = kill_switch::disengage(&mut tx, tenant, &caller.label()).await? {
        tx.record(kill(caller, &state)).await?.commit().await?;
    }
    Ok(())
}

fn kill(caller: &Caller, state: &SwitchState) -> entry::Body {
    let user_id = match &caller.principal().subject {
        Subject::User(id) => Some(*id),
        Subject::Agent(_) | Subject::ApiKey { .. } | Subject::Sidecar(_) => None,
    };
    entry::Body::Kill(Kill { actor: caller.label(), engaged: state.engaged.then(|| state.last.clone()), user_id })
}
