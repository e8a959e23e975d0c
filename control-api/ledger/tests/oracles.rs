//! Trees, proofs, tiles, notes and checkpoints beside independent implementations.

use aegis_core::id::TenantId;
use aegis_ledger::checkpoint::{self, Checkpoint};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::note::Note;
use aegis_ledger::proof::{Node, Plan, verify_consistency, verify_inclusion};
use aegis_ledger::signing::PrivateKey;
use aegis_ledger::tile::{Level, TilePath, WIDTH, place, subtree};
use aegis_ledger::tree::Tree;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use tlog_tiles::tile::Tile;
use tlog_tiles::tlog;

const SIZE_MAX: u64 = 2_000;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// A log of theirs: every node, in their numbering.
struct Stored(Vec<tlog::Hash>);

impl tlog::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|i| self.0[usize::try_from(*i).unwrap()]).collect())
    }
}

impl Stored {
    fn of(size: u64) -> Self {
        let mut stored = Self(Vec::new());
        for index in 0..size {
            let new = tlog::stored_hashes(index, &entry(index), &stored).unwrap();
            stored.0.extend(new);
        }
        stored
    }

    /// Their node in the place of ours.
    fn node(&self, node: Node) -> Option<Hash> {
        let index = tlog::stored_hash_index(node.level, node.index);
        self.0.get(usize::try_from(index).unwrap()).map(|h| Hash::from_bytes(h.0))
    }
}

fn theirs(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes.iter().map(|h| tlog::Hash(*h.as_bytes())).collect()
}

/// Sizes around tile edges and powers of two, and every small one.
fn sizes() -> impl Iterator<Item = u64> {
    (1..70).chain([127, 128, 129, 255, 256, 257, 511, 512, 513, 767, 1_000, 1_023, 1_024, 1_025, 1_999, SIZE_MAX])
}

#[test]
fn roots_and_proofs_are_those_of_two_other_implementations() {
    let stored = Stored::of(SIZE_MAX);
    let mut tree = Tree::default();
    let mut whole: MemoryBackedTree<Sha256, Vec<u8>> = MemoryBackedTree::new();
    let mut roots = vec![tree.root()];
    for index in 0..SIZE_MAX {
        tree.push(hash::leaf(&entry(index)));
        whole.push(entry(index));
        assert_eq!(tree.root().as_bytes().as_slice(), whole.root().as_bytes().as_slice());
        roots.push(tree.root());
    }
    let root_of = |size: u64| roots[usize::try_from(size).unwrap()];
    for new in sizes() {
        let their_root = tlog::tree_hash(new, &stored).unwrap();
        assert_eq!(root_of(new).as_bytes(), &their_root.0);
        for old in (0..=new).filter(|old| new < 70 || old % 37 == 0 || old.is_power_of_two()) {
            let proof = Plan::consistency(old, new).unwrap().build(|n| stored.node(n)).unwrap();
            assert_eq!(verify_consistency((old, root_of(old)), (new, root_of(new)), &proof), Ok(()));
            if (1..new).contains(&old) {
                assert_eq!(theirs(&proof), tlog::prove_tree(new, old, &stored).unwrap());
                let old_root = tlog::Hash(*root_of(old).as_bytes());
                tlog::check_tree(&theirs(&proof), new, their_root, old, old_root).unwrap();
            }
        }
        for index in (0..new).filter(|i| new < 70 || i % 53 == 0 || *i + 1 == new) {
            let proof = Plan::inclusion(index, new).unwrap().build(|n| stored.node(n)).unwrap();
            let leaf = hash::leaf(&entry(index));
            assert_eq!(verify_inclusion(leaf, index, new, &proof, root_of(new)), Ok(()));
            let record = tlog::record_hash(&entry(index));
            tlog::check_record(&theirs(&proof), new, their_root, index, record).unwrap();
        }
    }
    for index in (0..SIZE_MAX).step_by(17) {
        let proof = whole.prove_inclusion(usize::try_from(index).unwrap());
        let (hashes, rest) = proof.as_bytes().as_chunks::<32>();
        assert!(rest.is_empty());
        let hashes: Vec<_> = hashes.iter().map(|h| Hash::from_bytes(*h)).collect();
        assert_eq!(verify_inclusion(hash::leaf(&entry(index)), index, SIZE_MAX, &hashes, root_of(SIZE_MAX)), Ok(()));
    }
    for added in (1..SIZE_MAX).step_by(61) {
        let proof = whole.prove_consistency(usize::try_from(added).unwrap());
        let hashes: Vec<_> = proof.as_bytes().as_chunks::<32>().0.iter().map(|h| Hash::from_bytes(*h)).collect();
        let old = SIZE_MAX - added;
        assert_eq!(verify_consistency((old, root_of(old)), (SIZE_MAX, root_of(SIZE_MAX)), &hashes), Ok(()));
    }
}

#[test]
fn tiles_hold_what_theirs_hold_under_the_same_names() {
    let stored = Stored::of(SIZE_MAX);
    for tile in Tile::new_tiles(8, 0, SIZE_MAX) {
        let ours = TilePath {
            level: Level::Hashes(tile.level()),
            index: tile.level_index(),
            width: u16::try_from(tile.width()).unwrap(),
        };
        // Theirs name the height too, which tlog-tiles fixes.
        assert_eq!(tile.path().replacen("tile/8/", "tile/", 1), ours.to_string());
        assert!(ours.is_in(SIZE_MAX));
        let data = tile.read_data(&stored).unwrap();
        let hashes: Vec<_> = data.as_chunks::<32>().0.iter().map(|h| Hash::from_bytes(*h)).collect();
        for level in 0..8 {
            let node = Node { level: tile.level() * 8 + level, index: (tile.level_index() * WIDTH) >> level };
            let (tile_level, index, range) = place(node);
            assert_eq!((tile_level, index), (tile.level(), tile.level_index()));
            if let Some(hashes) = hashes.get(range) {
                assert_eq!(subtree(hashes), stored.node(node), "{node:?}");
            }
        }
    }
}

#[test]
fn others_verify_our_checkpoints_and_we_theirs() {
    use signed_note::{Note as TheirNote, Signer as _, StandardSigner, StandardVerifier, Verifier as _, VerifierList};

    let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(7));
    let key = PrivateKey::from_seed(&[7; 32]);
    let origin = checkpoint::origin("local", tenant, 1);
    let ours = Checkpoint { origin: origin.clone(), size: 12, root: Hash::of(&[b"x"]), extensions: vec![] };
    let note = ours.sign(&key).unwrap().to_string();
    let verifier = checkpoint::verifier("local", tenant, 1, key.public()).unwrap();
    let their_verifier = StandardVerifier::new(&verifier.to_string()).unwrap();
    assert_eq!(their_verifier.name(), origin);
    let read = TheirNote::from_bytes(note.as_bytes()).unwrap();
    let (signatures, _) = read.verify(&VerifierList::new(vec![Box::new(their_verifier)])).unwrap();
    assert_eq!((signatures.len(), read.text()), (1, ours.to_string().as_bytes()));
    assert_eq!(read.to_bytes(), note.as_bytes());

    // The same seed in their spelling of private keys: both sign alike.
    let seed =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [&[1_u8], [7_u8; 32].as_slice()].concat());
    let id = verifier.to_string().split('+').nth(1).unwrap().to_owned();
    let signer = StandardSigner::new(&format!("PRIVATE+KEY+{origin}+{id}+{seed}")).unwrap();
    assert_eq!(signer.name(), origin);
    let mut their_note = TheirNote::new(ours.to_string().as_bytes(), &[]).unwrap();
    their_note.add_sigs(&[&signer]).unwrap();
    assert_eq!(String::from_utf8(their_note.to_bytes()).unwrap(), note);
    assert!(Note::parse(&note).unwrap().verify(&verifier).is_ok());
}
