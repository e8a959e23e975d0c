//! Trees and proofs (RFC 9162): the growing tree's right edge, inclusion (§2.1.3.2) and consistency (§2.1.4.2).

use aegis_ledger::hash::{Hash, node};

/// Hashes a proof may have at most: twice the height of the largest tree.
pub const PROOF_HASHES_MAX: usize = 128;

/// A tree that grows leaf by leaf and knows its root, in logarithmic memory.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    size: u64,
    /// Roots of perfect subtrees with their heights, tallest first.
    edge: Vec<(u32, Hash)>,
}

impl Tree {
    /// Leaves in it.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut grown = (0, leaf);
        while let Some(&(height, left)) = self.edge.last()
            && height == grown.0
        {
            self.edge.pop();
            grown = (height + 1, node(left, grown.1));
        }
        self.edge.push(grown);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = subtrees.next() else { return Hash::of(&[]) };
        subtrees.fold(last, |right, left| node(left, right))
    }
}

/// Whether a path proves that the leaf stands at `index` in the tree of this size and root.
pub fn is_included(leaf: Hash, index: u64, size: u64, root: Hash, path: &[Hash]) -> bool {
    root_of(leaf, index, size, path) == Some(root)
}

/// The root that a path leads to; absent if the path does not fit index and size.
pub fn root_of(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size || path.len() > PROOF_HASHES_MAX {
        return None;
    }
    let (mut index, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            hash = node(*sibling, hash);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(hash, *sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Whether a proof shows that the tree of `old` leaves is a prefix of the tree of `new` leaves.
pub fn is_consistent((old, old_root): (u64, Hash), (new, new_root): (u64, Hash), proof: &[Hash]) -> bool {
    if old > new || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && old_root == Hash::of(&[]);
    }
    // A perfect old tree is itself the first hash.
    let mut path = Vec::with_capacity(proof.len() + 1);
    if old.is_power_of_two() {
        path.push(old_root);
    }
    path.extend_from_slice(proof);
    let Some((first, rest)) = path.split_first() else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            from_old = node(*hash, from_old);
            from_new = node(*hash, from_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node(from_new, *hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == old_root && from_new == new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_ledger::hash::{leaf, path, root};

    fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|i| leaf(&i.to_be_bytes())).collect()
    }

    /// RFC 9162 §2.1.4.1, as it is written there.
    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        let size = leaves.len();
        if old == size {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let split = 1 << (usize::BITS - 1 - (size - 1).leading_zeros());
        let (left, right) = leaves.split_at(split);
        if old <= split {
            [subproof(old, left, whole), vec![root(right)]].concat()
        } else {
            [subproof(old - split, right, false), vec![root(left)]].concat()
        }
    }

    #[test]
    fn the_edge_has_the_root_of_all_leaves() {
        let all = leaves(300);
        let mut tree = Tree::default();
        for (size, leaf) in all.iter().enumerate() {
            assert_eq!(tree.root(), root(&all[..size]));
            tree.push(*leaf);
        }
        assert_eq!(tree.size(), 300);
    }

    #[test]
    fn inclusion_holds_for_its_own_place_only() {
        for size in 1..40_u64 {
            let all = leaves(size);
            let top = root(&all);
            for index in 0..size {
                let proof = path(&all, usize::try_from(index).unwrap());
                let leaf = all[usize::try_from(index).unwrap()];
                assert!(is_included(leaf, index, size, top, &proof));
                assert!(!is_included(leaf, (index + 1) % size, size, top, &proof) || size == 1);
                assert!(!is_included(leaf, index, size + 64, top, &proof));
            }
        }
    }

    #[test]
    fn consistency_holds_between_prefixes_only() {
        let all = leaves(40);
        for new in 1..=40_usize {
            for old in 1..=new {
                let proof = subproof(old, &all[..new], true);
                let (a, b) = ((old as u64, root(&all[..old])), (new as u64, root(&all[..new])));
                assert!(is_consistent(a, b, &proof), "{old} {new}");
                assert!(!is_consistent((a.0, leaf(b"x")), b, &proof), "{old} {new}");
                assert!(!is_consistent(a, (b.0, leaf(b"x")), &proof), "{old} {new}");
                if !proof.is_empty() {
                    assert!(!is_consistent(a, b, &proof[1..]), "{old} {new}");
                }
            }
        }
    }
}
