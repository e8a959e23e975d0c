//! What a receipt claims, each judged for itself.

use aegis_core::json;
use aegis_ledger::checkpoint::Checkpoint;
use aegis_ledger::entry::Entry;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::proof::{PROOF_MAX, verify_inclusion};
use aegis_ledger::signing::{BatchPath, EntrySignature, KeyId};
use aegis_store::boot_key::BootKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::claim::Claim;

/// The claims of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Claims {
    /// The entry is whole, in its one encoding, and signed with the key that it names.
    pub(super) integrity: Claim,
    /// That key belongs to an enrolled source, for that process start, as the ledger has it.
    pub(super) origin: Claim,
    /// The entry is in the tree of a checkpoint.
    pub(super) included: Claim,
    /// That checkpoint agrees with the newest one.
    pub(super) consistent: Claim,
}

/// A receipt as a client kept it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Archived {
    /// The entry.
    #[schema(value_type = Object)]
    pub(super) entry: Map<String, Value>,
    /// Ed25519, base64.
    pub(super) signature: String,
    /// The key that signed.
    pub(super) key_id: String,
    /// `ed25519`.
    pub(super) algorithm: Option<String>,
    /// The way to the signed root, if several entries share the signature.
    #[schema(value_type = Option<Object>)]
    pub(super) batch: Option<BatchPath>,
    /// As issued; not judged.
    #[serde(rename = "level")]
    pub(super) _level: Option<String>,
    /// As issued; not judged: the payload that it opens is not here.
    #[serde(rename = "input_salt")]
    pub(super) _input_salt: Option<String>,
    /// The place in the ledger.
    pub(super) index: Option<u64>,
    /// The inclusion proof.
    pub(super) inclusion: Option<Inclusion>,
    /// The signed note it leads to.
    pub(super) checkpoint: Option<String>,
}

/// An inclusion proof (RFC 9162) as it is given with a receipt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inclusion {
    /// Entries that the checkpoint covers.
    pub(super) tree_size: u64,
    /// From the leaf upwards, base64.
    pub(super) hashes: Vec<String>,
}

/// The judgement so far.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) claims: Claims,
    pub(super) errors: Vec<String>,
}

impl Archived {
    /// The entry with its bytes: their one encoding is what was signed.
    pub(super) fn decode(&self) -> Result<(Entry, String), String> {
        let bytes = json::canonical_object(&self.entry);
        Entry::decode(bytes.as_bytes()).map(|entry| (entry, bytes)).map_err(|e| format!("entry: {e}"))
    }

    /// Judges the receipt against the key that the ledger has for its source's process start.
    pub(super) fn judge(&self, decoded: &Result<(Entry, String), String>, known: Option<&BootKey>) -> Judgement {
        let mut claims = Claims {
            integrity: Claim::NotChecked,
            origin: Claim::NotChecked,
            included: Claim::NotChecked,
            consistent: Claim::NotChecked,
        };
        let mut errors = Vec::new();
        match (decoded, known) {
            (Err(why), _) => {
                claims.integrity = Claim::Failed;
                errors.push(why.clone());
            }
            (Ok(_), None) => {
                claims.origin = Claim::Failed;
                errors.push("origin: the ledger knows no such process start of this source, or not yet".to_owned());
            }
            (Ok((_, bytes)), Some(known)) => {
                let signed = self.check(bytes, known);
                claims.integrity = if signed.is_ok() { Claim::Ok } else { Claim::Failed };
                claims.origin = if known.key.id().0 == self.key_id { Claim::Ok } else { Claim::Failed };
                errors.extend(signed.err());
            }
        }
        Judgement { claims, errors }
    }

    /// Judges whether the receipt's proof leads to its checkpoint.
    pub(super) fn included(&self, entry: &str, checkpoint: &Checkpoint) -> Result<(), String> {
        let proof = self.inclusion.as_ref().ok_or("the receipt has no inclusion proof")?;
        let index = self.index.ok_or("the receipt names no index")?;
        if proof.tree_size != checkpoint.size || proof.hashes.len() > PROOF_MAX {
            return Err("the proof is not one for this checkpoint".to_owned());
        }
        let hashes = proof.hashes.iter().map(|text| Hash::parse(text)).collect::<Result<Vec<_>, _>>();
        let hashes = hashes.map_err(|e| e.to_string())?;
        verify_inclusion(hash::leaf(entry.as_bytes()), index, proof.tree_size, &hashes, checkpoint.root)
            .map_err(|e| e.to_string())
    }

    fn check(&self, bytes: &str, known: &BootKey) -> Result<(), String> {
        if self.algorithm.as_deref().is_some_and(|a| a != "ed25519") {
            return Err("signature: the algorithm is not ed25519".to_owned());
        }
        if known.key.id().0 != self.key_id {
            return Err("origin: the process start signs with another key than the receipt names".to_owned());
        }
        let key_id = KeyId(self.key_id.clone());
        let signature = EntrySignature { key_id, signature: self.signature.clone(), batch: self.batch.clone() };
        known.key.verify_entry(bytes.as_bytes(), &signature).map_err(|e| format!("signature: {e}"))
    }
}
