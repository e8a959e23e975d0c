//! Entries of strangers: decoding never panics, and only the canonical spelling is an entry.
#![no_main]

use aegis_ledger::entry::Entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::decode(bytes) {
        let again = entry.encode().expect("what we read, we can write");
        assert_eq!(again.as_bytes(), bytes);
    }
});
