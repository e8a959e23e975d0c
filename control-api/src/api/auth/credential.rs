//! Secrets of agents.

use aegis_core::id::{AgentId, CredentialId};
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_store::{agent, credential};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agent::check_secret;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::record;
use crate::state::App;

/// A new secret for an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCredential {
    /// The agent.
    agent_id: AgentId,
    /// The secret, which replaces the one before.
    #[schema(value_type = String, format = "password", min_length = 16, max_length = 256)]
    secret: Secret,
}

impl RequestBody for NewCredential {
    fn validate(&self, issues: &mut Issues) {
        check_secret(&self.secret, issues);
    }
}

/// A secret without the secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CredentialView {
    /// The credential.
    id: CredentialId,
    /// The agent.
    agent_id: AgentId,
    /// `active`.
    #[schema(examples("active"))]
    status: &'static str,
    /// Whether it works.
    is_active: bool,
    /// When the agent first had a secret.
    created_at: Timestamp,
    /// When it was last replaced.
    updated_at: Timestamp,
}

/// `POST /auth/credentials`.
pub(super) async fn set(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewCredential>,
) -> Result<Answer<CredentialView>, ApiError> {
    let tenant = caller.tenant_id();
    // Asked first, so that an unknown agent costs no hash; the write asks again.
    agent::get_live(&mut *app.store.read(tenant).await?, tenant, new.agent_id).await?;
    let hash = app.passwords.hash(new.secret).await?;
    let mut tx = app.store.write(tenant).await?;
    let set = credential::set(&mut tx, tenant, new.agent_id, &hash).await?;
    let entry = record::admin(&caller, "credential.set", format!("agent:{}", new.agent_id), []);
    tx.record(entry).await?.commit().await?;
    Ok(Answer::ok(CredentialView {
        id: set.id,
        agent_id: set.agent_id,
        status: "active",
        is_active: true,
        created_at: set.created_at,
        updated_at: set.updated_at,
    }))
}
