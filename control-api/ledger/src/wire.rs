//! How signed entries travel: to the control plane, and to the caller as a receipt.

use aegis_core::decision::Level;
use aegis_core::id::{BootId, SourceId, TenantId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::commitment::Salt;
use crate::signing::EntrySignature;

/// Entries in one ingest batch at most.
pub const INGEST_ENTRIES_MAX: usize = 1_000;
/// Bytes of one ingest batch at most, decompressed.
pub const INGEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One line of an ingest batch (NDJSON), and the record of the outbox: an entry with what stands beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedEntry {
    /// The entry: these bytes exactly.
    pub entry: Box<RawValue>,
    /// The signature.
    pub signature: EntrySignature,
    /// The salt of its commitments, base64; absent where it makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

impl SignedEntry {
    /// Joins the parts.
    ///
    /// # Errors
    /// If the entry is not JSON.
    pub fn new(entry: String, signature: EntrySignature, salt: Option<&Salt>) -> Result<Self, serde_json::Error> {
        Ok(Self { entry: RawValue::from_string(entry)?, signature, salt: salt.map(|s| BASE64.encode(s)) })
    }

    /// The entry's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.entry.get().as_bytes()
    }
}

/// What the caller gets with a decision: enough to hold us to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The entry; its canonical encoding (RFC 8785) is what was signed.
    pub entry: Box<RawValue>,
    /// Ed25519, base64.
    pub signature: String,
    /// The boot key that signed.
    pub key_id: String,
    /// `ed25519`.
    pub algorithm: String,
    /// The way to the signed root, if several entries share the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<crate::signing::BatchPath>,
    /// The durability reached.
    pub level: Level,
    /// The salt of the entry's commitments, base64: for the caller's own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_salt: Option<String>,
}

impl Receipt {
    /// The receipt of a signed entry.
    pub fn of(signed: &SignedEntry, level: Level) -> Self {
        Self {
            entry: signed.entry.clone(),
            signature: signed.signature.signature.clone(),
            key_id: signed.signature.key_id.0.clone(),
            algorithm: "ed25519".into(),
            batch: signed.signature.batch.clone(),
            level,
            input_salt: signed.salt.clone(),
        }
    }
}

/// How far one source's boot has been committed for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The source.
    pub source: SourceId,
    /// The boot.
    pub boot: BootId,
    /// Every entry up to and including this one is committed or recorded as a violation: it may be forgotten.
    pub seq: u64,
}

/// The answer of `POST /internal/audit/entries`, after commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestAnswer {
    /// Entries newly committed.
    pub accepted: u64,
    /// Entries that were there already.
    pub duplicates: u64,
    /// Entries kept as violations.
    pub violations: u64,
    /// How far each chain in the batch has come.
    pub acks: Vec<Ack>,
    /// The newest checkpoint of each tenant in the batch: signed notes, to be kept and shown with heartbeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<String>,
}
