//! The formula, its floors, and that nothing worse ever makes a verdict milder.

use aegis_core::id::ContractId;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::policy::RuleHit;
use crate::stages::enforcement::Consequence;
use aegis_core::finding::Severity;

fn hit(id: &str, severity: Severity) -> RuleHit {
    RuleHit { id: id.into(), severity, approver_role: None, reason: None }
}

/// Everything stage 6 looks at, owned.
#[derive(Debug, Clone)]
struct Case {
    findings: Vec<Finding>,
    policy: PolicyResult,
    behavior: BehaviorReport,
    degraded: Degraded,
    contract: ContractState,
    risk_level: RiskLevel,
    weights: SignalWeights,
}

impl Default for Case {
    fn default() -> Self {
        let behavior = BehaviorReport {
            signals: BTreeMap::new(),
            score: BasisPoints::ZERO,
            confidence: BasisPoints::MAX,
            findings: Vec::new(),
        };
        Self {
            findings: Vec::new(),
            policy: Ok(PolicyVerdict::default()),
            behavior,
            degraded: Degraded::No,
            contract: ContractState::Absent,
            risk_level: RiskLevel::Low,
            weights: SignalWeights::default(),
        }
    }
}

impl Case {
    fn decide(&self) -> Verdict {
        decide(&Evidence {
            findings: &self.findings,
            policy: &self.policy,
            behavior: &self.behavior,
            degraded: self.degraded,
            contract: &self.contract,
            risk_level: self.risk_level,
            weights: &self.weights,
        })
    }

    fn policy_mut(&mut self) -> &mut PolicyVerdict {
        self.policy.as_mut().unwrap()
    }
}

fn with(change: impl FnOnce(&mut Case)) -> Verdict {
    let mut case = Case::default();
    change(&mut case);
    case.decide()
}

fn finding(id: FindingId, score: u8) -> Finding {
    Finding::scored(id, score, "/q")
}

fn violated() -> ContractState {
    let contract = ContractId::from_uuid(Uuid::nil());
    ContractState::Violated { contract, rule: "autonomy.denied_tool".into(), consequence: Consequence::Kill }
}

#[test]
fn the_sum_is_exact() {
    let nothing = Case::default().decide();
    assert_eq!((nothing.action, nothing.score.get()), (Decision::Allow, 0));
    // .20 × .60 + .40 × .30 + .25 × .40 + .10 × 1 + .05 × .66 = .473, + .05
    let all = with(|case| {
        case.findings = vec![finding(FindingId::ObfuscatedPayload, 60)];
        case.policy_mut().monitors = vec![hit("m", Severity::Low)];
        case.policy_mut().adjustment = 500;
        case.behavior.score = BasisPoints::clamp(4_000);
        case.contract = violated();
        case.risk_level = RiskLevel::High;
    });
    assert_eq!((all.action, all.score.get()), (Decision::Throttle, 5_230));
    assert_eq!(all.signals["policy"].score.get(), 3_000);
    assert!(all.signals["autonomy"].triggered() && !all.signals["behavior"].triggered());
}

#[test]
fn floors_come_last_and_no_adjustment_lowers_them() {
    type Change = fn(&mut Case);
    let cases: [(Change, u16, Decision); 10] = [
        (|c| c.findings = vec![finding(FindingId::DestructiveSql, 95)], 9_500, Decision::Kill),
        (|c| c.findings = vec![finding(FindingId::KnownExfilDestination, 80)], 7_000, Decision::Escalate),
        (|c| c.findings = vec![finding(FindingId::SecretInArguments, 79)], 0, Decision::Allow),
        (|c| c.policy_mut().denies = vec![hit("d", Severity::Low)], 9_500, Decision::Kill),
        (|c| c.policy_mut().escalations = vec![hit("e", Severity::Low)], 7_000, Decision::Escalate),
        (|c| c.behavior.score = BasisPoints::clamp(9_000), 5_000, Decision::Throttle),
        (|c| c.behavior.findings = vec![Finding::new(FindingId::RunawayLoop, "")], 5_000, Decision::Throttle),
        (|c| c.behavior.findings = vec![Finding::new(FindingId::AttackChainMatch, "")], 9_500, Decision::Kill),
        (|c| c.degraded = Degraded::Blocked, 9_500, Decision::Kill),
        (|c| c.degraded = Degraded::Noted, 0, Decision::Allow),
    ];
    for (change, score, action) in cases {
        let lowered = with(|case| {
            case.policy_mut().adjustment = -3_000;
            change(case);
        });
        assert_eq!((lowered.score.get(), lowered.action), (score, action), "{lowered:?}");
    }
    let broken = with(|case| case.policy = Err(PolicyFailure::Bound));
    assert_eq!((broken.score.get(), broken.action), (9_500, Decision::Kill));
}

#[test]
fn the_ground_has_an_order() {
    let deny = |case: &mut Case| case.policy_mut().denies = vec![hit("d", Severity::High)];
    let sql = |case: &mut Case| case.findings = vec![finding(FindingId::DestructiveSql, 95)];
    let chain = |case: &mut Case| case.behavior.findings = vec![Finding::new(FindingId::AttackChainMatch, "")];
    assert_eq!(
        with(|c| {
            deny(c);
            sql(c);
            c.contract = violated();
        })
        .ground,
        Ground::Autonomy
    );
    assert_eq!(
        with(|c| {
            deny(c);
            sql(c);
            chain(c);
        })
        .ground,
        Ground::Policy
    );
    assert_eq!(with(sql).ground, Ground::Finding);
    let ask = |case: &mut Case| case.policy_mut().escalations = vec![hit("e", Severity::Critical)];
    assert_eq!(with(ask).ground, Ground::Policy);
    let killed = with(|c| {
        ask(c);
        sql(c);
    });
    assert_eq!((killed.ground, killed.rule_ids), (Ground::Finding, vec!["finding.destructive_sql".into(), "e".into()]));
    assert_eq!(with(chain).ground, Ground::Behavior);
    assert_eq!(
        with(|c| {
            sql(c);
            c.policy = Err(PolicyFailure::Broken);
        })
        .ground,
        Ground::PolicyFailure(PolicyFailure::Broken)
    );
}

#[test]
fn the_deciding_rule_is_the_worst_then_the_first_by_name() {
    let verdict = with(|case| {
        case.policy_mut().denies = vec![hit("b.worst", Severity::Critical), hit("a.milder", Severity::High)];
        case.policy_mut().monitors = vec![hit("m", Severity::Critical)];
        case.findings = vec![finding(FindingId::DestructiveSql, 95), finding(FindingId::SqlInjection, 95)];
    });
    assert_eq!(verdict.rule_ids, ["b.worst", "a.milder", "finding.destructive_sql", "finding.sql_injection", "m"]);
    let alone =
        with(|case| case.findings = vec![finding(FindingId::SqlInjection, 95), finding(FindingId::DestructiveSql, 95)]);
    assert_eq!(alone.rule_ids[0], "finding.destructive_sql");
    assert_eq!(alone.reasoning, "KILL at risk 95: the worst finding is destructive_sql 95 at /q.");
}

fn some_findings() -> impl Strategy<Value = Vec<Finding>> {
    let one = (0..FindingId::ALL.len(), 0..=100_u8).prop_map(|(n, score)| finding(FindingId::ALL[n], score));
    proptest::collection::vec(one, 0..4)
}

fn some_hits() -> impl Strategy<Value = Vec<RuleHit>> {
    let one = ("[a-c]", 0..Severity::ALL.len()).prop_map(|(id, n)| hit(&id, Severity::ALL[n]));
    proptest::collection::vec(one, 0..3)
}

prop_compose! {
    fn some_case()(
        findings in some_findings(),
        denies in some_hits(),
        escalations in some_hits(),
        monitors in some_hits(),
        adjustment in -3_000..=3_000_i64,
        fails in proptest::bool::weighted(0.1),
        score in 0..=10_000_i64,
        behaved in some_findings(),
        degraded in prop_oneof![Just(Degraded::No), Just(Degraded::Noted), Just(Degraded::Blocked)],
        violates in any::<bool>(),
        level in 0..RiskLevel::ALL.len(),
        cuts in proptest::array::uniform4(0..=10_000_i64),
    ) -> Case {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let part = |from: i64, to: i64| BasisPoints::clamp(to - from);
        Case {
            findings,
            policy: if fails { Err(PolicyFailure::Bound) } else { Ok(PolicyVerdict { denies, escalations, monitors, adjustment }) },
            behavior: BehaviorReport {
                signals: BTreeMap::new(),
                score: BasisPoints::clamp(score),
                confidence: BasisPoints::MAX,
                findings: behaved,
            },
            degraded,
            contract: if violates { violated() } else { ContractState::Absent },
            risk_level: RiskLevel::ALL[level],
            weights: SignalWeights {
                inference: part(0, cuts[0]),
                policy: part(cuts[0], cuts[1]),
                behavior: part(cuts[1], cuts[2]),
                autonomy: part(cuts[2], cuts[3]),
                agent_risk_level: part(cuts[3], 10_000),
            },
        }
    }
}

proptest! {
    #[test]
    fn more_evidence_never_makes_a_verdict_milder(case in some_case(), more in some_case()) {
        let mut worse = case.clone();
        worse.findings.extend(more.findings);
        worse.behavior.findings.extend(more.behavior.findings);
        worse.behavior.score = worse.behavior.score.max(more.behavior.score);
        worse.risk_level = worse.risk_level.max(more.risk_level);
        worse.degraded = if more.degraded == Degraded::Blocked { Degraded::Blocked } else { worse.degraded };
        worse.contract = if more.contract.is_violated() { more.contract } else { worse.contract };
        match (&mut worse.policy, more.policy) {
            (Ok(all), Ok(more)) => {
                all.denies.extend(more.denies);
                all.escalations.extend(more.escalations);
                all.monitors.extend(more.monitors);
                all.adjustment += more.adjustment.max(0);
            }
            (policy, failure @ Err(_)) => {
                // Compared without the adjustment that the failed policy can no longer give.
                if policy.as_ref().is_ok_and(|p| p.adjustment <= 0) {
                    *policy = failure;
                }
            }
            (Err(_), Ok(_)) => {}
        }
        let (before, after) = (case.decide(), worse.decide());
        prop_assert!(after.score >= before.score, "{before:?} {after:?}");
        prop_assert!(after.action >= before.action, "{before:?} {after:?}");
    }

    #[test]
    fn a_deny_always_kills_and_names_its_rule(case in some_case(), rule in "[d-f]") {
        let mut denied = case;
        if let Ok(policy) = &mut denied.policy {
            policy.denies.insert(0, hit(&rule, Severity::Critical));
            let verdict = denied.decide();
            prop_assert_eq!(verdict.action, Decision::Kill);
            prop_assert!(verdict.rule_ids.contains(&rule));
        }
    }
}
