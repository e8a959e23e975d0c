//! Verdicts and exit codes.

use aegis_ledger::entry::Body;
use aegis_ledger::signing::PrivateKey;
use aegis_verify::log::Presented;
use aegis_verify::note::NoteKey;
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
        assert_eq!((report.exit_code(), report.numbers.entries), (0, calls + 10));
    }
}

#[test]
fn a_bundle_of_several_segments_is_one_log() {
    let (bundle, _) = testing::sample(Vec::new(), 66_000, 64);
    let report = report(bundle, &question());
    assert_eq!((report.exit_code(), report.numbers.largest), (0, Some(66_010)), "{}", report.to_text());
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
    assert_eq!(told.findings.missing_ranges(), [Missing::Entries(13, 19), Missing::Leaves(13, 19)]);
    assert_eq!(told.verdict(Claim::Included), Verdict::Incomplete);
}

/// A log with one rotation, after which `signer` signs; `policy` names the keys that the reader believes.
fn rotated(rotation: Body, signer: &PrivateKey, policy: Vec<NoteKey>) -> aegis_verify::report::Report {
    let mut ledger = Ledger::begin(Vec::new());
    let mut control = Writer::new(1, 1);
    let first = testing::key("checkpoint", "introduced", &ledger.log);
    let opening = vec![control.open(), control.enrolment(), first];
    ledger.append(&mut control, opening);
    ledger.checkpoint();
    ledger.append(&mut control, vec![rotation, testing::admin("agent:y")]);
    ledger.log = PrivateKey::from_seed(&signer.seed());
    ledger.checkpoint();
    let mut question = question();
    if !policy.is_empty() {
        question.policy.logs = policy;
    }
    report(ledger.finish().0, &question)
}

fn note_key(key: &PrivateKey) -> NoteKey {
    NoteKey::ed25519(ORIGIN, key.public().to_bytes()).unwrap()
}

#[test]
fn a_rotated_key_is_believed_by_the_order_of_the_log() {
    let (old, new, thief) = (seed(0x4c), seed(0x4d), seed(0x4e));
    let good = || testing::rotation(&old, &new);
    for (rotation, signer, policy, exit) in [
        (good(), &new, vec![], 0),
        // The old key speaks for no tree that knows of the new one.
        (good(), &old, vec![], 1),
        // A reader who brings only the new key believes what led to it, but not what did not.
        (good(), &new, vec![note_key(&new)], 0),
        (good(), &new, vec![note_key(&thief)], 1),
        // Both must have signed.
        (testing::key("checkpoint", "introduced", &new), &new, vec![], 1),
        (testing::rotation(&thief, &new), &new, vec![], 1),
        (testing::rotation(&old, &thief), &new, vec![], 1),
        (forged(testing::rotation(&thief, &new), &old), &new, vec![], 1),
        (testing::key("checkpoint", "retired", &old), &old, vec![], 1),
        (testing::key("checkpoint", "compromised", &old), &old, vec![], 1),
    ] {
        let told = rotated(rotation.clone(), signer, policy);
        assert_eq!(told.exit_code(), exit, "{rotation:?}\n{}", told.to_text());
    }
}

fn seed(byte: u8) -> PrivateKey {
    PrivateKey::from_seed(&[byte; 32])
}

/// It names another key as the one before.
fn forged(rotation: Body, before: &PrivateKey) -> Body {
    let Body::Key(mut key) = rotation else { panic!("not a key entry") };
    if let Some(rotation) = &mut key.rotation {
        rotation.previous = before.public().to_base64();
    }
    Body::Key(key)
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
