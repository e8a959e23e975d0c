//! Bundles of strangers: reading and verifying never panic, and nothing but good evidence is good.
#![no_main]

use std::io::Read;

use aegis_verify::archive::{Archive, ArchiveError, Members};
use aegis_verify::check::{Question, verify};
use aegis_verify::policy::Policy;
use aegis_verify::{bundle, testing};
use libfuzzer_sys::fuzz_target;

/// The members without an archive around them: the fuzzer reaches what is inside at once.
struct Parts<'a>([&'a [u8]; 5]);

impl Members for Parts<'_> {
    fn names(&self) -> Vec<String> {
        vec![bundle::entries_name(0), bundle::leaves_name(0)]
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, ArchiveError> {
        let names = [bundle::MANIFEST, bundle::CHECKPOINTS, bundle::STATEMENTS];
        let at = names.iter().position(|n| *n == name);
        let at = at.or_else(|| self.names().iter().position(|n| n == name).map(|at| at + names.len()));
        Ok(at.map(|at| Box::new(self.0[at]) as Box<dyn Read>))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let question = Question::new(Policy::parse(&testing::policy()).expect("a policy"));
    let mut parts = bytes.splitn(5, |b| *b == 0xff);
    let parts = Parts([(); 5].map(|()| parts.next().unwrap_or_default()));
    let report = verify(&parts, &question);
    assert_ne!(report.exit_code(), 0, "forged");
    let _ = (report.to_text(), report.to_json());
    if let Ok(archive) = Archive::open(bytes.to_vec()) {
        assert_ne!(verify(&archive, &question).exit_code(), 0, "forged");
    }
});
