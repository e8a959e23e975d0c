//! The findings of one call while they are collected: bounded, one per id and place.

use std::cmp::Reverse;

use aegis_core::finding::{FINDINGS_MAX, Finding, FindingId};

/// Findings held while scanning; the weakest gives way to a stronger one.
const COLLECTED_MAX: usize = 4 * FINDINGS_MAX;

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding with its registry score.
    pub(crate) fn add_base(&mut self, id: FindingId, pointer: &str) {
        self.add(id, id.registry().1, pointer);
    }

    /// Adds a finding; at the same place the higher score of an id counts.
    pub(crate) fn add(&mut self, id: FindingId, score: u8, pointer: &str) {
        if score == 0 {
            return;
        }
        let finding = Finding::scored(id, score, pointer);
        if let Some(known) = self.0.iter_mut().find(|f| f.id == id && f.pointer == finding.pointer) {
            known.score = known.score.max(finding.score);
        } else if self.0.len() < COLLECTED_MAX {
            self.0.push(finding);
        } else if let Some(weakest) = self.0.iter_mut().min_by_key(|f| f.score).filter(|f| f.score < finding.score) {
            *weakest = finding;
        }
    }

    /// The strongest, by falling score, then id, then pointer.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort_by(|a, b| (Reverse(a.score), a.id, &a.pointer).cmp(&(Reverse(b.score), b.id, &b.pointer)));
        self.0.truncate(FINDINGS_MAX);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_of_a_place_counts_once() {
        let mut findings = Findings::default();
        findings.add(FindingId::SqlInjection, 60, "/a");
        findings.add(FindingId::SqlInjection, 95, "/a");
        findings.add(FindingId::SqlInjection, 70, "/a");
        findings.add(FindingId::ExternalGet, 5, "/b");
        let sorted = findings.into_sorted();
        assert_eq!(
            sorted,
            [Finding::scored(FindingId::SqlInjection, 95, "/a"), Finding::scored(FindingId::ExternalGet, 5, "/b")]
        );
    }

    #[test]
    fn a_flood_of_weak_findings_does_not_hide_a_strong_one() {
        let mut findings = Findings::default();
        for i in 0..10_000 {
            findings.add(FindingId::ExternalGet, 5, &format!("/{i}"));
        }
        findings.add(FindingId::ReverseShell, 100, "/last");
        let sorted = findings.into_sorted();
        assert_eq!(sorted.len(), FINDINGS_MAX);
        assert_eq!(sorted[0].id, FindingId::ReverseShell);
    }
}
