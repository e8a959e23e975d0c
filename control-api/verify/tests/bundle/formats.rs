//! What `control-api/ledger/FORMATS.md` shows is true: each example is computed again, and its log verifies.

use std::collections::HashMap;
use std::io::{Cursor as Bytes, Write as _};

use aegis_ledger::chain::{self, Cursor};
use aegis_ledger::checkpoint::Checkpoint;
use aegis_ledger::commitment::commit;
use aegis_ledger::entry::{Body, Entry, Header};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::note::VerifierKey;
use aegis_ledger::proof::{verify_consistency, verify_inclusion};
use aegis_ledger::signing::{EntrySignature, PrivateKey, PublicKey, boot_statement};
use aegis_ledger::statement::SignedStatement;
use aegis_ledger::tile::TilePath;
use aegis_verify::check::Question;
use aegis_verify::policy::Policy;
use aegis_verify::receipt::Receipt;
use aegis_verify::testing;
use aegis_verify::verdict::{Check, Claim, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::report;

const PAGE: &str = include_str!("../../../ledger/FORMATS.md");

/// The examples of the page, by name.
struct Examples(HashMap<&'static str, &'static str>);

impl Examples {
    fn read() -> Self {
        let blocks = PAGE.split("```example:").skip(1).map(|rest| {
            let (name, rest) = rest.split_once('\n').unwrap();
            (name, rest.split_once("\n```").unwrap().0)
        });
        let count = PAGE.matches("```example:").count();
        let examples: HashMap<_, _> = blocks.collect();
        assert_eq!(examples.len(), count, "an example stands twice");
        Self(examples)
    }

    fn text(&self, name: &str) -> &'static str {
        self.0.get(name).unwrap_or_else(|| panic!("the page has no example `{name}`"))
    }

    fn lines(&self, name: &str) -> Vec<&'static str> {
        self.text(name).lines().collect()
    }

    fn words(&self, name: &str) -> Vec<Vec<&'static str>> {
        self.lines(name).into_iter().map(|line| line.split(' ').collect()).collect()
    }

    fn hashes(&self, name: &str) -> Vec<Hash> {
        self.lines(name).into_iter().map(|line| Hash::parse(line).unwrap()).collect()
    }

    fn key(&self, name: &str) -> PrivateKey {
        let keys = self.words("keys");
        let key = keys.iter().find(|words| words[0] == name).unwrap();
        PrivateKey::from_seed(&hex::decode(key[1]).unwrap().try_into().unwrap())
    }

    fn entries(&self) -> Vec<Entry> {
        self.lines("entries").into_iter().map(|line| Entry::decode(line.as_bytes()).unwrap()).collect()
    }

    fn leaves(&self) -> Vec<Hash> {
        self.lines("entries").into_iter().map(|line| hash::leaf(line.as_bytes())).collect()
    }

    fn header(&self) -> Header {
        self.entries().remove(0).header
    }

    fn root(&self, size: usize) -> Hash {
        hash::root(&self.leaves()[..size])
    }
}

#[test]
fn keys_and_key_ids() {
    let page = Examples::read();
    for words in page.words("keys") {
        let public = page.key(words[0]).public();
        assert_eq!([public.to_base64(), public.id().0], [words[2], words[3]]);
    }
}

#[test]
fn entries_and_the_chain_of_their_source() {
    let page = Examples::read();
    let Header { tenant_id, source, boot, .. } = page.header();
    let mut cursor = Cursor::start(tenant_id, source, boot);
    assert_eq!(chain::genesis(tenant_id, source, boot), page.hashes("genesis")[0]);
    for (entry, line) in page.entries().iter().zip(page.lines("entries")) {
        assert_eq!(cursor.check(&entry.header), Ok(()));
        cursor = cursor.after(line.as_bytes());
    }
    let Body::Open(open) = page.entries().remove(0).body else { panic!("the first entry is no open") };
    let (identity, boot_key) = (page.key("identity").public(), page.key("boot").public());
    assert_eq!([open.boot_key, open.identity_key_id], [boot_key.to_base64(), identity.id().0]);
    let statement = boot_statement(tenant_id, source, boot, &boot_key);
    assert_eq!(page.key("identity").sign(&statement), open.identity_signature);
}

#[test]
fn leaf_hashes_and_signatures() {
    let page = Examples::read();
    let leaves = page.leaves();
    assert_eq!(leaves, page.hashes("leaves"));
    let key = page.key("boot");
    let signed: Vec<EntrySignature> =
        [&leaves[..1], &leaves[1..4], &leaves[4..]].into_iter().flat_map(|part| key.sign_entries(part)).collect();
    let shown = page.lines("signatures").into_iter().map(|line| serde_json::from_str(line).unwrap());
    assert_eq!(signed, shown.collect::<Vec<EntrySignature>>());
}

#[test]
fn commitments() {
    let page = Examples::read();
    let [salt, text, commitment] = page.lines("commitment")[..] else { panic!("three lines") };
    let salt = BASE64.decode(salt.strip_prefix("salt ").unwrap()).unwrap().try_into().unwrap();
    let text = text.strip_prefix("text ").unwrap();
    assert_eq!(aegis_core::json::canonical(&aegis_core::json::parse(text.as_bytes()).unwrap()), text);
    let expected = commitment.strip_prefix("commitment ").unwrap();
    assert_eq!(commit(&salt, text.as_bytes()).to_string(), expected);
}

#[test]
fn the_tree_its_proofs_its_chain_and_a_tile() {
    let page = Examples::read();
    let leaves = page.leaves();
    for words in page.words("roots") {
        let size: usize = words[0].parse().unwrap();
        assert_eq!(page.root(size).to_string(), words[1]);
    }
    assert_eq!(page.lines("roots").len(), leaves.len() + 1);
    assert_eq!(verify_inclusion(leaves[2], 2, 5, &page.hashes("inclusion"), page.root(5)), Ok(()));
    let consistency = page.hashes("consistency");
    assert_eq!(verify_consistency((3, page.root(3)), (5, page.root(5)), &consistency), Ok(()));
    let mut chain = vec![chain::tenant_genesis(page.header().tenant_id)];
    for leaf in &leaves {
        chain.push(chain::tenant_next(*chain.last().unwrap(), *leaf));
    }
    assert_eq!(chain, page.hashes("chain"));
    let tile = page.words("tile");
    let path: TilePath = tile[0][1].parse().unwrap();
    assert!(path.is_in(5) && !path.is_in(4));
    assert_eq!(tile[1][1], leaves.iter().map(|leaf| leaf.to_hex()).collect::<String>());
}

#[test]
fn the_checkpoint_and_the_signed_root() {
    let page = Examples::read();
    let verifier: VerifierKey = page.text("verifier-key").parse().unwrap();
    let note = format!("{}\n", page.text("checkpoint"));
    let read = Checkpoint::open(&note, &verifier).unwrap();
    assert_eq!((read.size, read.root), (5, page.root(5)));
    assert_eq!(read.sign(&page.key("log")).unwrap().to_string(), note);
    assert_eq!(verifier.key(), page.key("log").public());
    let signed: SignedStatement = serde_json::from_str(page.text("signed-root")).unwrap();
    assert_eq!(signed.verify(&verifier.key()), Ok(()));
    assert_eq!(signed.receipt.root_hash, page.root(4).to_hex());
    let day = serde_json::from_str::<Value>(page.lines("entries")[4]).unwrap();
    assert_eq!((&day["size_to"], &day["root"]), (&4.into(), &page.root(4).to_string().into()));
}

/// The page's log as a bundle, with one text replaced in its members.
fn bundle(page: &Examples, from: &str, to: &str) -> Vec<u8> {
    let parts = page.lines("entries").into_iter().zip(page.lines("signatures")).zip(page.lines("rows"));
    let lines = (0_usize..).zip(parts).map(|(index, ((entry, signature), row))| {
        let ts = page.entries()[index].header.ts;
        format!(
            "{{\"entry\":{entry},\"index\":{index},\"received_at\":\"{ts}\",\"row\":{row},\"signature\":{signature}}}\n"
        )
    });
    let mut members = vec![("entries/000000000000.ndjson".to_owned(), lines.collect::<String>())];
    for name in ["manifest.json", "checkpoints.ndjson", "statements.ndjson"] {
        members.push((name.to_owned(), format!("{}\n", page.text(name))));
    }
    let mut zip = ZipWriter::new(Bytes::new(Vec::new()));
    for (name, text) in members {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.replace(from, to).as_bytes()).unwrap();
    }
    zip.start_file("leaves/000000000000.bin", SimpleFileOptions::default()).unwrap();
    for leaf in page.hashes("leaves") {
        zip.write_all(leaf.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn the_whole_log_verifies_as_a_bundle_and_not_when_it_is_changed() {
    let page = Examples::read();
    let question = Question::new(Policy::parse(page.text("trust.txt")).unwrap());
    let good = report(bundle(&page, "Bücher", "Bücher"), &question);
    assert_eq!(good.exit_code(), 0, "{}", good.to_text());
    let checked = Claim::ALL.iter().filter(|claim| good.verdict(**claim) == Verdict::Ok).count();
    assert_eq!((checked, good.numbers.checkpoints, good.numbers.statements), (5, 2, 1));
    for (from, to) in [("Bücher", "Buecher"), ("\"size_to\":4", "\"size_to\":3"), ("agent.create", "agent.delete")] {
        let changed = report(bundle(&page, from, to), &question);
        assert_eq!(changed.exit_code(), 1, "{from}: {}", changed.to_text());
    }
    // By the policy of another log it is nothing.
    let stranger = Question::new(Policy::parse(&testing::policy()).unwrap());
    assert_eq!(report(bundle(&page, "Bücher", "Bücher"), &stranger).exit_code(), 1);
}

#[test]
fn ids_and_keys_of_the_trust_policy_are_those_of_the_log() {
    let page = Examples::read();
    let Header { tenant_id, source, .. } = page.header();
    let trust = page.words("trust.txt");
    assert_eq!(trust[2], ["tenant", &tenant_id.to_string()]);
    assert_eq!(trust[3], ["log", page.text("verifier-key")]);
    assert_eq!(trust[4], ["control", &source.to_string(), &page.key("identity").public().to_base64()]);
    assert!(PublicKey::parse(trust[4][2]).is_ok());
}

#[test]
fn a_receipt_with_its_proof_is_found_and_a_wrong_proof_is_not_believed() {
    let page = Examples::read();
    let receipt = |index: usize, hashes: &[&str]| {
        let entry: Value = serde_json::from_str(page.lines("entries")[2]).unwrap();
        let text = serde_json::json!({ "data": { "receipt": { "entry": entry }, "index": index,
            "inclusion": { "tree_size": 5, "hashes": hashes }, "checkpoint": format!("{}\n", page.text("checkpoint")) } });
        Receipt::read(text.to_string().as_bytes(), "receipt").unwrap()
    };
    let good = page.lines("inclusion");
    let wrong = [good[0], good[0], good[2]];
    for (receipt, check) in [
        (receipt(2, &good), None),
        (receipt(2, &wrong), Some(Check::Proof)),
        (receipt(2, &good[..2]), Some(Check::Proof)),
        (receipt(1, &good), Some(Check::Receipt)),
    ] {
        let mut question = Question::new(Policy::parse(page.text("trust.txt")).unwrap());
        question.receipts.push(receipt);
        let told = report(bundle(&page, "Bücher", "Bücher"), &question);
        assert_eq!(told.failed().first().copied(), check, "{}", told.to_text());
    }
    let bare = serde_json::json!({ "receipt": { "entry": {} }, "inclusion": { "tree_size": 5 } });
    assert!(Receipt::read(bare.to_string().as_bytes(), "receipt").is_err());
}
