//! Inclusion and consistency proofs (RFC 9162 §2.1.3, §2.1.4): planning, building and verifying.
//!
//! Building is apart from reading: a [`Plan`] names the nodes that a proof is made of, at most two for each level of
//! the tree; whoever has nodes reads those and hands them back.

use crate::hash::{self, Hash, node};

/// Hashes a proof may have at most: two for each level of a tree that fits in 64 bits.
pub const PROOF_MAX: usize = 128;

/// A node over `2^level` leaves: those from `index · 2^level` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// Its place in its level.
    pub index: u64,
}

/// Why a proof does not prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is about a place or a size that the tree does not have.
    #[error("the tree has no such place or size")]
    Range,
    /// It has too many or too few hashes.
    #[error("the proof does not have the length that place and size ask for")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The nodes that a proof is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One for each hash of the proof: neighbouring perfect subtrees, left to right, that it is the root over.
    parts: Vec<Vec<Node>>,
}

impl Plan {
    /// For the root over the first `size` leaves; one hash, or none for the empty tree.
    pub fn root(size: u64) -> Self {
        let parts = if size == 0 { Vec::new() } else { vec![subtrees(0, size)] };
        Self { parts }
    }

    /// For the inclusion of leaf `index` in the tree of `size` leaves (RFC 9162 §2.1.3.1).
    ///
    /// # Errors
    /// [`ProofError::Range`] if there is no such leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::Range);
        }
        let (mut low, mut high, mut parts) = (0, size, Vec::new());
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                parts.push(subtrees(middle, high));
                high = middle;
            } else {
                parts.push(subtrees(low, middle));
                low = middle;
            }
        }
        parts.reverse();
        Ok(Self { parts })
    }

    /// For the consistency of the trees of `old` and `new` leaves (RFC 9162 §2.1.4.1). Empty if the sizes are equal or
    /// `old` is 0: there is nothing to prove.
    ///
    /// # Errors
    /// [`ProofError::Range`] if `old` is larger than `new`.
    pub fn consistency(old: u64, new: u64) -> Result<Self, ProofError> {
        if old > new {
            return Err(ProofError::Range);
        }
        if old == 0 || old == new {
            return Ok(Self::default());
        }
        let (mut low, mut high, mut parts) = (0, new, Vec::new());
        while high != old {
            let middle = low + split(high - low);
            if old <= middle {
                parts.push(subtrees(middle, high));
                high = middle;
            } else {
                parts.push(subtrees(low, middle));
                low = middle;
            }
        }
        // The old tree itself needs no telling, a part of it does.
        if low > 0 {
            parts.push(subtrees(low, high));
        }
        parts.reverse();
        Ok(Self { parts })
    }

    /// Every node that must be read; at most two for each level of the tree.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        self.parts.iter().flatten().copied()
    }

    /// The proof, from the nodes; absent if `read` lacks one.
    pub fn build(&self, read: impl Fn(Node) -> Option<Hash>) -> Option<Vec<Hash>> {
        let part = |nodes: &Vec<Node>| {
            let mut hashes = nodes.iter().rev().map(|n| read(*n));
            hashes.next()?.and_then(|last| hashes.try_fold(last, |right, left| Some(node(left?, right))))
        };
        self.parts.iter().map(part).collect()
    }
}

/// Whether the leaf stands at `index` in the tree of `size` leaves with this root (RFC 9162 §2.1.3.2).
///
/// # Errors
/// If the proof does not show it.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    match hash::root_from_path(leaf, index, size, proof) {
        None => Err(ProofError::Length),
        Some(led_to) if led_to == root => Ok(()),
        Some(_) => Err(ProofError::Root),
    }
}

/// Whether the tree of `new` leaves begins with all leaves of that of `old` (RFC 9162 §2.1.4.2).
///
/// Trees of one size are consistent if their roots are equal; the empty tree is with every other.
///
/// # Errors
/// If the proof does not show it.
pub fn verify_consistency(
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Range);
    }
    if old == 0 || old == new {
        let is_same = if old == new { old_root == new_root } else { old_root == hash::root(&[]) };
        return match (proof, is_same) {
            ([], true) => Ok(()),
            ([], false) => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        };
    }
    // The old tree is a perfect one: its root is where both walks begin.
    let mut hashes = proof.iter().copied();
    let first = if old.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let first = first.ok_or(ProofError::Length)?;
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            old_hash = node(sibling, old_hash);
            new_hash = node(sibling, new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(new_hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_hash == old_root && new_hash == new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// The perfect subtrees over the leaves from `low` to before `high`, left to right.
fn subtrees(low: u64, high: u64) -> Vec<Node> {
    let (mut at, mut nodes) = (low, Vec::new());
    while at < high {
        let level = (high - at).ilog2();
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        nodes.push(Node { level: level as u8, index: at >> level });
        at += 1 << level;
    }
    nodes
}

/// The largest power of two below `n`, for `n ≥ 2`.
const fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests;
