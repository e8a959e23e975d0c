//! Verdicts and exit codes.

use aegis_ledger::signing::PrivateKey;
use aegis_verify::log::Presented;
use aegis_verify::testing::{self, Ledger, ORIGIN, Writer};
use aegis_verify::verdict::{Claim, Missing, Verdict};

use crate::{question, report};

fn verdicts(report: &aegis_verify::report::Report) -> Vec<Verdict> {
    Claim::ALL.iter().map(|claim| report.verdict(*claim)).collect()
}

#[test]
fn a_good_bundle_holds_in_every_claim() {
    let expected = [Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::NotChecked];
    for (calls, batch) in [(1, 1), (300, 1), (300, 7), (1_000, 64)] {
        let (bundle, last) = testing::sample(Vec::new(), calls, batch);
        let mut question = question();
        question.held.extend(Presented::read(last, "held"));
        let report = report(bundle, &question);
        assert_eq!(verdicts(&report), expected, "{}", report.to_text());
        assert_eq!((report.exit_code(), report.numbers.entries), (0, calls + 9));
    }
}

#[test]
fn a_bundle_of_several_segments_is_one_log() {
    let (bundle, _) = testing::sample(Vec::new(), 66_000, 64);
    let report = report(bundle, &question());
    assert_eq!((report.exit_code(), report.numbers.largest), (0, Some(66_009)), "{}", report.to_text());
}

#[test]
fn missing_witnesses_are_exit_4() {
    let (bundle, _) = testing::sample(Vec::new(), 3, 1);
    let question = aegis_verify::check::Question { require_witness: 1, ..question() };
    let report = report(bundle, &question);
    assert_eq!((report.exit_code(), report.verdict(Claim::Witnessed)), (4, Verdict::Invalid));
}

#[test]
fn two_histories_signed_by_the_log_are_exit_5() {
    let (bundle, _) = testing::sample(Vec::new(), 3, 1);
    let log = PrivateKey::from_seed(&[0x4c; 32]);
    let root = aegis_ledger::hash::Hash::of(&[b"another history"]);
    let mut question = question();
    let note = testing::note(&log, ORIGIN, &format!("{ORIGIN}\n4\n{root}\n"));
    question.held.extend(Presented::read(note, "held"));
    let told = report(bundle, &question);
    assert_eq!((told.exit_code(), told.verdict(Claim::Consistent)), (5, Verdict::Invalid), "{}", told.to_text());
}

#[test]
fn a_held_checkpoint_beyond_the_bundle_says_exactly_what_is_missing() {
    let (bundle, _) = testing::sample(Vec::new(), 3, 1);
    let next = PrivateKey::from_seed(&[0x4d; 32]);
    let root = aegis_ledger::hash::Hash::of(&[b"later"]);
    let mut question = question();
    let note = testing::note(&next, ORIGIN, &format!("{ORIGIN}\n20\n{root}\n"));
    question.held.extend(Presented::read(note, "held"));
    let told = report(bundle, &question);
    assert_eq!(told.exit_code(), 3, "{}", told.to_text());
    assert_eq!(told.findings.missing_ranges(), [Missing::Entries(12, 19), Missing::Leaves(12, 19)]);
    assert_eq!(told.verdict(Claim::Included), Verdict::Incomplete);
}

#[test]
fn a_retired_checkpoint_key_is_believed_for_what_came_before_only() {
    let (old, new) = (PrivateKey::from_seed(&[0x4c; 32]), PrivateKey::from_seed(&[0x4d; 32]));
    for (retired, exit) in [(false, 0), (true, 1)] {
        let mut ledger = Ledger::begin(Vec::new());
        let mut control = Writer::new(1, 1);
        let opening = vec![control.open(), control.enrolment(), testing::key("checkpoint", "introduced", &new)];
        ledger.append(&mut control, opening);
        ledger.checkpoint();
        let state = if retired { vec![testing::key("checkpoint", "retired", &old)] } else { Vec::new() };
        ledger.append(&mut control, [state, vec![testing::admin("agent:y")]].concat());
        ledger.checkpoint();
        let (bundle, _) = ledger.finish();
        let told = report(bundle, &question());
        assert_eq!(told.exit_code(), exit, "{}", told.to_text());
    }
}

#[test]
fn a_reported_key_signs_nothing_more() {
    let mut ledger = Ledger::begin(Vec::new());
    let (mut control, mut sidecar) = (Writer::new(1, 1), Writer::new(2, 1));
    let opening = vec![control.open(), control.enrolment(), sidecar.enrolment()];
    ledger.append(&mut control, opening);
    let open = sidecar.open();
    ledger.append(&mut sidecar, vec![open]);
    ledger.calls(&mut sidecar, 2);
    let stolen = PrivateKey::from_seed(&[2 ^ 0x80 ^ 1; 32]);
    ledger.append(&mut control, vec![testing::key("receipt", "compromised", &stolen)]);
    ledger.calls(&mut sidecar, 1);
    ledger.checkpoint();
    let told = report(ledger.finish().0, &question());
    let faults: Vec<_> = told.findings.faults().iter().map(|f| (f.check.as_str(), f.index)).collect();
    assert_eq!((told.exit_code(), faults), (1, vec![("key", Some(7))]), "{}", told.to_text());
}

#[test]
fn a_source_that_was_not_enrolled_or_has_no_right_is_not_believed() {
    let mut ledger = Ledger::begin(Vec::new());
    let (mut control, mut sidecar, mut stranger) = (Writer::new(1, 1), Writer::new(2, 1), Writer::new(3, 1));
    let opening = vec![control.open(), control.enrolment(), sidecar.enrolment()];
    ledger.append(&mut control, opening);
    let open = vec![sidecar.open(), testing::admin("agent:z"), stranger.enrolment()];
    ledger.append(&mut sidecar, open);
    let open = stranger.open();
    ledger.append(&mut stranger, vec![open]);
    ledger.checkpoint();
    let told = report(ledger.finish().0, &question());
    let faults: Vec<_> = told.findings.faults().iter().map(|f| (f.check.as_str(), f.index)).collect();
    let expected = vec![("authority", Some(4)), ("authority", Some(5)), ("enrolment", Some(6)), ("boot", Some(6))];
    assert_eq!((told.exit_code(), faults), (1, expected), "{}", told.to_text());
}
