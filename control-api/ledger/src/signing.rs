//! Source keys and signatures: Ed25519 (RFC 8032), strict verification, alone or in small batches.

use std::fmt;

use aegis_core::entropy::{self, Entropy};
use aegis_core::id::{BootId, SourceId, TenantId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::hash::{self, Hash};

/// Entries one signature may cover at most.
pub const BATCH_MAX: usize = 64;

const ENTRY_CONTEXT: &[u8] = b"aegis-entry-sig/1\n";
const BATCH_CONTEXT: &[u8] = b"aegis-batch-sig/1\n";

/// A public key's short name: the first 16 bytes of its SHA-256, hex.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a signature or key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not an Ed25519 public key.
    #[error("not an Ed25519 public key")]
    Key,
    /// Not an Ed25519 signature.
    #[error("not an Ed25519 signature")]
    Form,
    /// The batch path does not fit its index and size.
    #[error("the batch path does not lead from this entry to a root")]
    Path,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Mismatch,
}

/// A private Ed25519 key of a source: its identity, or one boot's.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(SigningKey::from_bytes(&entropy::random::<32>(entropy)))
    }

    /// From its 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be kept with mode 0600.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs bytes; base64.
    pub fn sign(&self, message: &[u8]) -> String {
        BASE64.encode(self.0.sign(message).to_bytes())
    }

    /// Signs bytes; the 64 bytes as they are.
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Signs entries by their leaf hashes, all at once if there are several: each result proves alone.
    ///
    /// Takes at most [`BATCH_MAX`]; signs none beyond.
    pub fn sign_entries(&self, leaves: &[Hash]) -> Vec<EntrySignature> {
        let key_id = self.public().id();
        match leaves {
            [] => Vec::new(),
            [leaf] => {
                let signature = self.sign(&message(ENTRY_CONTEXT, *leaf));
                vec![EntrySignature { key_id, signature, batch: None }]
            }
            _ => {
                let leaves = leaves.get(..BATCH_MAX).unwrap_or(leaves);
                let signature = self.sign(&message(BATCH_CONTEXT, hash::root(leaves)));
                let size = leaves.len() as u64;
                (0..leaves.len())
                    .map(|index| EntrySignature {
                        key_id: key_id.clone(),
                        signature: signature.clone(),
                        batch: Some(BatchPath { index: index as u64, size, path: hash::path(leaves, index) }),
                    })
                    .collect()
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

/// A public Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From base64; refuses points of small order.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let bytes: [u8; 32] = BASE64.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(SignatureError::Key)?;
        Self::from_bytes(&bytes)
    }

    /// From the 32 bytes; refuses points of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SignatureError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureError::Key)?;
        if key.is_weak() { Err(SignatureError::Key) } else { Ok(Self(key)) }
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Base64.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0.to_bytes())
    }

    /// The key's short name.
    pub fn id(&self) -> KeyId {
        KeyId(Hash::of(&[&self.0.to_bytes()]).to_hex().chars().take(32).collect())
    }

    /// Verifies a base64 signature strictly (no small-order points, no malleable encodings).
    pub fn verify(&self, message: &[u8], signature: &str) -> Result<(), SignatureError> {
        let bytes: [u8; 64] =
            BASE64.decode(signature).ok().and_then(|b| b.try_into().ok()).ok_or(SignatureError::Form)?;
        self.verify_bytes(message, &bytes)
    }

    /// Verifies a signature of 64 bytes, as strictly.
    pub fn verify_bytes(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| SignatureError::Mismatch)
    }

    /// Verifies an entry's signature from its bytes.
    pub fn verify_entry(&self, entry: &[u8], signature: &EntrySignature) -> Result<(), SignatureError> {
        let message = signature.message(hash::leaf(entry))?;
        self.verify(&message, &signature.signature)
    }
}

fn message(context: &[u8], hash: Hash) -> Vec<u8> {
    [context, hash.as_bytes()].concat()
}

/// A signature of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntrySignature {
    /// The boot key that signed.
    pub key_id: KeyId,
    /// Ed25519, base64.
    pub signature: String,
    /// The way to the signed root, if several entries share the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchPath>,
}

impl EntrySignature {
    /// What was signed for an entry with this leaf hash. Entries that share a signature share it, so a reader of many
    /// verifies each distinct one once.
    ///
    /// # Errors
    /// [`SignatureError::Path`] if the batch path does not lead from the leaf to a root.
    pub fn message(&self, leaf: Hash) -> Result<Vec<u8>, SignatureError> {
        match &self.batch {
            None => Ok(message(ENTRY_CONTEXT, leaf)),
            Some(batch) => {
                if !(2..=BATCH_MAX as u64).contains(&batch.size) {
                    return Err(SignatureError::Path);
                }
                let root =
                    hash::root_from_path(leaf, batch.index, batch.size, &batch.path).ok_or(SignatureError::Path)?;
                Ok(message(BATCH_CONTEXT, root))
            }
        }
    }
}

/// The inclusion path of an entry in its batch (RFC 9162 §2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchPath {
    /// The entry's place.
    pub index: u64,
    /// Entries in the batch.
    pub size: u64,
    /// From the leaf upwards.
    pub path: Vec<Hash>,
}

/// What an identity key signs to vouch for a boot key.
pub fn boot_statement(tenant: TenantId, source: SourceId, boot: BootId, boot_key: &PublicKey) -> Vec<u8> {
    format!("aegis-boot/1\n{tenant}\n{source}\n{boot}\n{}", boot_key.to_base64()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;

    #[test]
    fn batches_of_any_size_prove_each_entry_alone() {
        let key = PrivateKey::generate(&SystemEntropy);
        for size in [1_usize, 2, 3, 5, 63, 64] {
            let entries: Vec<String> = (0..size).map(|i| format!("entry {i}")).collect();
            let leaves: Vec<Hash> = entries.iter().map(|e| hash::leaf(e.as_bytes())).collect();
            let signatures = key.sign_entries(&leaves);
            assert_eq!(signatures.len(), size);
            for (entry, signature) in entries.iter().zip(&signatures) {
                assert_eq!(key.public().verify_entry(entry.as_bytes(), signature), Ok(()));
                assert!(key.public().verify_entry(b"another", signature).is_err());
                let stranger = PrivateKey::generate(&SystemEntropy).public();
                assert_eq!(stranger.verify_entry(entry.as_bytes(), signature), Err(SignatureError::Mismatch));
            }
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::parse(&BASE64.encode(identity)), Err(SignatureError::Key));
        assert_eq!(PublicKey::parse("short"), Err(SignatureError::Key));
    }
}
