//! Deciding a stored call again, under another policy: from its findings and facts, where its payload was not kept.
//!
//! A call is worth replaying only if replaying it under the policy it was decided by comes to what was decided then;
//! where it does not (a rule read the payload, the agent changed since), that is said, never guessed.

use std::collections::{BTreeMap, BTreeSet};

use aegis_core::agent::AgentRecord;
use aegis_core::decision::Decision;
use aegis_core::finding::{Finding, FindingId};
use aegis_core::id::SessionId;
use aegis_core::pattern::ToolName;
use aegis_core::principal::Role;
use aegis_core::score::BasisPoints;
use aegis_core::sidecar::Effect;
use aegis_core::tenant::TenantRecord;
use aegis_core::time::Timestamp;
use serde_json::{Map, Value};

use crate::policy::{
    AgentInput, ApprovalInput, BehaviorInput, FindingInput, GrantInput, PlatformBundle, PolicyInput, PrincipalInput,
    RequestInput, SessionInput, TenantInput, TenantPolicy, TimeInput, ToolInput,
};
use crate::record::PolicyInForce;
use crate::stages::behavior::{BehaviorReport, Degraded};
use crate::stages::decision::{self, Evidence};
use crate::stages::enforcement::{self, ContractState, InForce};

/// What the row of a call tells about it.
#[derive(Debug, Clone)]
pub struct StoredCall {
    /// When.
    pub at: Timestamp,
    /// The tool.
    pub tool: ToolName,
    /// What the tool does to the world.
    pub effect: Effect,
    /// The session.
    pub session: Option<SessionId>,
    /// By whom.
    pub role: Role,
    /// Everything that was seen, of all stages.
    pub findings: Vec<Finding>,
    /// The signal of behaviour.
    pub behavior: BasisPoints,
    /// The contract, as it was evaluated.
    pub contract: ContractState,
    /// The verdict.
    pub decision: Decision,
    /// Which rules spoke, the deciding one first.
    pub rule_ids: Vec<String>,
    /// The policy it was decided by.
    pub policy: PolicyInForce,
}

/// What a replay comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The verdict.
    pub decision: Decision,
    /// The score.
    pub score: BasisPoints,
    /// Which rules spoke, the deciding one first.
    pub rule_ids: Vec<String>,
}

/// Decides the call again.
pub fn replay(policy: &TenantPolicy, tenant: &TenantRecord, agent: &AgentRecord, call: &StoredCall) -> Replayed {
    let (behaved, seen): (Vec<Finding>, Vec<Finding>) =
        call.findings.iter().filter(|f| f.id != FindingId::DegradedMode).cloned().partition(|f| is_behavior(f.id));
    // What is not kept cannot be shown to the rules.
    let payload = Map::new();
    let ruled = policy.evaluate(&input(tenant, agent, call, &seen, &payload));
    let report = BehaviorReport {
        signals: BTreeMap::new(),
        score: call.behavior,
        confidence: BasisPoints::MAX,
        findings: behaved,
    };
    let verdict = decision::decide(&Evidence {
        findings: &seen,
        policy: &ruled,
        behavior: &report,
        degraded: degraded(call),
        contract: &call.contract,
        risk_level: agent.risk_level,
        weights: &tenant.weights,
    });
    let in_force = InForce { contract: call.contract.clone(), ..InForce::default() };
    let decision = enforcement::effective(&verdict, &in_force);
    Replayed { decision, score: verdict.score, rule_ids: verdict.rule_ids }
}

/// Whether the row's facts are enough: replayed under the policy it was decided by (`present`, if that is still in
/// force), the call comes to what was decided; else at least every rule of the platform that spoke speaks again.
pub fn is_faithful(call: &StoredCall, present: &TenantPolicy, platform: &PlatformBundle, again: &Replayed) -> bool {
    if call.policy == *present.in_force() {
        return again.decision == call.decision;
    }
    let shipped: BTreeSet<&str> =
        platform.files().iter().flat_map(|file| file.rule_ids.iter().map(String::as_str)).collect();
    let spoke = |ids: &[String]| -> BTreeSet<String> {
        ids.iter().filter(|id| shipped.contains(id.as_str())).cloned().collect()
    };
    spoke(&call.rule_ids) == spoke(&again.rule_ids)
}

/// Findings that come from stage 5.
const fn is_behavior(id: FindingId) -> bool {
    matches!(
        id,
        FindingId::BehaviorBaselineDrift
            | FindingId::SlowExfilCumulative
            | FindingId::LongWindowCumulative
            | FindingId::AttackChainMatch
            | FindingId::CrossAgentKillChain
            | FindingId::CostBomb
            | FindingId::VelocitySpike
            | FindingId::SequenceAnomaly
            | FindingId::RunawayLoop
    )
}

/// A stale snapshot that decided stands first among the rules.
fn degraded(call: &StoredCall) -> Degraded {
    if !call.findings.iter().any(|f| f.id == FindingId::DegradedMode) {
        return Degraded::No;
    }
    let decided = call.rule_ids.first().is_some_and(|rule| rule == "finding.degraded_mode");
    if decided && call.decision == Decision::Kill { Degraded::Blocked } else { Degraded::Noted }
}

fn input<'a>(
    tenant: &TenantRecord,
    agent: &'a AgentRecord,
    call: &'a StoredCall,
    findings: &'a [Finding],
    payload: &'a Map<String, Value>,
) -> PolicyInput<'a> {
    let grants = agent.grants.iter().filter(|grant| grant.in_force(call.at));
    PolicyInput {
        tenant: TenantInput { id: tenant.id, tier: tenant.tier },
        agent: AgentInput {
            id: agent.id,
            name: &agent.name,
            status: agent.status,
            risk_level: agent.risk_level,
            metadata: &agent.metadata,
            grants: grants.map(|grant| GrantInput { tool: &grant.tool, effect: grant.effect }).collect(),
            granted: agent.is_granted(&call.tool, call.at),
        },
        principal: PrincipalInput { role: call.role },
        tool_name: &call.tool,
        tool: ToolInput { effect: call.effect },
        payload,
        findings: findings.iter().map(FindingInput::from).collect(),
        session: SessionInput {
            id: call.session.as_ref().map_or_else(String::new, |s| s.as_str().to_owned()),
            ..SessionInput::default()
        },
        behavior: BehaviorInput::default(),
        time: TimeInput { iso: call.at, hour: call.at.hour(), weekday: call.at.weekday() },
        request: RequestInput { id: String::new(), ip: String::new() },
        approval: ApprovalInput::default(),
    }
}
