//! Receipts: what a caller was given, to be found in the log.

use aegis_core::json;
use aegis_ledger::hash::{Hash, leaf};
use serde_json::Value;

use crate::log::Presented;
use crate::proof;
use crate::verdict::{Check, Findings};

/// Bytes a receipt may have at most.
pub const RECEIPT_BYTES_MAX: usize = 1024 * 1024;

/// A receipt.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Where it comes from, for people.
    pub from: String,
    /// The entry's leaf hash, computed.
    leaf: Hash,
    /// The place it names.
    index: Option<u64>,
    /// Its checkpoint.
    pub checkpoint: Option<Presented>,
    path: Option<Vec<Hash>>,
    found: Option<u64>,
}

impl Receipt {
    /// Reads a receipt: as the decision carried it, or the answer of `GET /receipts/{execution_id}`, with or without
    /// its envelope.
    pub fn read(bytes: &[u8], from: &str) -> Result<Self, &'static str> {
        let value = json::parse(bytes).map_err(|_| "not JSON with one reading")?;
        let view = value.get("data").filter(|d| d.is_object()).unwrap_or(&value);
        let receipt = view.get("receipt").filter(|r| r.is_object()).unwrap_or(view);
        let entry = receipt.get("entry").filter(|e| e.is_object()).ok_or("it has no entry")?;
        let inclusion = view.get("inclusion").filter(|i| i.is_object());
        let path = inclusion
            .map(|i| i.get("hashes").and_then(Value::as_array).ok_or("its proof has no hashes"))
            .transpose()?;
        let path = path.map(|p| p.iter().map(hash).collect::<Option<Vec<_>>>().ok_or("its proof is damaged"));
        let note = view.get("checkpoint").and_then(Value::as_str);
        let checkpoint = note.map(|n| Presented::read(n.to_owned(), from).ok_or("its checkpoint is damaged"));
        Ok(Self {
            from: from.to_owned(),
            leaf: leaf(json::canonical(entry).as_bytes()),
            index: view.get("index").and_then(Value::as_u64),
            checkpoint: checkpoint.transpose()?,
            path: path.transpose()?,
            found: None,
        })
    }

    /// The log has this leaf at this index.
    pub fn pass(&mut self, index: u64, leaf: Hash) {
        if self.leaf == leaf && self.found.is_none() {
            self.found = Some(index);
        }
    }

    /// The end of the log: whether the receipt's entry is there, where it says, as it proves.
    pub fn finish(&self, findings: &mut Findings) {
        let Self { from, leaf, index, checkpoint, path, found } = self;
        match (found, index) {
            (None, _) => findings.fault(Check::Receipt, *index, format!("{from}: its entry is not in the log")),
            (Some(found), Some(index)) if found != index => {
                findings.fault(Check::Receipt, Some(*index), format!("{from}: its entry stands at {found}"));
            }
            (Some(_), _) => {}
        }
        if let (Some(path), Some(index), Some(presented)) = (path, index, checkpoint) {
            let (size, root) = (presented.checkpoint.size, presented.checkpoint.root);
            if !proof::is_included(*leaf, *index, size, root, path) {
                findings.fault(
                    Check::Proof,
                    Some(*index),
                    format!("{from}: its proof does not lead to its checkpoint"),
                );
            }
        }
    }
}

/// A hash in base64 or hex.
fn hash(value: &Value) -> Option<Hash> {
    let text = value.as_str()?;
    if text.len() == 64 {
        return Hash::try_from(hex::decode(text).ok()?.as_slice()).ok();
    }
    Hash::parse(text).ok()
}
