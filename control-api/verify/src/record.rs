//! One line of a bundle: an entry with its index, its signature and its columns.

use aegis_ledger::hash::{Hash, leaf};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::canonical::{self, NotCanonical, Object};
use crate::proof;
use crate::schema::ENTRY_DEPTH_MAX;

/// Entries one signature covers at most.
const BATCH_MAX: u64 = 64;
/// Batches whose signature is remembered as verified, so that a shared one costs once.
const VERIFIED_MAX: usize = 4_096;

/// Why a line is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not canonical.
    #[error("{0}")]
    Canonical(#[from] NotCanonical),
    /// Other members than a record's.
    #[error("not a record: {0}")]
    Form(&'static str),
}

/// A record.
#[derive(Debug)]
pub struct Record<'a> {
    /// Its place in the log.
    pub index: u64,
    /// The entry; its bytes are those it was read from.
    pub entry: Object<'a>,
    /// The signature.
    pub signature: EntrySignature,
    /// The columns that lists and dashboards are made from.
    pub row: Option<Object<'a>>,
}

/// A signature, alone or with the way to the batch's root.
#[derive(Debug, Clone)]
pub struct EntrySignature {
    /// The key's short name.
    pub key_id: String,
    bytes: [u8; 64],
    batch: Option<Batch>,
}

#[derive(Debug, Clone)]
struct Batch {
    index: u64,
    size: u64,
    path: Vec<Hash>,
}

const FORM: RecordError = RecordError::Form("entry, index, received_at, row, signature");
const SIGNATURE: RecordError = RecordError::Form("the signature");

/// Reads a line.
pub fn read(line: &str) -> Result<Record<'_>, RecordError> {
    let object = canonical::read(line, ENTRY_DEPTH_MAX + 1)?;
    let known = ["entry", "index", "received_at", "row", "signature"];
    if object.members().iter().any(|(name, _)| !known.contains(&name.as_ref())) {
        return Err(FORM);
    }
    let entry = object.get("entry").and_then(|v| v.object()).ok_or(FORM)?;
    let signature = object.get("signature").and_then(|v| v.object()).ok_or(FORM)?;
    let row = object.get("row").map(|v| v.object().ok_or(FORM)).transpose()?;
    let index = object.unsigned("index").ok_or(FORM)?;
    Ok(Record { index, entry: entry.clone(), signature: EntrySignature::read(signature)?, row: row.cloned() })
}

impl EntrySignature {
    /// From `{key_id, signature, batch?}`.
    pub fn read(object: &Object<'_>) -> Result<Self, RecordError> {
        if object.members().iter().any(|(name, _)| !["batch", "key_id", "signature"].contains(&name.as_ref())) {
            return Err(SIGNATURE);
        }
        let key_id = object.text("key_id").ok_or(SIGNATURE)?.to_owned();
        let batch = object.get("batch").map(|b| b.object().and_then(batch).ok_or(SIGNATURE)).transpose()?;
        let bytes = object.text("signature").and_then(|s| BASE64.decode(s).ok()).ok_or(SIGNATURE)?;
        Ok(Self { key_id, bytes: bytes.try_into().map_err(|_| SIGNATURE)?, batch })
    }
}

fn batch(object: &Object<'_>) -> Option<Batch> {
    let path = object.get("path")?.list()?;
    let path = path.iter().map(|hash| Hash::parse(hash.text()?).ok()).collect::<Option<Vec<_>>>()?;
    let batch = Batch { index: object.unsigned("index")?, size: object.unsigned("size")?, path };
    (object.members().len() == 3 && (2..=BATCH_MAX).contains(&batch.size)).then_some(batch)
}

/// Verifies entries' signatures; one that several entries share once.
#[derive(Debug, Default)]
pub struct Signatures {
    shared: std::collections::HashMap<(Hash, [u8; 32]), [u8; 64]>,
}

impl Signatures {
    /// Whether the key signed the entry with this leaf hash.
    pub fn verify(&mut self, key: &VerifyingKey, leaf: Hash, signature: &EntrySignature) -> bool {
        let Some(batch) = &signature.batch else {
            return is_signed(key, b"aegis-entry-sig/1\n", leaf, &signature.bytes);
        };
        let Some(root) = proof::root_of(leaf, batch.index, batch.size, &batch.path) else { return false };
        let place = (root, key.to_bytes());
        if self.shared.get(&place) == Some(&signature.bytes) {
            return true;
        }
        let good = is_signed(key, b"aegis-batch-sig/1\n", root, &signature.bytes);
        if good {
            if self.shared.len() >= VERIFIED_MAX {
                self.shared.clear();
            }
            self.shared.insert(place, signature.bytes);
        }
        good
    }
}

fn is_signed(key: &VerifyingKey, context: &[u8], hash: Hash, signature: &[u8; 64]) -> bool {
    let message = [context, hash.as_bytes()].concat();
    key.verify_strict(&message, &Signature::from_bytes(signature)).is_ok()
}

/// The leaf hash of an entry, and the hash by which the next one names it.
pub fn hashes(entry: &Object<'_>) -> (Hash, Hash) {
    let bytes = entry.raw().as_bytes();
    (leaf(bytes), Hash::of(&[bytes]))
}
