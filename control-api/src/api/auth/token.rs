//! What a token says, and its end before its time.

use aegis_core::id::{AgentId, TenantId, UserId};
use aegis_core::principal::{Role, Subject};
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_store::{agent, refresh, revocation, user};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::user::UserView;
use crate::caller::Caller;
use crate::credential::judge;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::record;
use crate::state::App;

/// `GET /auth/me`: the user; for agents and API keys what is known of them.
pub(super) async fn me(State(app): State<App>, caller: Caller) -> Result<Answer<UserView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut db = app.store.read(tenant).await?;
    let role = caller.principal().role;
    let view = match &caller.principal().subject {
        Subject::User(id) => user::get(&mut db, tenant, *id).await?.ok_or(ApiError::InvalidToken)?.into(),
        Subject::Agent(id) | Subject::ApiKey { agent: Some(id), .. } => {
            UserView::of_agent(agent::get_live(&mut db, tenant, *id).await?, tenant, role)
        }
        Subject::ApiKey { id, agent: None } => UserView::of_service(id.as_uuid(), tenant, role),
        Subject::Sidecar(id) => UserView::of_service(id.as_uuid(), tenant, role),
    };
    Ok(Answer::ok(view))
}

/// A token to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Introspect {
    /// The token.
    #[schema(value_type = String)]
    token: Secret,
}

impl RequestBody for Introspect {
    fn validate(&self, _: &mut Issues) {}
}

/// What a token says (RFC 7662); only `active` if it does not hold.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Introspection {
    /// Whether it holds now.
    active: bool,
    /// The agent.
    agent_id: Option<AgentId>,
    /// The user.
    user_id: Option<UserId>,
    /// The tenant.
    tenant_id: Option<TenantId>,
    /// The role.
    role: Option<Role>,
    /// Its end, seconds since the epoch.
    exp: Option<i64>,
    /// When it was issued, seconds since the epoch.
    iat: Option<i64>,
}

/// `POST /auth/introspect`. Tokens of other tenants are not active here: nobody learns of them.
pub(super) async fn introspect(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<Introspect>,
) -> Result<Answer<Introspection>, ApiError> {
    let Ok(verified) = judge(&app, &body.token) else { return Ok(Answer::ok(Introspection::default())) };
    let principal = verified.principal;
    if !verified.tenants.contains(&caller.tenant_id()) {
        return Ok(Answer::ok(Introspection::default()));
    }
    // An agent learns of its own tokens only.
    if caller.only_agent().is_some_and(|own| principal.agent() != Some(own)) {
        return Ok(Answer::ok(Introspection::default()));
    }
    let user_id = match principal.subject {
        Subject::User(id) => Some(id),
        Subject::Agent(_) | Subject::ApiKey { .. } | Subject::Sidecar(_) => None,
    };
    Ok(Answer::ok(Introspection {
        active: true,
        agent_id: principal.agent(),
        user_id,
        tenant_id: Some(principal.tenant_id),
        role: Some(principal.role),
        exp: principal.token.map(|(_, end)| end.as_seconds()),
        iat: verified.claims.map(|claims| claims.iat),
    }))
}

/// Whose tokens end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    /// The user; or
    #[serde(default)]
    user_id: Option<UserId>,
    /// the agent.
    #[serde(default)]
    #[schema(examples(json!(null)))]
    agent_id: Option<AgentId>,
}

impl RequestBody for Revoke {
    fn validate(&self, issues: &mut Issues) {
        issues.check(
            self.user_id.is_some() != self.agent_id.is_some(),
            "user_id",
            "name exactly one of user_id and agent_id",
        );
    }
}

/// What was revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevocationView {
    /// The user.
    user_id: Option<UserId>,
    /// The agent.
    agent_id: Option<AgentId>,
    /// Always true: refusals are errors.
    revoked: bool,
    /// Prose.
    #[schema(examples("Every token issued until now is void"))]
    message: &'static str,
}

/// `POST /auth/revoke`.
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Body(Revoke { user_id, agent_id }): Body<Revoke>,
) -> Result<Answer<RevocationView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let mut object = String::new();
    if let Some(id) = user_id {
        user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
        revocation::user(&mut tx, id);
        refresh::revoke_by_user(&mut tx, tenant, id, app.clock.now()).await?;
        object = format!("user:{id}");
    }
    if let Some(id) = agent_id {
        agent::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("agent"))?;
        revocation::agent(&mut tx, id);
        object = format!("agent:{id}");
    }
    tx.record(record::admin(&caller, "auth.revoke", object, [])).await?.commit().await?;
    Ok(Answer::ok(RevocationView { user_id, agent_id, revoked: true, message: "Every token issued until now is void" }))
}

impl UserView {
    fn of_agent(agent: agent::Agent, tenant_id: TenantId, role: Role) -> Self {
        Self {
            id: agent.id.as_uuid(),
            email: None,
            full_name: Some(agent.name),
            role,
            tenant_id,
            is_active: agent.status == aegis_core::agent::AgentStatus::Active,
            created_at: Some(agent.created_at),
        }
    }

    fn of_service(id: uuid::Uuid, tenant_id: TenantId, role: Role) -> Self {
        Self { id, email: None, full_name: None, role, tenant_id, is_active: true, created_at: None::<Timestamp> }
    }
}
