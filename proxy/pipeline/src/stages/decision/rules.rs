//! The words of a verdict: findings in order, rule ids in order, one sentence.

use aegis_core::decision::Decision;
use aegis_core::finding::{FINDINGS_MAX, Finding, FindingId};
use aegis_core::score::BasisPoints;

use crate::policy::{PolicyVerdict, RuleHit};
use crate::stages::behavior::Degraded;
use crate::stages::decision::{ESCALATE_FINDING, Evidence, Ground};

/// Rule ids a verdict names at most.
const RULE_IDS_MAX: usize = 64;
/// Findings that are told as rules where no policy rule speaks.
const RULE_FINDING: u8 = 30;

/// All findings of stages 3 to 5, worst first, then by id and place; bounded.
pub(super) fn worst_first(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut all: Vec<Finding> = evidence.findings.iter().chain(&evidence.behavior.findings).cloned().collect();
    if evidence.degraded != Degraded::No {
        all.push(Finding::new(FindingId::DegradedMode, ""));
    }
    all.sort_by(|a, b| {
        let by_id = || a.id.as_str().cmp(b.id.as_str()).then_with(|| a.pointer.cmp(&b.pointer));
        b.score.cmp(&a.score).then_with(by_id)
    });
    all.truncate(FINDINGS_MAX);
    all
}

/// Which rules spoke: those of the ground first, in it by falling severity, then by name.
pub(super) fn ids(
    evidence: &Evidence<'_>,
    policy: &PolicyVerdict,
    findings: &[Finding],
    ground: &Ground,
) -> Vec<String> {
    let of = |hits: &[RuleHit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
    let of_findings = |own: &[Finding], least: u8| {
        let spoken = findings.iter().filter(|f| f.score >= least && own.contains(f));
        spoken.map(|f| format!("finding.{}", f.id)).collect::<Vec<_>>()
    };
    let rules = [of(&policy.denies), of(&policy.escalations)].concat();
    let seen = |least| of_findings(evidence.findings, least);
    let behaved = of_findings(&evidence.behavior.findings, RULE_FINDING);
    let stale = if evidence.degraded == Degraded::No { Vec::new() } else { vec!["finding.degraded_mode".to_owned()] };
    let mut ids = match ground {
        Ground::Autonomy => {
            [evidence.contract.rule().map(str::to_owned).into_iter().collect(), rules, seen(ESCALATE_FINDING), behaved]
                .concat()
        }
        Ground::PolicyFailure(_) | Ground::Policy => [rules, seen(ESCALATE_FINDING), behaved].concat(),
        Ground::Finding => [seen(RULE_FINDING), rules, behaved].concat(),
        Ground::Behavior if evidence.degraded == Degraded::Blocked => {
            [stale.clone(), rules, behaved, seen(RULE_FINDING)].concat()
        }
        Ground::Behavior => [behaved, rules, seen(RULE_FINDING)].concat(),
    };
    ids.extend(of(&policy.monitors));
    ids.extend(stale);
    let mut named = std::collections::HashSet::new();
    ids.retain(|id| named.insert(id.clone()));
    ids.truncate(RULE_IDS_MAX);
    ids
}

/// One sentence that a human reads. It names rules, findings and places, never what the payload says.
pub(super) fn sentence(
    action: Decision,
    score: BasisPoints,
    rule_ids: &[String],
    findings: &[Finding],
    ground: &Ground,
) -> String {
    let why = match (ground, rule_ids.first()) {
        (Ground::PolicyFailure(failure), _) => format!("the policy could not be evaluated ({failure})"),
        (Ground::Autonomy, Some(rule)) => format!("the agent's contract was violated ({rule})"),
        (Ground::Autonomy, None) => "the agent's contract was violated".to_owned(),
        (Ground::Policy, Some(rule)) => format!("rule {rule} spoke"),
        (Ground::Finding | Ground::Behavior | Ground::Policy, _) => match findings.first() {
            Some(worst) => format!("the worst finding is {worst}"),
            None => "nothing was found".to_owned(),
        },
    };
    format!("{action} at risk {}: {why}.", score.as_percent())
}
