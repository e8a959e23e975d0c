//! Stage 7: the verdict becomes an answer, together with what else is in force: the agent's contract,
//! restrictions by automatic response, an approval.
//!
//! Contracts, restrictions and approvals do not reach the snapshot yet. Their types and their place are here, and
//! the rules by which they combine.

use aegis_core::decision::Decision;
use aegis_core::finding::FindingId;
use aegis_core::id::{ApprovalId, ContractId, RestrictionId};
use aegis_core::principal::Role;
use aegis_core::score::BasisPoints;
use aegis_core::words;

use crate::refusal::{Denial, DenialKind, Refusal};
use crate::stages::decision::{Ground, Verdict};

words! {
    /// What a violated contract does to a call.
    pub enum Consequence {
        /// A human must agree.
        Escalate = "escalate",
        /// The call is refused.
        Kill = "kill",
    }
}

/// The agent's autonomy contract, evaluated for this call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ContractState {
    /// The agent has none.
    #[default]
    Absent,
    /// The call keeps it.
    Kept(ContractId),
    /// The call violates it.
    Violated {
        /// The contract.
        contract: ContractId,
        /// Which of its terms, as a rule id: `autonomy.denied_tool`, …
        rule: String,
        /// What follows.
        consequence: Consequence,
    },
}

impl ContractState {
    pub(crate) fn is_violated(&self) -> bool {
        matches!(self, Self::Violated { .. })
    }

    pub(crate) fn signal(&self) -> BasisPoints {
        if self.is_violated() { BasisPoints::MAX } else { BasisPoints::ZERO }
    }

    pub(crate) fn rule(&self) -> Option<&str> {
        match self {
            Self::Violated { rule, .. } => Some(rule),
            Self::Absent | Self::Kept(_) => None,
        }
    }

    /// The contract in force.
    pub fn contract(&self) -> Option<ContractId> {
        match self {
            Self::Absent => None,
            Self::Kept(contract) | Self::Violated { contract, .. } => Some(*contract),
        }
    }

    /// What the contract demands at least.
    fn demands(&self) -> Decision {
        match self {
            Self::Absent | Self::Kept(_) => Decision::Allow,
            Self::Violated { consequence: Consequence::Escalate, .. } => Decision::Escalate,
            Self::Violated { consequence: Consequence::Kill, .. } => Decision::Kill,
        }
    }
}

words! {
    /// What automatic response did to an agent, as far as this call is concerned.
    pub enum RestrictionKind {
        /// The agent is slowed down.
        ThrottleAgent = "throttle_agent",
        /// This tool is blocked.
        BlockTool = "block_tool",
        /// The agent is cut off.
        IsolateAgent = "isolate_agent",
        /// The agent is stopped.
        KillAgent = "kill_agent",
    }
}

/// A restriction that covers this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restriction {
    /// Which.
    pub id: RestrictionId,
    /// What it does.
    pub kind: RestrictionKind,
}

/// The approval presented with a call, verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ticket {
    /// None that is valid for exactly this call.
    #[default]
    Absent,
    /// A valid one: it turns ESCALATE into proceed, and nothing else.
    Valid(ApprovalId),
}

/// What is in force besides the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// The contract.
    pub contract: ContractState,
    /// Restrictions that cover this call.
    pub restrictions: Vec<Restriction>,
    /// The approval.
    pub ticket: Ticket,
}

/// How stage 7 ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The tool may be called; the approval was used if one is named.
    Proceed { approval: Option<ApprovalId> },
    /// Slow down.
    CoolDown,
    /// No.
    Refuse(Refusal),
}

/// The action that follows from everything in force: the strictest.
pub(crate) fn effective(verdict: &Verdict, in_force: &InForce) -> Decision {
    let restricted = in_force.restrictions.iter().map(|restriction| match restriction.kind {
        RestrictionKind::ThrottleAgent => Decision::Throttle,
        RestrictionKind::BlockTool | RestrictionKind::IsolateAgent | RestrictionKind::KillAgent => Decision::Kill,
    });
    restricted.fold(verdict.action.max(in_force.contract.demands()), Decision::max)
}

/// Turns the verdict into an answer.
pub(crate) fn enforce(verdict: &Verdict, in_force: &InForce) -> Ruling {
    match effective(verdict, in_force) {
        Decision::Allow | Decision::Monitor => Ruling::Proceed { approval: None },
        Decision::Throttle => Ruling::CoolDown,
        Decision::Escalate => match in_force.ticket {
            // A contract's demand for a human is not one that the verdict's ticket answers.
            Ticket::Valid(approval) if !in_force.contract.is_violated() => Ruling::Proceed { approval: Some(approval) },
            Ticket::Valid(_) | Ticket::Absent => Ruling::Refuse(refusal(verdict, in_force, Decision::Escalate)),
        },
        action @ (Decision::Kill | Decision::Refused) => Ruling::Refuse(refusal(verdict, in_force, action)),
    }
}

fn refusal(verdict: &Verdict, in_force: &InForce, action: Decision) -> Refusal {
    let restriction = in_force.restrictions.iter().find(|r| r.kind != RestrictionKind::ThrottleAgent);
    let kind = match &verdict.ground {
        Ground::PolicyFailure(failure) => {
            return Refusal::PolicyError { rule_id: None, detail: failure.to_string() };
        }
        _ if action == Decision::Escalate => DenialKind::ApprovalRequired {
            approval_id: None,
            approver_role: verdict.approver_role.clone().unwrap_or_else(|| Role::Security.to_string()),
            expires_at: None,
        },
        Ground::Autonomy => DenialKind::Autonomy,
        Ground::Policy | Ground::Finding => DenialKind::Policy,
        Ground::Behavior => DenialKind::Behavior,
    };
    let mut rule_ids = verdict.rule_ids.clone();
    if let Some(restriction) = restriction {
        rule_ids.insert(0, format!("restriction.{}", restriction.kind));
    }
    let leading_finding = verdict.findings.first().map(|f| f.id).filter(|id| *id != FindingId::DegradedMode);
    Refusal::Denied(Box::new(Denial {
        kind,
        action,
        rule_id: rule_ids.first().cloned().unwrap_or_else(|| "score".to_owned()),
        rule_ids,
        findings: verdict.findings.clone(),
        score: verdict.score,
        signals: verdict.signals.clone(),
        explanation: verdict.reasoning.clone(),
        leading_finding,
    }))
}

#[cfg(test)]
mod tests;
