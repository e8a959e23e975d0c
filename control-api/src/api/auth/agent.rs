//! Tokens of agents.

use aegis_core::id::{AgentId, TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::secret::Secret;
use aegis_store::credential;
use axum::Extension;
use axum::extract::State;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::named_tenant;
use crate::context::RequestContext;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::state::App;
use crate::throttle::network;

/// Characters of an agent's secret.
pub(super) const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// Which agent signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentLogin {
    /// The agent.
    agent_id: AgentId,
    /// Its secret.
    #[schema(value_type = String, format = "password", min_length = 16, max_length = 256)]
    secret: Secret,
}

impl RequestBody for AgentLogin {
    fn validate(&self, issues: &mut Issues) {
        check_secret(&self.secret, issues);
    }
}

/// Notes what is wrong with a secret's form.
pub(super) fn check_secret(secret: &Secret, issues: &mut Issues) {
    let fits = SECRET_LENGTH.contains(&secret.expose().chars().count());
    issues.check(fits, "secret", "must have 16 to 256 characters");
}

/// An agent's token.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentToken {
    /// The access token.
    #[schema(examples("eyJhbGciOiJFZERTQSIsImtpZCI6…"))]
    access_token: String,
    /// How to present it.
    #[schema(examples("bearer"))]
    token_type: &'static str,
    /// Its lifetime in seconds.
    #[schema(examples(900))]
    expires_in: i64,
    /// The agent.
    agent_id: Option<AgentId>,
    /// Null.
    user_id: Option<UserId>,
    /// The tenant.
    tenant_id: TenantId,
    /// `AGENT`.
    role: Role,
}

/// `POST /auth/agent/token`. Every reason for a refusal gives the same answer after the same work.
pub(super) async fn login(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Body(login): Body<AgentLogin>,
) -> Result<Answer<AgentToken>, ApiError> {
    let (agent, address, now) = (login.agent_id, network(context.client), app.clock.now());
    let named = named_tenant(&headers)?;
    let account = (TenantId::from_uuid(agent.as_uuid()), String::from("agent"));
    let locked = |wait| ApiError::rate_limited("login_locked", now, wait);
    // Attempts at an account that is locked anyway do not lock their address as well.
    app.address_lockout.check(&address, now).map_err(locked)?;
    app.account_lockout.attempt(&account, now).map_err(locked)?;
    app.address_lockout.attempt(&address, now).map_err(locked)?;
    let found = credential::find(&mut *app.store.read_platform().await?, agent).await?;
    let stored = found.as_ref().filter(|c| named.is_none_or(|tenant| tenant == c.tenant_id));
    if !app.passwords.verify(login.secret, stored.map(|c| c.secret_hash.as_str())).await? {
        return Err(ApiError::InvalidCredentials);
    }
    let tenant_id = stored.ok_or(ApiError::InvalidCredentials)?.tenant_id;
    app.account_lockout.clear(&account);
    app.address_lockout.forgive(&address);
    app.directory.settle().await?;
    let tenant = app.directory.record(tenant_id).ok_or(ApiError::InvalidCredentials)?;
    let issued = app.signer.for_agent(agent, tenant_id, tenant.org_id, now, &*app.entropy)?;
    Ok(Answer::ok(AgentToken {
        access_token: issued.text.expose().to_owned(),
        token_type: "bearer",
        expires_in: issued.expires_in(),
        agent_id: Some(agent),
        user_id: None,
        tenant_id,
        role: Role::Agent,
    }))
}
