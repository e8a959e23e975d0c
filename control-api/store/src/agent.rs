//! Agents: who may act in a tenant, and how they stand.

use std::collections::BTreeMap;

use aegis_core::agent::{AgentRecord, AgentStatus, RiskLevel};
use aegis_core::id::{AgentId, OrgId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::snapshot::Item;
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::grant;
use crate::sql::{self, Row, Sql};
use crate::tx::WriteTx;

/// Agents a tenant may have at most, deleted ones not counted.
pub const AGENTS_MAX: u64 = 50_000;
/// Agents one page lists at most.
pub const AGENTS_PAGE_MAX: u32 = 100;
/// How deep agents may descend from each other.
pub const ANCESTORS_MAX: usize = 32;

/// An agent as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The agent.
    pub id: AgentId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its unique name in the tenant.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who registered it: a principal label.
    pub owner_id: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// How dangerous it is held to be.
    pub risk_level: RiskLevel,
    /// The owner's labels.
    pub metadata: BTreeMap<String, String>,
    /// Calls per second it may make, if it has a limit of its own.
    pub requests_per_second: Option<u32>,
    /// Micro-USD it may spend per UTC day, if capped.
    pub daily_cost_cap: Option<MicroUsd>,
    /// The agent that started it.
    pub parent: Option<AgentId>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

/// Which agents to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// Of this owner only.
    pub owner_id: Option<String>,
    /// Of this status only.
    pub status: Option<AgentStatus>,
    /// Deleted ones too.
    pub include_deleted: bool,
}

/// How many agents there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// All that are not deleted.
    pub total: u64,
    /// That may act.
    pub active: u64,
    /// That are isolated.
    pub quarantined: u64,
    /// That are gone for good.
    pub terminated: u64,
    /// Of high or critical risk.
    pub high_risk: u64,
}

const COLUMNS: &str = "agent_id, org_id, name, description, owner_id, status, risk_level, metadata, \
     requests_per_second, daily_cost_cap_micro_usd, parent_agent_id, created_at, updated_at, deleted_at";

/// One agent; a deleted one too.
pub async fn get(db: &mut Conn, tenant: TenantId, agent: AgentId) -> Result<Option<Agent>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS)
        .push(" FROM agents WHERE tenant_id = ")
        .push_bind(tenant)
        .push(" AND agent_id = ")
        .push_bind(agent);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// One agent that is not deleted.
///
/// # Errors
/// [`StoreError::NotFound`] if the tenant has none.
pub async fn get_live(db: &mut Conn, tenant: TenantId, agent: AgentId) -> Result<Agent, StoreError> {
    get(db, tenant, agent).await?.filter(|a| a.deleted_at.is_none()).ok_or(StoreError::NotFound("agent"))
}

/// A page of agents, newest first, and how many there are in all.
pub async fn list(
    db: &mut Conn,
    tenant: TenantId,
    filter: &AgentFilter,
    limit: u32,
    offset: u64,
) -> Result<(Vec<Agent>, u64), StoreError> {
    let mut sql = Sql::new("SELECT COUNT(*) AS n FROM agents");
    push_filter(&mut sql, tenant, filter);
    let total = db.fetch_one(sql).await?.get("n")?;
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM agents");
    push_filter(&mut sql, tenant, filter);
    sql.push(" ORDER BY created_at DESC, agent_id DESC LIMIT ").push_bind(limit.min(AGENTS_PAGE_MAX));
    sql.push(" OFFSET ").push_bind(offset);
    let agents = db.fetch_all(sql).await?.iter().map(from_row).collect::<Result<_, _>>()?;
    Ok((agents, total))
}

fn push_filter(sql: &mut Sql, tenant: TenantId, filter: &AgentFilter) {
    sql.push(" WHERE tenant_id = ").push_bind(tenant);
    if let Some(owner) = &filter.owner_id {
        sql.push(" AND owner_id = ").push_bind(owner.as_str());
    }
    if let Some(status) = filter.status {
        sql.push(" AND status = ").push_bind(status.as_str());
    }
    if !filter.include_deleted {
        sql.push(" AND deleted_at IS NULL");
    }
}

/// How many agents there are, by status and risk.
pub async fn counts(db: &mut Conn, tenant: TenantId) -> Result<AgentCounts, StoreError> {
    let sql = Sql::new(
        "SELECT status, risk_level, COUNT(*) AS n FROM agents WHERE tenant_id = $1 AND deleted_at IS NULL \
         GROUP BY status, risk_level",
    );
    let mut counts = AgentCounts::default();
    for row in db.fetch_all(sql.bind(tenant)).await? {
        let n: u64 = row.get("n")?;
        counts.total += n;
        match row.word("status", AgentStatus::parse)? {
            AgentStatus::Active => counts.active += n,
            AgentStatus::Quarantined => counts.quarantined += n,
            AgentStatus::Terminated => counts.terminated += n,
            AgentStatus::Inactive | AgentStatus::Suspended | AgentStatus::Throttled => {}
        }
        match row.word("risk_level", RiskLevel::parse)? {
            RiskLevel::High | RiskLevel::Critical => counts.high_risk += n,
            RiskLevel::Low | RiskLevel::Medium => {}
        }
    }
    Ok(counts)
}

/// Registers an agent, in the snapshot too. Times are the write's.
///
/// # Errors
/// [`StoreError::Conflict`] `name_taken` or `too_many`; [`StoreError::Invalid`] `unknown_parent`.
pub async fn create(tx: &mut WriteTx, tenant: TenantId, agent: &Agent) -> Result<Agent, StoreError> {
    let count = tx.fetch_one(
        Sql::new("SELECT COUNT(*) AS n FROM agents WHERE tenant_id = $1 AND deleted_at IS NULL").bind(tenant),
    );
    if count.await?.get::<u64>("n")? >= AGENTS_MAX {
        return Err(StoreError::Conflict { what: "agent", reason: "too_many" });
    }
    check_parent(tx, tenant, agent).await?;
    let agent = Agent { created_at: tx.now(), updated_at: tx.now(), deleted_at: None, ..agent.clone() };
    let mut sql = Sql::new("INSERT INTO agents (tenant_id, ");
    sql.push(COLUMNS).push(") VALUES ").push_tuple([
        tenant.into(),
        agent.id.into(),
        agent.org_id.into(),
        agent.name.as_str().into(),
        agent.description.as_str().into(),
        agent.owner_id.as_str().into(),
        agent.status.as_str().into(),
        agent.risk_level.as_str().into(),
        sql::json(&agent.metadata)?.into(),
        agent.requests_per_second.into(),
        agent.daily_cost_cap.into(),
        agent.parent.into(),
        agent.created_at.into(),
        agent.updated_at.into(),
        agent.deleted_at.into(),
    ]);
    tx.execute(sql).await.map_err(|e| e.unique_as("agent", "name_taken"))?;
    publish(tx, tenant, &agent).await?;
    Ok(agent)
}

/// Replaces what may change of an agent that is not deleted, in the snapshot too.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Conflict`] `terminated` or `name_taken`; [`StoreError::Invalid`]
/// `unknown_parent` or `parent_cycle`.
pub async fn update(tx: &mut WriteTx, tenant: TenantId, agent: &Agent) -> Result<Agent, StoreError> {
    let before = get_live(tx, tenant, agent.id).await?;
    if before.status == AgentStatus::Terminated {
        return Err(StoreError::Conflict { what: "agent", reason: "terminated" });
    }
    check_parent(tx, tenant, agent).await?;
    let agent = Agent { updated_at: tx.now(), ..agent.clone() };
    let sql = Sql::new(
        "UPDATE agents SET name = $1, description = $2, status = $3, risk_level = $4, metadata = $5, \
         requests_per_second = $6, daily_cost_cap_micro_usd = $7, parent_agent_id = $8, updated_at = $9 \
         WHERE tenant_id = $10 AND agent_id = $11",
    )
    .bind(agent.name.as_str())
    .bind(agent.description.as_str())
    .bind(agent.status.as_str())
    .bind(agent.risk_level.as_str())
    .bind(sql::json(&agent.metadata)?)
    .bind(agent.requests_per_second)
    .bind(agent.daily_cost_cap)
    .bind(agent.parent)
    .bind(agent.updated_at)
    .bind(tenant)
    .bind(agent.id);
    tx.execute(sql).await.map_err(|e| e.unique_as("agent", "name_taken"))?;
    publish(tx, tenant, &agent).await?;
    Ok(agent)
}

/// Deletes an agent softly and takes it out of the snapshot; its last state.
///
/// # Errors
/// [`StoreError::NotFound`] if there is none, or it is deleted already.
pub async fn delete(tx: &mut WriteTx, tenant: TenantId, agent: AgentId) -> Result<Agent, StoreError> {
    let before = get_live(tx, tenant, agent).await?;
    let now = tx.now();
    let sql = Sql::new("UPDATE agents SET deleted_at = $1, updated_at = $1 WHERE tenant_id = $2 AND agent_id = $3");
    tx.execute(sql.bind(now).bind(tenant).bind(agent)).await?;
    tx.item_remove(&format!("agent/{agent}"));
    Ok(Agent { updated_at: now, deleted_at: Some(now), ..before })
}

/// Puts the agent with its unexpired grants into the snapshot.
pub(crate) async fn publish(tx: &mut WriteTx, tenant: TenantId, agent: &Agent) -> Result<(), StoreError> {
    let now = tx.now();
    let grants = grant::list(tx, tenant, agent.id, now).await?;
    tx.item_put(&Item::Agent(AgentRecord {
        id: agent.id,
        org_id: agent.org_id,
        name: agent.name.clone(),
        status: agent.status,
        risk_level: agent.risk_level,
        metadata: agent.metadata.clone(),
        grants: grants.into_iter().map(|g| g.grant).collect(),
        requests_per_second: agent.requests_per_second,
        daily_cost_cap_micro_usd: agent.daily_cost_cap,
        parent: agent.parent,
    }));
    Ok(())
}

/// The parent exists, and the agent is not among its own ancestors.
async fn check_parent(tx: &mut WriteTx, tenant: TenantId, agent: &Agent) -> Result<(), StoreError> {
    let Some(parent) = agent.parent else { return Ok(()) };
    let mut above = Some(parent);
    for depth in 0..ANCESTORS_MAX {
        let Some(id) = above else { return Ok(()) };
        if id == agent.id {
            return Err(StoreError::Invalid { what: "parent_agent_id", reason: "parent_cycle" });
        }
        match get(tx, tenant, id).await? {
            // Only the parent itself must still be there: what stands above it may be gone since.
            Some(found) if depth > 0 || found.deleted_at.is_none() => above = found.parent,
            Some(_) | None => return Err(StoreError::Invalid { what: "parent_agent_id", reason: "unknown_parent" }),
        }
    }
    Err(StoreError::Invalid { what: "parent_agent_id", reason: "too_deep" })
}

fn from_row(row: &Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: row.get("agent_id")?,
        org_id: row.get("org_id")?,
        name: row.get("name")?,
        description: row.get("description")?,
        owner_id: row.get("owner_id")?,
        status: row.word("status", AgentStatus::parse)?,
        risk_level: row.word("risk_level", RiskLevel::parse)?,
        metadata: row.json("metadata")?,
        requests_per_second: row.maybe("requests_per_second")?,
        daily_cost_cap: row.maybe("daily_cost_cap_micro_usd")?,
        parent: row.maybe("parent_agent_id")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        deleted_at: row.maybe("deleted_at")?,
    })
}

#[cfg(test)]
mod tests;
