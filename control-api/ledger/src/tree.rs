//! The RFC 9162 tree as its right edge only: appends leaf by leaf, knows its root, in logarithmic memory.

use crate::hash::{self, Hash};

/// A growing tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect subtrees, largest first: one for each bit of `size`.
    edge: Vec<Hash>,
}

impl Tree {
    /// Leaves in it.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// A tree as it was, from its size and [`Tree::edge`]; absent if they do not belong together.
    pub fn from_edge(size: u64, edge: Vec<Hash>) -> Option<Self> {
        (edge.len() as u64 == u64::from(size.count_ones())).then_some(Self { size, edge })
    }

    /// Roots of the perfect subtrees, largest first: all that is needed to go on.
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Appends a leaf hash: amortised one hashing.
    pub fn push(&mut self, leaf: Hash) {
        let mut right = leaf;
        // Each trailing one bit of the size is a perfect subtree as large as what has been built so far.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                right = hash::node(left, right);
            }
        }
        self.edge.push(right);
        self.size += 1;
    }

    /// The root (RFC 9162 §2.1.1).
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev().copied();
        match edge.next() {
            None => hash::root(&[]),
            Some(last) => edge.fold(last, |right, left| hash::node(left, right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_root_is_that_of_all_its_leaves() {
        let leaves: Vec<Hash> = (0..200_u64).map(|i| hash::leaf(&i.to_be_bytes())).collect();
        let mut tree = Tree::default();
        for size in 0..leaves.len() {
            assert_eq!(tree.root(), hash::root(&leaves[..size]), "{size}");
            tree.push(leaves[size]);
        }
        assert_eq!(tree.size(), 200);
    }

    #[test]
    fn it_goes_on_from_its_edge() {
        let mut whole = Tree::default();
        for i in 0..300_u64 {
            let mut kept = Tree::from_edge(whole.size(), whole.edge().to_vec()).unwrap();
            let leaf = hash::leaf(&i.to_be_bytes());
            kept.push(leaf);
            whole.push(leaf);
            assert_eq!(kept, whole);
            assert_eq!(Tree::from_edge(whole.size(), [whole.edge(), &[leaf]].concat()), None);
        }
    }
}
