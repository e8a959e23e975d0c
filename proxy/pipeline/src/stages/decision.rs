//! Stage 6: one verdict from everything that was seen. Integers only; every input can raise the score, none
//! that is worse can lower it.

mod rules;

use std::collections::BTreeMap;

use aegis_core::agent::RiskLevel;
use aegis_core::decision::Decision;
use aegis_core::finding::{Finding, FindingId};
use aegis_core::score::BasisPoints;
use aegis_core::tenant::SignalWeights;

use crate::policy::{PolicyFailure, PolicyVerdict};
use crate::refusal::SignalView;
use crate::stages::behavior::{BehaviorReport, Degraded};
use crate::stages::enforcement::ContractState;
use crate::stages::policy::PolicyResult;

/// Below which floors the score does not fall: a finding of 95, a policy deny, a fault.
const KILL_FLOOR: BasisPoints = BasisPoints::clamp(9_500);
/// A finding of 80, a policy escalation.
const ESCALATE_FLOOR: BasisPoints = BasisPoints::clamp(7_000);
/// Behaviour of .90, a runaway loop.
const THROTTLE_FLOOR: BasisPoints = BasisPoints::clamp(5_000);
/// Finding scores that raise the floor.
const KILL_FINDING: u8 = 95;
pub(crate) const ESCALATE_FINDING: u8 = 80;
/// Behaviour that raises the floor.
const THROTTLE_BEHAVIOR: BasisPoints = BasisPoints::clamp(9_000);
/// From which values the five signals count as triggered.
const SIGNAL_THRESHOLD: BasisPoints = BasisPoints::clamp(5_000);

/// What stage 6 decides on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Stage 3.
    pub findings: &'a [Finding],
    /// Stage 4.
    pub policy: &'a PolicyResult,
    /// Stage 5.
    pub behavior: &'a BehaviorReport,
    /// What became of a stale snapshot.
    pub degraded: Degraded,
    /// The agent's contract, evaluated.
    pub contract: &'a ContractState,
    /// How dangerous the agent is held to be.
    pub risk_level: RiskLevel,
    /// The tenant's weights.
    pub weights: &'a SignalWeights,
}

/// Who has the last word when a verdict refuses; earlier ones come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// The contract is violated.
    Autonomy,
    /// A policy could not be evaluated.
    PolicyFailure(PolicyFailure),
    /// A policy rule.
    Policy,
    /// A finding of stage 3 alone.
    Finding,
    /// Behaviour, or a snapshot too old to go by.
    Behavior,
}

/// The verdict on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Decision,
    /// How risky it is.
    pub score: BasisPoints,
    /// What the score was computed from, and the parts of behaviour.
    pub signals: BTreeMap<&'static str, SignalView>,
    /// How sure stage 5 is of its part.
    pub confidence: BasisPoints,
    /// Everything that was seen, worst first.
    pub findings: Vec<Finding>,
    /// Which rules spoke, the deciding one first; empty if none did.
    pub rule_ids: Vec<String>,
    /// Who has the last word if this refuses.
    pub ground: Ground,
    /// Who may approve, if a rule says so.
    pub approver_role: Option<String>,
    /// One sentence for people.
    pub reasoning: String,
    /// How risky the call is by itself, without what earlier calls weigh: what stage 5 remembers.
    pub own_risk: BasisPoints,
}

/// Decides: the weighted sum, the adjustment, the floors, the band.
pub fn decide(evidence: &Evidence<'_>) -> Verdict {
    let nothing = PolicyVerdict::default();
    let policy = evidence.policy.as_ref().unwrap_or(&nothing);
    let inference = BasisPoints::from_percent(evidence.findings.iter().map(|f| f.score).max().unwrap_or(0));
    let policy_signal = policy_signal(evidence.policy);
    let parts = [
        ("inference", inference, evidence.weights.inference),
        ("policy", policy_signal, evidence.weights.policy),
        ("behavior", evidence.behavior.score, evidence.weights.behavior),
        ("autonomy", evidence.contract.signal(), evidence.weights.autonomy),
        ("agent_risk_level", evidence.risk_level.signal(), evidence.weights.agent_risk_level),
    ];
    let sum: i64 = parts.iter().map(|(_, signal, weight)| i64::from(signal.get()) * i64::from(weight.get())).sum();
    let findings = rules::worst_first(evidence);
    let score = BasisPoints::clamp(sum / 10_000 + policy.adjustment).max(floor(evidence, &findings));
    let action = Decision::of_score(score);
    let view = |score| SignalView { score, threshold: SIGNAL_THRESHOLD };
    let mut signals: BTreeMap<_, _> = parts.into_iter().map(|(name, signal, _)| (name, view(signal))).collect();
    signals.extend(&evidence.behavior.signals);
    let ground = ground(evidence, inference);
    let rule_ids = rules::ids(evidence, policy, &findings, &ground);
    let reasoning = rules::sentence(action, score, &rule_ids, &findings, &ground);
    Verdict {
        action,
        score,
        signals,
        confidence: evidence.behavior.confidence,
        findings,
        rule_ids,
        ground,
        approver_role: policy.escalations.iter().find_map(|hit| hit.approver_role.clone()),
        reasoning,
        own_risk: inference.max(policy_signal),
    }
}

/// 1 on a deny or a failure, .7 on an escalation, .3 on a monitor.
fn policy_signal(policy: &PolicyResult) -> BasisPoints {
    BasisPoints::clamp(match policy {
        Err(_) => 10_000,
        Ok(verdict) if !verdict.denies.is_empty() => 10_000,
        Ok(verdict) if !verdict.escalations.is_empty() => 7_000,
        Ok(verdict) if !verdict.monitors.is_empty() => 3_000,
        Ok(_) => 0,
    })
}

/// What the score is at least, whatever the weights say.
fn floor(evidence: &Evidence<'_>, findings: &[Finding]) -> BasisPoints {
    let worst = findings.iter().map(|f| f.score).max().unwrap_or(0);
    let denied = evidence.policy.as_ref().map_or(true, |p| !p.denies.is_empty());
    let escalated = evidence.policy.as_ref().is_ok_and(|p| !p.escalations.is_empty());
    let looping = findings.iter().any(|f| f.id == FindingId::RunawayLoop);
    if denied || worst >= KILL_FINDING || evidence.degraded == Degraded::Blocked {
        KILL_FLOOR
    } else if escalated || worst >= ESCALATE_FINDING {
        ESCALATE_FLOOR
    } else if looping || evidence.behavior.score >= THROTTLE_BEHAVIOR {
        THROTTLE_FLOOR
    } else {
        BasisPoints::ZERO
    }
}

/// Contract, then policy, then findings and behaviour; but a rule that only escalates is not what kills.
fn ground(evidence: &Evidence<'_>, inference: BasisPoints) -> Ground {
    let worst_behavior = evidence.behavior.findings.iter().map(|f| f.score).max().unwrap_or(0);
    let behavior = BasisPoints::from_percent(worst_behavior).max(evidence.behavior.score);
    let by_itself = if inference >= behavior { Ground::Finding } else { Ground::Behavior };
    let kills = inference.max(BasisPoints::from_percent(worst_behavior)) >= BasisPoints::from_percent(KILL_FINDING);
    match evidence.policy {
        _ if evidence.contract.is_violated() => Ground::Autonomy,
        Err(failure) => Ground::PolicyFailure(failure.clone()),
        Ok(policy) if !policy.denies.is_empty() => Ground::Policy,
        Ok(_) if evidence.degraded == Degraded::Blocked => Ground::Behavior,
        Ok(_) if kills => by_itself,
        Ok(policy) if !policy.escalations.is_empty() => Ground::Policy,
        Ok(_) => by_itself,
    }
}

#[cfg(test)]
mod tests;
