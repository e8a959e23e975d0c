//! `--self-attack`: tampers with the given bundle in every known way and shows by which check each is caught.

mod altered;
mod forge;
mod list;
mod survey;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::archive::Members;
use crate::check::{self, Question};
use crate::report::Report;
use crate::verdict::Check;

/// One attack and what became of it.
#[derive(Debug)]
pub struct Tried {
    /// Its kind.
    pub name: &'static str,
    /// What exactly.
    pub detail: String,
    /// The exit code it leads to.
    pub exit_code: u8,
    /// The checks that caught it; none if it was not caught.
    pub caught_by: Vec<Check>,
}

/// What became of all attacks.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code of the bundle as it is.
    pub baseline: u8,
    /// The attacks.
    pub tried: Vec<Tried>,
}

/// Attacks a bundle.
pub fn run(bundle: &dyn Members, question: &Question) -> Outcome {
    let baseline = check::verify(bundle, question);
    let survey = survey::Survey::of(bundle);
    let victim = survey.of_kind("decision").or_else(|| survey.of_kind("admin"));
    let Some(victim) = victim else {
        return Outcome { baseline: baseline.exit_code(), tried: Vec::new() };
    };
    let stage = list::Stage { bundle, survey: &survey, victim };
    let attacks = stage.all(question);
    let tried = attacks.into_iter().map(|attack| {
        let mut question = question.clone();
        question.held.extend(attack.held);
        let report = check::verify(&attack.bundle, &question);
        let caught_by = if is_worse(&report, &baseline) { report.failed() } else { Vec::new() };
        Tried { name: attack.name, detail: attack.detail, exit_code: report.exit_code(), caught_by }
    });
    Outcome { baseline: baseline.exit_code(), tried: tried.collect() }
}

/// Whether a report says more against a bundle than the one of the bundle as it is.
fn is_worse(report: &Report, baseline: &Report) -> bool {
    let (a, b) = (&report.findings, &baseline.findings);
    let counted = a.fault_count() > b.fault_count() || a.missing_ranges() != b.missing_ranges();
    report.exit_code() != 0 && (counted || report.exit_code() != baseline.exit_code())
}

impl Outcome {
    /// Whether there were attacks, and each was caught.
    pub fn all_caught(&self) -> bool {
        // What is wrong already proves nothing; what lacks entries that were withheld may be attacked.
        let is_sound = [crate::report::EXIT_OK, crate::report::EXIT_INCOMPLETE].contains(&self.baseline);
        is_sound && !self.tried.is_empty() && self.tried.iter().all(|t| !t.caught_by.is_empty())
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for Tried { name, detail, exit_code, caught_by } in &self.tried {
            let by: Vec<&str> = caught_by.iter().map(|check| check.as_str()).collect();
            let outcome = if by.is_empty() { "NOT CAUGHT".to_owned() } else { format!("caught by {}", by.join(", ")) };
            let _ = writeln!(out, "{name:<22} {detail:<52} exit {exit_code}  {outcome}");
        }
        let caught = self.tried.iter().filter(|t| !t.caught_by.is_empty()).count();
        let _ =
            writeln!(out, "{caught} of {} attacks caught; the bundle itself: exit {}", self.tried.len(), self.baseline);
        out
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let tried = self.tried.iter().map(|t| {
            let by: Vec<&str> = t.caught_by.iter().map(|check| check.as_str()).collect();
            json!({ "attack": t.name, "detail": t.detail, "exit_code": t.exit_code, "caught_by": by })
        });
        json!({ "all_caught": self.all_caught(), "baseline_exit_code": self.baseline,
            "attacks": tried.collect::<Vec<_>>() })
    }
}
