//! Granting and denying tools to an agent.

use aegis_core::agent::Grant;
use aegis_core::id::{AgentId, GrantId};
use aegis_store::agent;
use aegis_store::grant::{self, AgentGrant};
use axum::extract::State;

use super::body::NewPermission;
use super::view::PermissionView;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Body, Path};
use crate::record;
use crate::state::App;

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AgentId>,
) -> Result<Answer<Vec<PermissionView>>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    agent::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("agent"))?;
    let grants = grant::list(&mut tx, tenant, id, app.store.now()).await?;
    let total = grants.len() as u64;
    Ok(Answer::ok(grants.into_iter().map(PermissionView::from).collect()).paged(total, None))
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AgentId>,
    Body(body): Body<NewPermission>,
) -> Result<Answer<PermissionView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    if body.expires_at.is_some_and(|end| end <= tx.now()) {
        return Err(ApiError::invalid("expires_at", "must be in the future"));
    }
    let grant_id = GrantId::generate(tx.now(), app.store.entropy());
    let draft = AgentGrant {
        agent_id: id,
        grant: Grant { id: grant_id, tool: body.tool_name, effect: body.action, expires_at: body.expires_at },
        granted_by: caller.label(),
        granted_at: tx.now(),
    };
    let put = grant::put(&mut tx, tenant, &draft).await?;
    tx.record(entry(&caller, "permission.create", &put)).await?.commit().await?;
    Ok(Answer::created(put.into()))
}

pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((id, permission)): Path<(AgentId, GrantId)>,
) -> Result<Answer<PermissionView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let gone = grant::delete(&mut tx, tenant, id, permission).await?;
    tx.record(entry(&caller, "permission.delete", &gone)).await?.commit().await?;
    Ok(Answer::ok(gone.into()))
}

fn entry(caller: &Caller, action: &str, stored: &AgentGrant) -> aegis_ledger::entry::Body {
    record::admin(
        caller,
        action,
        format!("agent:{}", stored.agent_id),
        [
            ("permission_id", stored.grant.id.to_string().into()),
            ("tool_name", stored.grant.tool.to_string().into()),
            ("effect", stored.grant.effect.as_str().into()),
            ("expires_at", stored.grant.expires_at.map(|end| end.to_string()).into()),
        ],
    )
}
