//! Notes of strangers: reading never panics, and nobody's note is signed by a key that did not sign it.
#![no_main]

use aegis_verify::note;
use aegis_verify::policy::Policy;
use aegis_verify::testing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let policy = Policy::parse(&testing::policy()).expect("a policy");
    if let Ok(read) = note::read(text) {
        assert!(text.starts_with(read.text));
        assert!(policy.logs.iter().all(|key| key.signed(&read) != Ok(true)), "forged");
    }
    let _ = note::NoteKey::parse(text);
    let _ = Policy::parse(text);
});
