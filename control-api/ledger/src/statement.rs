//! Signed statements of daily roots, as auditors keep them: a JSON object signed with the checkpoint key.
//!
//! The day's `daily_statement` entry says the same inside the ledger; this form can be verified without it.

use aegis_core::day::Day;
use aegis_core::id::{AuditId, TenantId};
use aegis_core::json;
use serde::{Deserialize, Serialize};

use crate::signing::{PrivateKey, PublicKey, SignatureError};

/// The form's version.
pub const STATEMENT_VERSION: u64 = 3;
/// The form's name.
pub const STATEMENT_KIND: &str = "transparency_root";

const CONTEXT: &[u8] = b"aegis-root/3\n";

/// What is said of a UTC day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootStatement {
    /// [`STATEMENT_VERSION`].
    pub version: u64,
    /// [`STATEMENT_KIND`].
    pub kind: String,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The day.
    pub root_date: Day,
    /// The tree's root over the first `size_to` entries, hex.
    pub root_hash: String,
    /// The root of the day before, hex; `null` in the first.
    pub prev_root_hash: Option<String>,
    /// The day's entries.
    pub leaf_count: u64,
    /// The first of them; `null` if there is none.
    pub leaf_range_start_id: Option<AuditId>,
    /// The last of them; `null` if there is none.
    pub leaf_range_end_id: Option<AuditId>,
    /// Entries before the day.
    pub size_from: u64,
    /// Entries up to its end.
    pub size_to: u64,
}

/// A statement with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// What was signed, in its canonical form (RFC 8785).
    pub receipt: RootStatement,
    /// Ed25519 over `aegis-root/3\n` and the canonical form, base64.
    pub signature: String,
    /// `ed25519`.
    pub algorithm: String,
    /// The key that signed.
    pub public_key_fingerprint: String,
}

impl RootStatement {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// If a number is larger than JSON carries, which sizes never are.
    pub fn message(&self) -> Result<Vec<u8>, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        Ok([CONTEXT, json::canonical(&value).as_bytes()].concat())
    }

    /// Signs it.
    ///
    /// # Errors
    /// As [`RootStatement::message`].
    pub fn sign(self, key: &PrivateKey) -> Result<SignedStatement, serde_json::Error> {
        Ok(SignedStatement {
            signature: key.sign(&self.message()?),
            algorithm: "ed25519".into(),
            public_key_fingerprint: key.public().id().0,
            receipt: self,
        })
    }
}

impl SignedStatement {
    /// Whether the key has signed it.
    ///
    /// # Errors
    /// [`SignatureError::Key`] if it names another key, [`SignatureError::Form`] if it is of another form, else what
    /// is wrong with the signature.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        if self.public_key_fingerprint != key.id().0 {
            return Err(SignatureError::Key);
        }
        let statement = &self.receipt;
        let is_ours = statement.version == STATEMENT_VERSION && statement.kind == STATEMENT_KIND;
        if !is_ours || self.algorithm != "ed25519" {
            return Err(SignatureError::Form);
        }
        key.verify(&statement.message().map_err(|_| SignatureError::Form)?, &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;
    use uuid::Uuid;

    #[test]
    fn a_changed_statement_or_another_key_is_refused() {
        let key = PrivateKey::from_seed(&[3; 32]);
        let statement = RootStatement {
            version: STATEMENT_VERSION,
            kind: STATEMENT_KIND.into(),
            tenant_id: TenantId::from_uuid(Uuid::from_u128(1)),
            root_date: Day::from_number(20_000),
            root_hash: Hash::of(&[b"root"]).to_hex(),
            prev_root_hash: None,
            leaf_count: 0,
            leaf_range_start_id: None,
            leaf_range_end_id: None,
            size_from: 7,
            size_to: 7,
        };
        let signed = statement.clone().sign(&key).unwrap();
        assert_eq!(signed.verify(&key.public()), Ok(()));
        let read: SignedStatement = serde_json::from_str(&serde_json::to_string(&signed).unwrap()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(signed.verify(&PrivateKey::from_seed(&[4; 32]).public()), Err(SignatureError::Key));
        for changed in [
            RootStatement { root_date: Day::from_number(20_001), ..statement.clone() },
            RootStatement { size_to: 8, ..statement.clone() },
            RootStatement { prev_root_hash: Some(String::new()), ..statement.clone() },
        ] {
            let forged = SignedStatement { receipt: changed, ..signed.clone() };
            assert_eq!(forged.verify(&key.public()), Err(SignatureError::Mismatch));
        }
        let old = RootStatement { version: 2, ..statement };
        assert_eq!(old.sign(&key).unwrap().verify(&key.public()), Err(SignatureError::Form));
    }
}
