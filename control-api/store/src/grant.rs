//! Grants: which tools an agent may use, and which it may not.

use std::collections::BTreeMap;

use aegis_core::agent::{Grant, GrantEffect};
use aegis_core::id::{AgentId, GrantId, TenantId};
use aegis_core::pattern::ToolPattern;
use aegis_core::time::Timestamp;

use crate::agent;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};
use crate::tx::WriteTx;

/// Grants and denials an agent may have at most, expired ones not counted.
pub const GRANTS_MAX: usize = 500;

/// A grant with its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentGrant {
    /// Whose.
    pub agent_id: AgentId,
    /// What it says.
    pub grant: Grant,
    /// By whom: a principal label.
    pub granted_by: String,
    /// When.
    pub granted_at: Timestamp,
}

const COLUMNS: &str = "grant_id, agent_id, tool, effect, granted_by, granted_at, expires_at";

/// The grants of one agent that are in force, oldest first.
pub async fn list(
    db: &mut Conn,
    tenant: TenantId,
    agent: AgentId,
    now: Timestamp,
) -> Result<Vec<AgentGrant>, StoreError> {
    Ok(list_of(db, tenant, &[agent], now).await?.remove(&agent).unwrap_or_default())
}

/// The grants of several agents that are in force, by agent, oldest first.
pub async fn list_of(
    db: &mut Conn,
    tenant: TenantId,
    agents: &[AgentId],
    now: Timestamp,
) -> Result<BTreeMap<AgentId, Vec<AgentGrant>>, StoreError> {
    let mut found: BTreeMap<AgentId, Vec<AgentGrant>> = BTreeMap::new();
    if agents.is_empty() {
        return Ok(found);
    }
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM grants WHERE tenant_id = ").push_bind(tenant);
    sql.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(now).push(") AND agent_id IN ");
    sql.push_tuple(agents.iter().map(|agent| (*agent).into())).push(" ORDER BY granted_at, grant_id");
    for row in db.fetch_all(sql).await? {
        let grant = from_row(&row)?;
        found.entry(grant.agent_id).or_default().push(grant);
    }
    Ok(found)
}

/// Grants or denies a tool, in the snapshot too. The same agent, tool and effect again renews what is there: it keeps
/// its id and takes the new end and author.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such agent; [`StoreError::Conflict`] `terminated` or `too_many`.
pub async fn put(tx: &mut WriteTx, tenant: TenantId, grant: &AgentGrant) -> Result<AgentGrant, StoreError> {
    let now = tx.now();
    let holder = holder(tx, tenant, grant.agent_id).await?;
    // Expired ones would only take up room: they are nobody's grant any more.
    let sql = Sql::new("DELETE FROM grants WHERE tenant_id = $1 AND agent_id = $2 AND expires_at <= $3");
    tx.execute(sql.bind(tenant).bind(grant.agent_id).bind(now)).await?;
    let sql = Sql::new(
        "INSERT INTO grants (tenant_id, grant_id, agent_id, tool, effect, granted_by, granted_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant_id, agent_id, tool, effect) DO UPDATE \
         SET granted_by = excluded.granted_by, granted_at = excluded.granted_at, expires_at = excluded.expires_at \
         RETURNING grant_id",
    )
    .bind(tenant)
    .bind(grant.grant.id)
    .bind(grant.agent_id)
    .bind(grant.grant.tool.to_string())
    .bind(grant.grant.effect.as_str())
    .bind(grant.granted_by.as_str())
    .bind(now)
    .bind(grant.grant.expires_at);
    let id = tx.fetch_one(sql).await?.get("grant_id")?;
    if list(tx, tenant, grant.agent_id, now).await?.len() > GRANTS_MAX {
        return Err(StoreError::Conflict { what: "permission", reason: "too_many" });
    }
    agent::publish(tx, tenant, &holder).await?;
    Ok(AgentGrant { grant: Grant { id, ..grant.grant.clone() }, granted_at: now, ..grant.clone() })
}

/// Takes a grant away, from the snapshot too; what it said last.
///
/// # Errors
/// [`StoreError::NotFound`] if the agent has no such grant.
pub async fn delete(
    tx: &mut WriteTx,
    tenant: TenantId,
    agent: AgentId,
    grant: GrantId,
) -> Result<AgentGrant, StoreError> {
    let holder = agent::get_live(tx, tenant, agent).await?;
    let mut sql = Sql::new("DELETE FROM grants WHERE tenant_id = ");
    sql.push_bind(tenant).push(" AND agent_id = ").push_bind(agent).push(" AND grant_id = ").push_bind(grant);
    sql.push(" RETURNING ").push(COLUMNS);
    let row = tx.fetch_optional(sql).await?.ok_or(StoreError::NotFound("permission"))?;
    agent::publish(tx, tenant, &holder).await?;
    from_row(&row)
}

async fn holder(tx: &mut WriteTx, tenant: TenantId, id: AgentId) -> Result<agent::Agent, StoreError> {
    let holder = agent::get_live(tx, tenant, id).await?;
    if holder.status == aegis_core::agent::AgentStatus::Terminated {
        return Err(StoreError::Conflict { what: "agent", reason: "terminated" });
    }
    Ok(holder)
}

fn from_row(row: &Row) -> Result<AgentGrant, StoreError> {
    let tool: String = row.get("tool")?;
    Ok(AgentGrant {
        agent_id: row.get("agent_id")?,
        grant: Grant {
            id: row.get("grant_id")?,
            tool: ToolPattern::parse(&tool).map_err(StoreError::corrupt)?,
            effect: row.word("effect", GrantEffect::parse)?,
            expires_at: row.maybe("expires_at")?,
        },
        granted_by: row.get("granted_by")?,
        granted_at: row.get("granted_at")?,
    })
}
