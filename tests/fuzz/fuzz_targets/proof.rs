//! Proofs of strangers: checking never panics, and no path proves two leaves of one place.
#![no_main]

use aegis_ledger::hash::{Hash, leaf};
use aegis_verify::proof;
use aegis_verify::receipt::Receipt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Receipt::read(bytes, "fuzz");
    let [index, size, rest @ ..] = bytes else { return };
    let (index, size) = (u64::from(*index), u64::from(*size));
    let path: Vec<Hash> = rest.chunks_exact(32).filter_map(|hash| Hash::try_from(hash).ok()).collect();
    let (one, two) = (leaf(b"one"), leaf(b"two"));
    if let Some(root) = proof::root_of(one, index, size, &path) {
        assert!(proof::is_included(one, index, size, root, &path));
        assert!(!proof::is_included(two, index, size, root, &path));
    }
    assert!(!proof::is_consistent((index, one), (size, two), &path) || index < size);
});
