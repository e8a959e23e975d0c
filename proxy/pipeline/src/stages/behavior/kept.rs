//! What stage 5 keeps over a restart, in a bounded form that a local store takes in small parts.

use aegis_core::id::{AgentId, SessionId, TenantId};
use aegis_core::pattern::ToolName;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Parts that the memory is kept in: only those in which something happened are written again.
pub const PARTS: usize = 64;
/// Agents kept in each part: those seen last. Others start anew, with half the confidence.
pub const AGENTS_PER_PART: usize = 16;
/// Sessions kept of each agent: those used last.
pub const SESSIONS_KEPT: usize = 8;

/// The part that an agent belongs to.
pub(crate) fn part_of(tenant_id: TenantId, agent_id: AgentId) -> usize {
    let last = |bytes: &[u8; 16]| usize::from(bytes[15]);
    (last(tenant_id.as_uuid().as_bytes()) ^ last(agent_id.as_uuid().as_bytes())) % PARTS
}

/// One agent as the local store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptAgent {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// Its last call.
    pub last_seen: Timestamp,
    /// Calls ever observed.
    pub observed: u64,
    /// Calls by second.
    pub(crate) velocity: Buckets<u64>,
    /// Micro-USD by hour.
    pub(crate) cost: Buckets<u64>,
    /// Risk by minute.
    pub(crate) hour_risk: Buckets<BasisPoints>,
    /// Risk by hour.
    pub(crate) week_risk: Buckets<BasisPoints>,
    /// Its last calls, oldest first.
    pub(crate) calls: Vec<KeptCall>,
    /// Its sessions.
    pub(crate) sessions: Vec<KeptSession>,
}

/// Numbered buckets of time and what is in them, oldest first.
pub(crate) type Buckets<T> = Vec<(i64, T)>;

/// One session as the local store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptSession {
    pub(crate) id: SessionId,
    pub(crate) last_seen: Timestamp,
    pub(crate) risk: Buckets<BasisPoints>,
    pub(crate) calls: Vec<KeptCall>,
}

/// One call as the local store keeps it: when, which tool, the payload's fingerprint, the steps it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptCall(pub(crate) Timestamp, pub(crate) ToolName, pub(crate) u64, pub(crate) u16);
