//! What the pipeline knows about a call when it is over: the substance of its row.

use std::collections::BTreeMap;

use aegis_core::decision::Decision;
use aegis_core::finding::Finding;
use aegis_core::id::{AgentId, ApprovalId, ContractId, RequestId, SessionId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolName;
use aegis_core::score::BasisPoints;

use crate::refusal::{Refused, SignalView};
use crate::timeline::Timeline;

/// Overlay revision of a tenant that has none.
pub const NO_OVERLAY: &str = "none";

/// The policy a call was judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Revision of the platform bundle.
    pub bundle: String,
    /// Revision of the tenant's overlay, [`NO_OVERLAY`] if it has none.
    pub overlay: String,
}

/// What a shadow version would have decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowVerdict {
    /// The policy's name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// The verdict with it in place of the active one.
    pub decision: Decision,
    /// The score with it.
    pub score: BasisPoints,
    /// Which rules spoke, the deciding one first.
    pub rule_ids: Vec<String>,
}

/// A call that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The tenant.
    pub tenant_id: TenantId,
    /// On behalf of whom.
    pub agent_id: AgentId,
    /// By whom: a principal label.
    pub principal: String,
    /// Our id of the request.
    pub request_id: RequestId,
    /// The client's id of it.
    pub client_request_id: Option<RequestId>,
    /// The agent's session.
    pub session_id: Option<SessionId>,
    /// The tool.
    pub tool: ToolName,
    /// The verdict.
    pub decision: Decision,
    /// The score.
    pub score: BasisPoints,
    /// How sure stage 5 was of its part.
    pub confidence: BasisPoints,
    /// What was seen, worst first.
    pub findings: Vec<Finding>,
    /// Which rules spoke, the deciding one first.
    pub rule_ids: Vec<String>,
    /// What the score was computed from.
    pub signals: BTreeMap<&'static str, SignalView>,
    /// The stages that ran.
    pub timeline: Timeline,
    /// The policy in force.
    pub policy: PolicyInForce,
    /// What shadow versions would have decided.
    pub shadows: Vec<ShadowVerdict>,
    /// The contract in force.
    pub contract: Option<ContractId>,
    /// The approval used.
    pub approval: Option<ApprovalId>,
    /// The snapshot in force.
    pub snapshot_version: u64,
    /// What it cost, or would have: reserved until settled, zero once refunded.
    pub cost: MicroUsd,
    /// One sentence for people; for refusals the stable identifier first.
    pub reason: String,
}

/// Who was stopped at a gate, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCaller {
    /// The tenant.
    pub tenant_id: TenantId,
    /// A principal label.
    pub principal: String,
    /// The agent that was to act, once that is settled.
    pub agent_id: Option<AgentId>,
}

/// A call stopped at a gate (stages 0–2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Why and where.
    pub refused: Refused,
    /// Who; absent for strangers, who are counted but never recorded.
    pub caller: Option<KnownCaller>,
    /// The stages that ran.
    pub timeline: Timeline,
}
