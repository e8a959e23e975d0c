//! How agents and permissions look in answers.

use std::collections::BTreeMap;

use aegis_core::agent::{AgentStatus, GrantEffect, RiskLevel};
use aegis_core::id::{AgentId, GrantId, OrgId, TenantId};
use aegis_core::pattern::ToolPattern;
use aegis_core::time::Timestamp;
use aegis_store::agent::{Agent, AgentCounts};
use aegis_store::grant::AgentGrant;
use serde::Serialize;
use utoipa::ToSchema;

/// An agent with its permissions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentView {
    id: AgentId,
    tenant_id: TenantId,
    org_id: OrgId,
    /// Unique in the tenant while the agent is not deleted.
    #[schema(examples("order-reader"))]
    name: String,
    #[schema(examples("Reads orders and answers customers."))]
    description: String,
    /// Who registered it.
    #[schema(examples("user:0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21"))]
    owner_id: String,
    status: AgentStatus,
    risk_level: RiskLevel,
    /// The owner's labels.
    metadata: BTreeMap<String, String>,
    /// Calls per second it may make, if it has a limit of its own.
    requests_per_second: Option<u32>,
    /// USD it may spend per UTC day, if capped.
    #[schema(examples("25.000000"))]
    daily_cost_cap_usd: Option<String>,
    /// The agent that started it, from which delegation depth is counted.
    parent_agent_id: Option<AgentId>,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
    /// Unexpired grants and denials, oldest first.
    permissions: Vec<PermissionView>,
}

impl AgentView {
    pub(super) fn new(tenant_id: TenantId, agent: Agent, permissions: Vec<AgentGrant>) -> Self {
        Self {
            id: agent.id,
            tenant_id,
            org_id: agent.org_id,
            name: agent.name,
            description: agent.description,
            owner_id: agent.owner_id,
            status: agent.status,
            risk_level: agent.risk_level,
            metadata: agent.metadata,
            requests_per_second: agent.requests_per_second,
            daily_cost_cap_usd: agent.daily_cost_cap.map(|cap| cap.to_string()),
            parent_agent_id: agent.parent,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
            deleted_at: agent.deleted_at,
            permissions: permissions.into_iter().map(PermissionView::from).collect(),
        }
    }
}

/// A grant or denial of tools.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PermissionView {
    id: GrantId,
    agent_id: AgentId,
    /// One tool, `prefix.*`, or `*`.
    tool_name: ToolPattern,
    /// A denial wins over every grant.
    action: GrantEffect,
    #[schema(examples("user:0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21"))]
    granted_by: String,
    granted_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl From<AgentGrant> for PermissionView {
    fn from(stored: AgentGrant) -> Self {
        Self {
            id: stored.grant.id,
            agent_id: stored.agent_id,
            tool_name: stored.grant.tool,
            action: stored.grant.effect,
            granted_by: stored.granted_by,
            granted_at: stored.granted_at,
            expires_at: stored.grant.expires_at,
        }
    }
}

/// A page of agents, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentPage {
    pub(super) items: Vec<AgentView>,
    /// Agents in all.
    pub(super) total: u64,
    /// This page, from 1.
    pub(super) page: u32,
    /// Agents a page holds.
    pub(super) size: u32,
    /// Pages in all.
    pub(super) pages: u64,
}

/// The fleet in numbers, deleted agents left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FleetSummary {
    total: u64,
    active: u64,
    quarantined: u64,
    terminated: u64,
    /// Of risk level high or critical.
    high_risk: u64,
}

impl From<AgentCounts> for FleetSummary {
    fn from(counts: AgentCounts) -> Self {
        let AgentCounts { total, active, quarantined, terminated, high_risk } = counts;
        Self { total, active, quarantined, terminated, high_risk }
    }
}
