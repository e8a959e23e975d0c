//! What may proceed, and what a refusal says.

use std::collections::BTreeMap;

use aegis_core::finding::Finding;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::policy::PolicyFailure;

fn verdict(action: Decision, ground: Ground) -> Verdict {
    Verdict {
        action,
        score: BasisPoints::MAX,
        signals: BTreeMap::new(),
        confidence: BasisPoints::MAX,
        findings: vec![Finding::new(FindingId::DestructiveSql, "/q")],
        rule_ids: vec!["rule".into()],
        ground,
        approver_role: None,
        reasoning: "because".into(),
        own_risk: BasisPoints::MAX,
    }
}

fn violated(consequence: Consequence) -> ContractState {
    ContractState::Violated { contract: ContractId::from_uuid(Uuid::nil()), rule: "autonomy.hours".into(), consequence }
}

fn restricted(kind: RestrictionKind) -> Vec<Restriction> {
    vec![Restriction { id: RestrictionId::from_uuid(Uuid::nil()), kind }]
}

fn ticket() -> Ticket {
    Ticket::Valid(ApprovalId::from_uuid(Uuid::nil()))
}

fn denial(verdict: &Verdict, in_force: &InForce) -> Denial {
    match enforce(verdict, in_force) {
        Ruling::Refuse(Refusal::Denied(denial)) => *denial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn mild_verdicts_proceed_and_throttle_cools_down() {
    for action in [Decision::Allow, Decision::Monitor] {
        let ruling = enforce(&verdict(action, Ground::Finding), &InForce::default());
        assert_eq!(ruling, Ruling::Proceed { approval: None });
    }
    assert_eq!(enforce(&verdict(Decision::Throttle, Ground::Behavior), &InForce::default()), Ruling::CoolDown);
}

#[test]
fn a_kill_names_its_ground() {
    let cases = [
        (Ground::Autonomy, DenialKind::Autonomy),
        (Ground::Policy, DenialKind::Policy),
        (Ground::Finding, DenialKind::Policy),
        (Ground::Behavior, DenialKind::Behavior),
    ];
    for (ground, kind) in cases {
        let denial = denial(&verdict(Decision::Kill, ground), &InForce::default());
        assert_eq!((denial.kind, denial.rule_id.as_str()), (kind, "rule"));
        assert_eq!(denial.leading_finding, Some(FindingId::DestructiveSql));
    }
    let failed = verdict(Decision::Kill, Ground::PolicyFailure(PolicyFailure::Bound));
    assert!(matches!(enforce(&failed, &InForce::default()), Ruling::Refuse(Refusal::PolicyError { .. })));
}

#[test]
fn an_escalation_names_the_approver() {
    let mut verdict = verdict(Decision::Escalate, Ground::Policy);
    let role = |v: &Verdict| match denial(v, &InForce::default()).kind {
        DenialKind::ApprovalRequired { approver_role, approval_id: None, expires_at: None } => approver_role,
        other => panic!("{other:?}"),
    };
    assert_eq!(role(&verdict), "SECURITY");
    verdict.approver_role = Some("ADMIN".into());
    assert_eq!(role(&verdict), "ADMIN");
}

#[test]
fn a_ticket_opens_escalations_and_nothing_else() {
    let with_ticket = InForce { ticket: ticket(), ..InForce::default() };
    for action in Decision::ALL {
        let ruling = enforce(&verdict(*action, Ground::Policy), &with_ticket);
        let proceeds = matches!(ruling, Ruling::Proceed { .. });
        assert_eq!(proceeds, *action <= Decision::Escalate && *action != Decision::Throttle, "{action}");
    }
    let by_contract = InForce { contract: violated(Consequence::Escalate), ..with_ticket.clone() };
    assert!(matches!(enforce(&verdict(Decision::Allow, Ground::Autonomy), &by_contract), Ruling::Refuse(_)));
    let restricted = InForce { restrictions: restricted(RestrictionKind::BlockTool), ..with_ticket };
    let denial = denial(&verdict(Decision::Escalate, Ground::Policy), &restricted);
    assert_eq!((denial.action, denial.rule_id.as_str()), (Decision::Kill, "restriction.block_tool"));
}

proptest! {
    #[test]
    fn enforcement_never_loosens(action in 0..Decision::ALL.len(), kind in 0..RestrictionKind::ALL.len(), kill in any::<bool>()) {
        let verdict = verdict(Decision::ALL[action], Ground::Policy);
        let consequence = if kill { Consequence::Kill } else { Consequence::Escalate };
        let contracts = [ContractState::Absent, ContractState::Kept(ContractId::from_uuid(Uuid::nil())), violated(consequence)];
        for contract in contracts {
            for restrictions in [Vec::new(), restricted(RestrictionKind::ALL[kind])] {
                let in_force = InForce { contract: contract.clone(), restrictions, ticket: Ticket::Absent };
                prop_assert!(effective(&verdict, &in_force) >= verdict.action);
                let proceeds = matches!(enforce(&verdict, &in_force), Ruling::Proceed { .. });
                prop_assert_eq!(proceeds, effective(&verdict, &in_force) <= Decision::Monitor);
            }
        }
    }
}
