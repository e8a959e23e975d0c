//! The public keys that receipts are signed with.

use aegis_core::id::{BootId, SourceId};
use aegis_core::time::Timestamp;
use aegis_ledger::signing::PublicKey;
use aegis_store::boot_key;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::state::App;

/// What stands before the 32 bytes of an Ed25519 key in `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Which key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyQuery {
    /// The `key_id` of a receipt; by default the key with which this control plane signs its own entries.
    key_id: Option<String>,
}

/// A public key. Every sidecar signs with a key of its own for each of its process starts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    #[schema(examples("ed25519"))]
    algorithm: &'static str,
    #[schema(examples("-----BEGIN PUBLIC KEY-----\nMCow…\n-----END PUBLIC KEY-----\n"))]
    public_key_pem: String,
    /// The first 16 bytes of the key's SHA-256, hex: the `key_id` of receipts.
    fingerprint: String,
    /// As `fingerprint`.
    public_key_fingerprint: String,
    /// The start of the process that signs with it, as the ledger learned of it.
    created_at: Timestamp,
    /// Who signs with it.
    source: SourceId,
    /// In which process start.
    boot: BootId,
}

pub(super) async fn get(State(app): State<App>, Query(query): Query<KeyQuery>) -> Result<Answer<KeyView>, ApiError> {
    let control = app.store.control();
    let own = control.boot_key();
    let Some(key_id) = query.key_id.filter(|id| *id != own.id().0) else {
        return Ok(Answer::ok(view(own, control.opened_at(), control.source(), control.boot())));
    };
    let mut tx = app.store.read_platform().await?;
    let found = boot_key::by_id(&mut tx, &key_id).await?.ok_or(ApiError::NotFound("key"))?;
    Ok(Answer::ok(view(found.key, found.opened_at, found.source, found.boot)))
}

fn view(key: PublicKey, created_at: Timestamp, source: SourceId, boot: BootId) -> KeyView {
    let fingerprint = key.id().0;
    KeyView {
        algorithm: "ed25519",
        public_key_pem: pem(&key),
        fingerprint: fingerprint.clone(),
        public_key_fingerprint: fingerprint,
        created_at,
        source,
        boot,
    }
}

/// The key as others read it.
pub(in crate::api) fn pem(key: &PublicKey) -> String {
    let der = [SPKI_PREFIX.as_slice(), &key.to_bytes()].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;
    use aegis_ledger::signing::PrivateKey;
    use ed25519_dalek::VerifyingKey;
    use ed25519_dalek::pkcs8::DecodePublicKey as _;

    #[test]
    fn others_read_the_key_file() {
        let key = PrivateKey::generate(&SystemEntropy).public();
        let read = VerifyingKey::from_public_key_pem(&pem(&key)).unwrap();
        assert_eq!(read.to_bytes(), key.to_bytes());
    }
}
