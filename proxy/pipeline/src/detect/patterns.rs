//! Compiled pattern sets over folded text: linear by construction, and with room for their automata.

use regex::bytes::{RegexSet, RegexSetBuilder};

/// Bytes the lazy automaton may take. With the default it thrashes and runs a thousand times slower.
const DFA_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Compiles patterns for lower-case ASCII-folded bytes; white space in them is insignificant.
///
/// # Panics
/// If a pattern is not a regular expression. They are constants and compiled by every test.
pub(crate) fn set<'a>(patterns: impl IntoIterator<Item = &'a str>) -> RegexSet {
    RegexSetBuilder::new(patterns)
        .unicode(false)
        .dfa_size_limit(DFA_BYTES_MAX)
        .size_limit(DFA_BYTES_MAX)
        .build()
        .unwrap_or_else(|error| panic!("a built-in pattern does not compile: {error}"))
}
