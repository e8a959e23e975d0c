//! Agent secrets: one per agent, kept as Argon2id.

use aegis_core::id::{AgentId, CredentialId, TenantId};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};
use crate::tx::WriteTx;

/// An agent's secret as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentCredential {
    /// The credential.
    pub id: CredentialId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// Argon2id, in PHC form.
    pub secret_hash: String,
    /// When the agent first had a secret.
    pub created_at: Timestamp,
    /// When it was last replaced.
    pub updated_at: Timestamp,
}

/// Sets or replaces an agent's secret.
///
/// # Errors
/// [`StoreError::NotFound`] if the tenant has no such agent.
pub async fn set(
    tx: &mut WriteTx,
    tenant: TenantId,
    agent: AgentId,
    secret_hash: &str,
) -> Result<AgentCredential, StoreError> {
    crate::agent::get_live(tx, tenant, agent).await?;
    let now = tx.now();
    let id = CredentialId::generate(now, tx.store().entropy());
    let sql = Sql::new(
        "INSERT INTO agent_credentials (tenant_id, agent_id, credential_id, secret_hash, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (tenant_id, agent_id) DO UPDATE \
         SET credential_id = excluded.credential_id, secret_hash = excluded.secret_hash, updated_at = excluded.updated_at \
         RETURNING tenant_id, agent_id, credential_id, secret_hash, created_at, updated_at",
    );
    let sql = sql.bind(tenant).bind(agent).bind(id).bind(secret_hash).bind(now);
    from_row(&tx.fetch_one(sql).await?)
}

/// The secret of an agent, whatever its tenant: agent ids are unique in the deployment, and whoever signs in has no
/// tenant yet. Deleted and terminated agents have none.
pub async fn find(db: &mut Conn, agent: AgentId) -> Result<Option<AgentCredential>, StoreError> {
    let sql = Sql::new(
        "SELECT c.tenant_id, c.agent_id, c.credential_id, c.secret_hash, c.created_at, c.updated_at \
         FROM agent_credentials c JOIN agents a ON a.tenant_id = c.tenant_id AND a.agent_id = c.agent_id \
         WHERE c.agent_id = $1 AND a.deleted_at IS NULL AND a.status <> 'TERMINATED' ORDER BY c.tenant_id LIMIT 1",
    );
    db.fetch_optional(sql.bind(agent)).await?.as_ref().map(from_row).transpose()
}

fn from_row(row: &Row) -> Result<AgentCredential, StoreError> {
    Ok(AgentCredential {
        id: row.get("credential_id")?,
        tenant_id: row.get("tenant_id")?,
        agent_id: row.get("agent_id")?,
        secret_hash: row.get("secret_hash")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}
