//! Whole bundles, good and bad, through the verifier.

mod attacks;
mod entries;
mod formats;
mod verdicts;

use aegis_verify::archive::Archive;
use aegis_verify::check::{Question, verify};
use aegis_verify::policy::Policy;
use aegis_verify::report::Report;
use aegis_verify::testing;

/// What the tests' policy asks.
fn question() -> Question {
    Question::new(Policy::parse(&testing::policy()).expect("a policy"))
}

fn report(bundle: Vec<u8>, question: &Question) -> Report {
    verify(&Archive::open(bundle).expect("an archive"), question)
}
