//! Signed notes (C2SP `signed-note`), their keys, and witnesses' cosignatures (C2SP `tlog-cosignature`).

use aegis_ledger::hash::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};

/// Bytes a note may have at most.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signatures a note may carry at most.
pub const SIGNATURES_MAX: usize = 64;

const SIGNATURE_START: &str = "\u{2014} ";
const ED25519: u8 = 0x01;
const COSIGNATURE: u8 = 0x04;

/// Why a text is not a signed note, or not one to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not text, a blank line and signatures.
    #[error("not a signed note")]
    Form,
    /// Longer, or with more signatures, than allowed.
    #[error("a note of more than {NOTE_BYTES_MAX} bytes or {SIGNATURES_MAX} signatures")]
    TooLong,
    /// Not a verifier key.
    #[error("not a verifier key")]
    Key,
    /// A signature that names the key does not verify.
    #[error("the signature of {0} does not verify")]
    Mismatch(&'static str),
}

/// A note, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    /// The signed text, with its last newline.
    pub text: &'a str,
    /// Its signatures.
    pub signatures: Vec<NoteSignature<'a>>,
}

/// A signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature<'a> {
    /// The key's name.
    pub name: &'a str,
    /// The key's id.
    pub key_id: [u8; 4],
    /// What follows the id.
    pub bytes: Vec<u8>,
}

/// Reads a note.
pub fn read(note: &str) -> Result<Note<'_>, NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLong);
    }
    if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return Err(NoteError::Form);
    }
    let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
    let text = note.get(..=text.len()).ok_or(NoteError::Form)?;
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
    let signatures = lines.split('\n').map(signature).collect::<Result<Vec<_>, _>>()?;
    if signatures.len() > SIGNATURES_MAX { Err(NoteError::TooLong) } else { Ok(Note { text, signatures }) }
}

fn signature(line: &str) -> Result<NoteSignature<'_>, NoteError> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_START).and_then(|l| l.split_once(' ')).ok_or(NoteError::Form)?;
    let bytes = BASE64.decode(encoded).map_err(|_| NoteError::Form)?;
    let (key_id, rest) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
    if !is_name(name) || rest.is_empty() {
        return Err(NoteError::Form);
    }
    Ok(NoteSignature { name, key_id: *key_id, bytes: rest.to_vec() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// What a key's signatures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Over the text.
    Note,
    /// Over the text and the time of witnessing.
    Cosignature,
}

/// A key that signs notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    id: [u8; 4],
    kind: Kind,
    key: VerifyingKey,
}

impl NoteKey {
    /// From a verifier key: `<name>+<id in hex>+<base64 of type and key>`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = BASE64.decode(key).map_err(|_| NoteError::Key)?;
        let (kind, bytes) = match bytes.split_first() {
            Some((&ED25519, key)) => (Kind::Note, key),
            Some((&COSIGNATURE, key)) => (Kind::Cosignature, key),
            _ => return Err(NoteError::Key),
        };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| NoteError::Key)?;
        let key = Self::new(name, kind, bytes)?;
        if hex::encode(key.id) == id { Ok(key) } else { Err(NoteError::Key) }
    }

    /// An Ed25519 key that signs as `name`.
    pub fn ed25519(name: &str, bytes: [u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, Kind::Note, bytes)
    }

    fn new(name: &str, kind: Kind, bytes: [u8; 32]) -> Result<Self, NoteError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| NoteError::Key)?;
        if !is_name(name) || key.is_weak() {
            return Err(NoteError::Key);
        }
        let algorithm = match kind {
            Kind::Note => ED25519,
            Kind::Cosignature => COSIGNATURE,
        };
        let digest = Hash::of(&[name.as_bytes(), b"\n", &[algorithm], &bytes]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], kind, key })
    }

    /// The name it signs as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a witness's.
    pub fn is_witness(&self) -> bool {
        self.kind == Kind::Cosignature
    }

    /// The key itself.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether the note carries this key's signature.
    ///
    /// # Errors
    /// [`NoteError::Mismatch`] if it carries one in this key's name that does not verify.
    pub fn signed(&self, note: &Note<'_>) -> Result<bool, NoteError> {
        let mut found = false;
        for signature in note.signatures.iter().filter(|s| s.name == self.name && s.key_id == self.id) {
            let good = match self.kind {
                Kind::Note => self.verify(note.text.as_bytes(), &signature.bytes),
                Kind::Cosignature => self.verify_cosignature(note.text, &signature.bytes),
            };
            if !good {
                return Err(NoteError::Mismatch(if self.is_witness() { "a witness" } else { "the log" }));
            }
            found = true;
        }
        Ok(found)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(bytes) = <[u8; 64]>::try_from(signature) else { return false };
        self.key.verify_strict(message, &Signature::from_bytes(&bytes)).is_ok()
    }

    fn verify_cosignature(&self, text: &str, signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
        let message = format!("cosignature/v1\ntime {}\n{text}", u64::from_be_bytes(*time));
        self.verify(message.as_bytes(), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    /// The example of the specification.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_specifications_example_verifies_and_its_changes_do_not() {
        let key = NoteKey::parse(KEY).unwrap();
        assert_eq!(key.signed(&read(NOTE).unwrap()), Ok(true));
        let changed = NOTE.replace("cryptography", "cryptogramery");
        assert!(key.signed(&read(&changed).unwrap()).is_err());
        let other = NOTE.replace("PeterNeumann", "PeterNewmann");
        assert_eq!(key.signed(&read(&other).unwrap()), Ok(false));
        assert_eq!(NoteKey::parse(&KEY.replace("c74f20a3", "c74f20a4")), Err(NoteError::Key));
        for broken in [NOTE.trim_end(), &NOTE.replace('\u{2014}', "-"), &NOTE.replace("\n\n", "\n"), ""] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_witness_signs_the_text_with_its_time() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let public = secret.verifying_key().to_bytes();
        let key = NoteKey::new("witness.example", Kind::Cosignature, public).unwrap();
        let vkey = format!("witness.example+{}+{}", hex::encode(key.id), BASE64.encode([&[4][..], &public].concat()));
        assert_eq!(NoteKey::parse(&vkey), Ok(key.clone()));
        let text = "log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        let signature = secret.sign(format!("cosignature/v1\ntime 12\n{text}").as_bytes()).to_bytes();
        let line = |time: u64| BASE64.encode([&key.id[..], &time.to_be_bytes(), &signature].concat());
        let note = format!("{text}\n\u{2014} witness.example {}\n", line(12));
        assert_eq!(key.signed(&read(&note).unwrap()), Ok(true));
        let note = format!("{text}\n\u{2014} witness.example {}\n", line(13));
        assert!(key.signed(&read(&note).unwrap()).is_err());
    }
}
