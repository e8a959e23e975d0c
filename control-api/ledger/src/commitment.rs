//! Commitments: rows prove what went in and out without holding it.

use crate::hash::Hash;

/// What every commitment hashes first.
const CONTEXT: &[u8] = b"aegis-commit/1\n";

/// A random value that keeps a commitment from being guessed. It travels beside the entry, never in it.
pub type Salt = [u8; 32];

/// `SHA-256("aegis-commit/1\n" ‖ salt ‖ canonical input)`.
pub fn commit(salt: &Salt, canonical: &[u8]) -> Hash {
    Hash::of(&[CONTEXT, salt, canonical])
}
