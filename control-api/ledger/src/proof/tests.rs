//! Proofs of every small tree, against the whole tree and against the public vectors.

use super::*;
use crate::tree::Tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use serde::Deserialize;

/// Larger than two tiles and no power of two.
const SIZE_MAX: u64 = 2_000;

fn leaves() -> Vec<Hash> {
    (0..SIZE_MAX).map(|i| hash::leaf(&i.to_be_bytes())).collect()
}

/// Reads a node from all leaves.
fn reader(leaves: &[Hash]) -> impl Fn(Node) -> Option<Hash> + '_ {
    |n| {
        let first = usize::try_from(n.index << n.level).ok()?;
        leaves.get(first..first + (1 << n.level)).map(hash::root)
    }
}

fn roots(leaves: &[Hash]) -> Vec<Hash> {
    let mut tree = Tree::default();
    let mut roots = vec![tree.root()];
    for leaf in leaves {
        tree.push(*leaf);
        roots.push(tree.root());
    }
    roots
}

#[test]
fn every_small_pair_of_trees_is_consistent_and_every_leaf_included() {
    let leaves = &leaves()[..130];
    let (roots, read) = (roots(leaves), reader(leaves));
    for new in 0..=leaves.len() {
        let size = new as u64;
        let built = Plan::root(size).build(&read).unwrap();
        assert_eq!(built.first().copied().unwrap_or_else(|| hash::root(&[])), roots[new]);
        for old in 0..=new {
            let proof = Plan::consistency(old as u64, size).unwrap().build(&read).unwrap();
            assert_eq!(verify_consistency((old as u64, roots[old]), (size, roots[new]), &proof), Ok(()), "{old} {new}");
        }
        for index in 0..new {
            let proof = Plan::inclusion(index as u64, size).unwrap().build(&read).unwrap();
            assert_eq!(proof, hash::path(&leaves[..new], index));
            assert_eq!(verify_inclusion(leaves[index], index as u64, size, &proof, roots[new]), Ok(()));
        }
    }
    assert_eq!(Plan::inclusion(3, 3), Err(ProofError::Range));
    assert_eq!(Plan::consistency(4, 3), Err(ProofError::Range));
}

#[test]
fn a_proof_reads_few_nodes_however_large_the_tree() {
    for size in [1, 1_000, 10_000_000, u64::MAX >> 1] {
        for at in [0, size / 3, size / 2, size - 1] {
            let bound = 2 * (size.ilog2() as usize + 1);
            assert!(Plan::inclusion(at, size).unwrap().nodes().count() <= bound);
            assert!(Plan::consistency(at, size).unwrap().nodes().count() <= bound);
            assert!(bound <= PROOF_MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proofs_hold_up_to_two_thousand_leaves_and_for_nothing_else(
        (new, old, index) in (1..=SIZE_MAX).prop_flat_map(|new| (Just(new), 0..=new, 0..new)),
        bit in 0..256_usize,
        which in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves();
        let (roots, read) = (roots(&leaves), reader(&leaves));
        let root_of = |size: u64| roots[usize::try_from(size).unwrap()];
        let leaf = leaves[usize::try_from(index).unwrap()];
        let inclusion = Plan::inclusion(index, new).unwrap().build(&read).unwrap();
        prop_assert_eq!(verify_inclusion(leaf, index, new, &inclusion, root_of(new)), Ok(()));
        let consistency = Plan::consistency(old, new).unwrap().build(&read).unwrap();
        let (from, to) = ((old, root_of(old)), (new, root_of(new)));
        prop_assert_eq!(verify_consistency(from, to, &consistency), Ok(()));

        if new > 1 {
            let other = (index + 1) % new;
            prop_assert!(verify_inclusion(leaf, other, new, &inclusion, root_of(new)).is_err());
            let longer = [inclusion.clone(), vec![leaf]].concat();
            prop_assert!(verify_inclusion(leaf, index, new, &longer, root_of(new)).is_err());
            prop_assert!(verify_inclusion(leaf, index, new, &inclusion[1..], root_of(new)).is_err());
            let flipped = flip(&inclusion, which.index(inclusion.len()), bit);
            prop_assert!(verify_inclusion(leaf, index, new, &flipped, root_of(new)).is_err());
        }
        if !consistency.is_empty() {
            let flipped = flip(&consistency, which.index(consistency.len()), bit);
            prop_assert!(verify_consistency(from, to, &flipped).is_err());
            prop_assert!(verify_consistency(from, to, &consistency[1..]).is_err());
            prop_assert!(verify_consistency((old, root_of(new)), to, &consistency).is_err());
            prop_assert!(verify_consistency(from, (new, root_of(old)), &consistency).is_err());
            let longer = [consistency.clone(), vec![leaf]].concat();
            prop_assert!(verify_consistency(from, to, &longer).is_err());
        }
    }

    #[test]
    fn hostile_proofs_are_refused_without_a_panic(
        old in any::<u64>(),
        new in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash::from_bytes), 0..130),
    ) {
        let root = Hash::of(&[b"root"]);
        prop_assert!(verify_inclusion(root, old, new, &proof, Hash::of(&[b"other"])).is_err());
        let trivial = proof.is_empty() && old == new;
        prop_assert_eq!(verify_consistency((old, root), (new, root), &proof).is_ok(), trivial);
    }
}

fn flip(proof: &[Hash], at: usize, bit: usize) -> Vec<Hash> {
    let mut bytes = *proof[at].as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    let mut flipped = proof.to_vec();
    flipped[at] = Hash::from_bytes(bytes);
    flipped
}

/// The public vectors below a folder, where a folder is named.
fn vectors<T: for<'de> Deserialize<'de>>(folder: &str) -> Vec<(String, T)> {
    #[expect(clippy::disallowed_methods, reason = "tests read where the public vectors are")]
    let Some(root) = std::env::var_os("AEGIS_VECTORS") else { return Vec::new() };
    let mut folders = vec![std::path::Path::new(&root).join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read(&path).unwrap();
                found.push((path.display().to_string(), serde_json::from_slice(&text).unwrap()));
            }
        }
    }
    assert!(found.len() >= 90, "{folder}: {}", found.len());
    found
}

/// The hashes, or nothing where one is not 32 bytes: such a proof is refused when it is read.
fn hashes(texts: Option<&[String]>) -> Option<Vec<Hash>> {
    texts.unwrap_or_default().iter().map(|t| Hash::try_from(BASE64.decode(t).unwrap().as_slice()).ok()).collect()
}

#[test]
fn public_inclusion_vectors_agree() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        leaf_idx: u64,
        tree_size: u64,
        root: String,
        leaf_hash: String,
        proof: Option<Vec<String>>,
        want_err: bool,
    }
    for (name, case) in vectors::<Case>("merkle/inclusion") {
        let read = hashes(Some(&[case.leaf_hash, case.root])).zip(hashes(case.proof.as_deref()));
        let is_ok = read.is_some_and(|(ends, proof)| {
            verify_inclusion(ends[0], case.leaf_idx, case.tree_size, &proof, ends[1]).is_ok()
        });
        assert_eq!(is_ok, !case.want_err, "{name}");
    }
}

#[test]
fn public_consistency_vectors_agree() {
    #[derive(Deserialize)]
    struct Case {
        size1: u64,
        size2: u64,
        root1: String,
        root2: String,
        proof: Option<Vec<String>>,
        #[serde(rename = "wantErr")]
        want_err: bool,
    }
    for (name, case) in vectors::<Case>("merkle/consistency") {
        // One case has roots of 12 bytes that nobody looks at: they are no hashes here, so it cannot be read.
        let Some(roots) = hashes(Some(&[case.root1, case.root2])) else { continue };
        // That the empty tree is consistent with every other needs its real root here.
        let empty = case.size1 == 0 && roots[0] != hash::root(&[]);
        let is_ok = hashes(case.proof.as_deref())
            .is_some_and(|proof| verify_consistency((case.size1, roots[0]), (case.size2, roots[1]), &proof).is_ok());
        assert_eq!(is_ok, !case.want_err && !empty, "{name}");
    }
}
