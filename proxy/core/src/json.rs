//! JSON with one reading only: a strict parser, and the canonical encoding of RFC 8785.
//!
//! Refused: duplicate keys, lone surrogates, invalid UTF-8, integers beyond ±(2^53−1), decimals that are
//! not exactly what the nearest double prints (RFC 8785 §3.2.2.3), too much depth, too many nodes.

mod canonical;
mod parse;

pub use self::canonical::{canonical, canonical_object, key_order, write_string};
pub use self::parse::parse;

/// Nesting a document may have at most.
pub const DEPTH_MAX: usize = 64;
/// Values (keys not counted) a document may hold at most.
pub const NODES_MAX: usize = 20_000;
/// The largest integer both we and every double-based reader agree on: 2^53−1.
pub const INTEGER_MAX: i64 = 9_007_199_254_740_991;
/// Characters a number may have at most.
pub const NUMBER_TEXT_MAX: usize = 64;

/// Why a text is not acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not valid UTF-8")]
    Utf8,
    /// Not JSON (RFC 8259), at this byte.
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    /// An object has a key twice; the second begins at this byte.
    #[error("duplicate key at byte {0}")]
    DuplicateKey(usize),
    /// A string holds half of a surrogate pair, at this byte.
    #[error("lone surrogate at byte {0}")]
    LoneSurrogate(usize),
    /// A number has no exact double, or is an integer beyond ±(2^53−1); it begins at this byte.
    #[error("number without an exact double at byte {0}")]
    Number(usize),
    /// Deeper than allowed.
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
    /// More values than allowed.
    #[error("more than {NODES_MAX} values")]
    Nodes,
}

#[cfg(test)]
mod tests;
