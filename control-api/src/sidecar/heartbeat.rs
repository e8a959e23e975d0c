//! Heartbeats: what each sidecar has in force, what waits in its outbox, what it counted.

use aegis_core::id::SourceId;
use aegis_core::principal::Subject;
use aegis_core::sidecar::{Heartbeat, HeartbeatAck, TOOLS_MAX};
use aegis_store::ledger::checkpoint;
use aegis_store::{item, source};
use axum::extract::State;

use super::enrolment::VERSION_MAX;
use crate::caller::Caller;
use crate::envelope::Bare;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::presented::{self, Agreement};
use crate::state::App;

/// Tenants one heartbeat counts for at most.
const COUNTERS_MAX: usize = 1_000;
/// Characters of a public address at most.
const URL_MAX: usize = 512;

impl RequestBody for Heartbeat {
    fn validate(&self, issues: &mut Issues) {
        issues.check(self.version.len() <= VERSION_MAX, "version", "is too long");
        issues.check(self.public_url.len() <= URL_MAX, "public_url", "is too long");
        issues.check(self.counters.len() <= COUNTERS_MAX, "counters", "are too many");
        issues.check(self.checkpoints.len() <= COUNTERS_MAX, "checkpoints", "are too many");
        issues.check(self.tools.as_ref().is_none_or(|tools| tools.len() <= TOOLS_MAX), "tools", "are too many");
    }
}

/// The source behind a service credential.
pub(super) fn source_of(caller: &Caller) -> Result<SourceId, ApiError> {
    match caller.principal().subject {
        Subject::Sidecar(source) => Ok(source),
        Subject::User(_) | Subject::Agent(_) | Subject::ApiKey { .. } => {
            Err(ApiError::bug("service credential", &"not a sidecar"))
        }
    }
}

/// `POST /internal/sidecar/heartbeat`.
pub(super) async fn heartbeat(
    State(app): State<App>,
    caller: Caller,
    Body(beat): Body<Heartbeat>,
) -> Result<Bare<HeartbeatAck>, ApiError> {
    let source = source_of(&caller)?;
    if let Some(foreign) = beat.counters.iter().find(|c| !caller.tenants().contains(&c.tenant_id)) {
        tracing::warn!(%source, tenant_id = %foreign.tenant_id, "a sidecar counted for a tenant that is not its own");
        return Err(ApiError::TenantMismatch);
    }
    for note in &beat.checkpoints {
        compare(&app, &caller, source, note).await?;
    }
    let now = app.clock.now();
    let mut db = app.store.upkeep().await?;
    let known = source::get(&mut db, source).await?.ok_or(ApiError::InvalidToken)?;
    source::heartbeat(&mut db, &known, &beat, now).await?;
    let version = item::change_number(&mut db).await?;
    db.commit().await?;
    app.sidecar_keys.insert(source, known.identity);
    Ok(Bare(HeartbeatAck { at: now, version }))
}

/// Compares a checkpoint that the sidecar kept with the ledger: what contradicts it is a split view, or a database
/// that is not the one that was signed.
async fn compare(app: &App, caller: &Caller, source: SourceId, note: &str) -> Result<(), ApiError> {
    let presented = match presented::open(app, note).await? {
        Ok(presented) if caller.tenants().contains(&presented.tenant) => presented,
        Ok(presented) => {
            tracing::warn!(%source, tenant_id = %presented.tenant, "a sidecar shows a checkpoint of a tenant not its own");
            return Ok(());
        }
        Err(problem) => {
            tracing::warn!(%source, problem, "a sidecar shows a checkpoint that we have not signed");
            return Ok(());
        }
    };
    let tenant = presented.tenant;
    let mut tx = app.store.read(tenant).await?;
    if checkpoint::latest(&mut tx, tenant).await?.is_some_and(|latest| latest.note == note) {
        return Ok(());
    }
    match presented::agreement(&mut tx, &presented).await? {
        Agreement::Agrees => {}
        Agreement::Unknown(why) => {
            tracing::debug!(%source, tenant_id = %tenant, why, "a kept checkpoint was not compared");
        }
        Agreement::Contradicts(why) => {
            app.metrics.split_views.inc();
            tracing::error!(%source, tenant_id = %tenant, why, "the ledger contradicts a checkpoint that a sidecar keeps");
        }
    }
    Ok(())
}
