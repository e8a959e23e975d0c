//! Putting a policy version in force, or beside it: only what compiles with everything else that is in force.

use std::time::Duration;

use aegis_core::id::TenantId;
use aegis_core::policy::PolicyFile;
use aegis_ledger::{entry, rows};
use aegis_store::policy::{self, PolicyMode, PolicyVersion};
use aegis_store::propagation::{self, Propagation};
use aegis_store::{Conn, WriteTx};
use axum::extract::State;

use super::body::{Activation, ActivationMode, is_policy_name};
use super::upload::{check_files, check_text, refuse_failed};
use super::view::ActivatedView;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Body, Path};
use crate::state::App;

/// How long an answer waits for the sidecars to tell that the version is in force.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A sidecar that was silent for longer is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(3 * aegis_core::sidecar::HEARTBEAT_S);

pub(super) async fn activate(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(body): Body<Activation>,
) -> Result<Answer<ActivatedView>, ApiError> {
    let tenant = caller.tenant_id();
    let chosen = find(&app, tenant, &name, body.version).await?;
    if body.mode == ActivationMode::Draft {
        let draft = take_back(&app, &caller, chosen).await?;
        let told = wait_for_sidecars(&app, tenant, &policy::shadow_key(&name)).await?;
        return Ok(Answer::ok(ActivatedView::new(draft, told)));
    }
    // Judged anew: the platform's rules may have changed since it was uploaded.
    refuse_failed(&check_text(&app, &name, &chosen.rego).await?)?;
    let basis = Basis::prove(&app, tenant, chosen.file()).await?;
    let mut tx = app.store.write(tenant).await?;
    basis.still_holds(&mut tx, tenant).await?;
    let (changed, key) = if body.mode == ActivationMode::Shadow {
        (put_beside(&caller, tx, tenant, &chosen).await?, policy::shadow_key(&name))
    } else {
        (put_in_force(&caller, tx, tenant, &chosen).await?, format!("policy/{name}"))
    };
    let told = wait_for_sidecars(&app, tenant, &key).await?;
    Ok(Answer::ok(ActivatedView::new(changed, told)))
}

/// Ends the shadow of a version.
async fn take_back(app: &App, caller: &Caller, chosen: PolicyVersion) -> Result<PolicyVersion, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let ended = policy::shadow_end(&mut tx, tenant, &chosen.name, &caller.label()).await?;
    let draft = ended.filter(|ended| ended.version == chosen.version);
    let draft = draft.ok_or_else(|| ApiError::conflict("not_a_shadow", "the version is not a shadow now"))?;
    tx.record(entry(caller, &draft, PolicyMode::Draft)).await?.commit().await?;
    Ok(draft)
}

/// Has a version that was proved to compile judged beside what is in force, and records it.
pub(super) async fn put_beside(
    caller: &Caller,
    mut tx: WriteTx,
    tenant: TenantId,
    version: &PolicyVersion,
) -> Result<PolicyVersion, ApiError> {
    let shadow = policy::shadow(&mut tx, tenant, &version.name, version.version, &caller.label()).await?;
    tx.record(entry(caller, &shadow, PolicyMode::Shadow)).await?.commit().await?;
    Ok(shadow)
}

async fn find(app: &App, tenant: TenantId, name: &str, number: u32) -> Result<PolicyVersion, ApiError> {
    if !is_policy_name(name) {
        return Err(ApiError::NotFound("policy"));
    }
    let mut tx = app.store.read(tenant).await?;
    policy::version(&mut tx, tenant, name, number).await?.ok_or(ApiError::NotFound("policy version"))
}

/// Proof that a file compiles together with those in force beside it.
pub(super) struct Basis {
    others: Vec<PolicyFile>,
    name: String,
}

impl Basis {
    /// Compiles the file with the others in force; outside a transaction, because that takes its time.
    pub(super) async fn prove(app: &App, tenant: TenantId, file: PolicyFile) -> Result<Self, ApiError> {
        let mut tx = app.store.read(tenant).await?;
        let others = others(&mut tx, tenant, &file.name).await?;
        drop(tx);
        let name = file.name.clone();
        check_files(app, others.iter().cloned().chain([file]).collect()).await?;
        Ok(Self { others, name })
    }

    /// Refuses if another policy came into force or left since.
    pub(super) async fn still_holds(&self, tx: &mut WriteTx, tenant: TenantId) -> Result<(), ApiError> {
        if others(tx, tenant, &self.name).await? == self.others {
            Ok(())
        } else {
            Err(ApiError::conflict("policies_changed", "another policy changed at the same moment; try again"))
        }
    }
}

async fn others(db: &mut Conn, tenant: TenantId, name: &str) -> Result<Vec<PolicyFile>, ApiError> {
    let mut files = policy::active(db, tenant).await?;
    files.retain(|file| file.name != name);
    Ok(files)
}

/// Activates a version that was proved to compile, and records what retires and what comes.
pub(super) async fn put_in_force(
    caller: &Caller,
    mut tx: WriteTx,
    tenant: TenantId,
    version: &PolicyVersion,
) -> Result<PolicyVersion, ApiError> {
    let before = policy::get(&mut tx, tenant, &version.name).await?.map(|policy| policy.current);
    let active = policy::activate(&mut tx, tenant, &version.name, version.version, &caller.label()).await?;
    let mut recorded = tx.record(entry(caller, &active, PolicyMode::Active)).await?;
    if let Some(before) = before.filter(|b| b.mode == PolicyMode::Active && b.version != active.version) {
        recorded = recorded.record(entry(caller, &before, PolicyMode::Retired)).await?;
    }
    recorded.commit().await?;
    Ok(active)
}

/// The ledger entry of a version that comes to be `mode`.
pub(super) fn entry(caller: &Caller, version: &PolicyVersion, mode: PolicyMode) -> entry::Body {
    entry::Body::Policy(rows::Policy {
        actor: caller.label(),
        name: version.name.clone(),
        version: version.version,
        revision: version.revision.clone(),
        mode: mode.as_str().to_owned(),
    })
}

/// Waits until every sidecar that is heard of has told that the item is in force, a second at most.
async fn wait_for_sidecars(app: &App, tenant: TenantId, key: &str) -> Result<Vec<Propagation>, ApiError> {
    let heard_since = app.store.now().minus(SILENCE_MAX);
    let waits_for = |told: &Propagation| told.lag_us.is_none() && told.last_seen_at.is_some_and(|at| at >= heard_since);
    let mut waited = Duration::ZERO;
    loop {
        let mut tx = app.store.read(tenant).await?;
        let told = propagation::of_item(&mut tx, tenant, key).await?;
        drop(tx);
        if waited >= WAIT_MAX || !told.iter().any(waits_for) {
            return Ok(told);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        waited += LOOK_EVERY;
    }
}
