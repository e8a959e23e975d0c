//! Signed notes (C2SP signed-note): text, an empty line, one line for each signature.
//!
//! Only signature type 0x01, Ed25519 over the text, is verified; signatures of other types and of unknown keys are
//! carried along and say nothing.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::hash::Hash;
use crate::signing::{PrivateKey, PublicKey};

/// Bytes a note may have at most.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signatures a note may have at most.
pub const SIGNATURES_MAX: usize = 100;
/// The signature type of Ed25519 (C2SP signed-note, "Signature types").
pub const ED25519: u8 = 0x01;

/// What begins a signature line: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a text is not a note, or a note not genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`NOTE_BYTES_MAX`].
    #[error("longer than {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// Not text, an empty line and signature lines.
    #[error("not a signed note")]
    Form,
    /// A key's name is empty or has spaces or `+`.
    #[error("not a key name")]
    Name,
    /// Not `<name>+<id>+<key>` of an Ed25519 key whose id fits.
    #[error("not a verifier key")]
    Key,
    /// No signature by the key.
    #[error("not signed by this key")]
    Unsigned,
    /// The key's signature does not verify.
    #[error("the signature does not verify")]
    Mismatch,
}

/// The four bytes by which signatures name their key: `SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)[:4]`.
pub fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let [a, b, c, d, ..] = *Hash::of(&[name.as_bytes(), &[b'\n', ED25519], &key.to_bytes()]).as_bytes();
    [a, b, c, d]
}

/// A key that verifies notes; written `<name>+<hex id>+<base64 of 0x01 and the key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: PublicKey,
}

impl VerifierKey {
    /// Names a key.
    ///
    /// # Errors
    /// [`NoteError::Name`] if the name is empty or has spaces or `+`.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        if is_key_name(name) { Ok(Self { name: name.to_owned(), key }) } else { Err(NoteError::Name) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    pub const fn key(&self) -> PublicKey {
        self.key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode([&[ED25519], self.key.to_bytes().as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, hex::encode(key_id(&self.name, &self.key)))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = BASE64.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(NoteError::Key) };
        let key: [u8; 32] = key.try_into().map_err(|_| NoteError::Key)?;
        let verifier = Self::new(name, PublicKey::from_bytes(&key).map_err(|_| NoteError::Key)?)?;
        if hex::encode(key_id(name, &verifier.key)) == id { Ok(verifier) } else { Err(NoteError::Key) }
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: [u8; 4],
    /// What follows the id: for Ed25519 its 64 bytes.
    pub signature: Vec<u8>,
}

/// A note with its signatures. That it parsed says nothing of them: see [`Note::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Signs a text, whose last character must be a newline, under a key name.
    ///
    /// # Errors
    /// If text or name cannot stand in a note.
    pub fn sign(text: String, name: &str, key: &PrivateKey) -> Result<Self, NoteError> {
        if !is_text(&text) {
            return Err(NoteError::Form);
        }
        let verifier = VerifierKey::new(name, key.public())?;
        let signature = NoteSignature {
            name: verifier.name,
            key_id: key_id(name, &key.public()),
            signature: key.sign_bytes(text.as_bytes()).to_vec(),
        };
        Ok(Self { text, signatures: vec![signature] })
    }

    /// Reads a note; its one reading, so writing it gives the same bytes.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        // The text may hold empty lines itself: the last one ends it.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let text = format!("{text}\n");
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        if !is_text(&text) || lines.split('\n').count() > SIGNATURES_MAX {
            return Err(NoteError::Form);
        }
        let signatures = lines.split('\n').map(signature).collect::<Option<Vec<_>>>().ok_or(NoteError::Form)?;
        let read = Self { text, signatures };
        // Base64 has spellings that mean the same: only ours is a note.
        if read.to_string() == note { Ok(read) } else { Err(NoteError::Form) }
    }

    /// The text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, verified or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds another's signatures of the same text, a witness's for example.
    ///
    /// # Errors
    /// [`NoteError::Form`] if the texts differ or there would be too many.
    pub fn cosign(&mut self, other: Self) -> Result<(), NoteError> {
        if self.text != other.text || self.signatures.len() + other.signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::Form);
        }
        self.signatures.extend(other.signatures);
        Ok(())
    }

    /// The text, if the key has signed it. Signatures that name the key and do not verify make the note invalid.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] without a signature of the key, [`NoteError::Mismatch`] with a wrong one.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let id = key_id(&key.name, &key.key);
        let mut signed = Err(NoteError::Unsigned);
        for line in self.signatures.iter().filter(|s| s.name == key.name && s.key_id == id) {
            let bytes: [u8; 64] = line.signature.as_slice().try_into().map_err(|_| NoteError::Mismatch)?;
            key.key.verify_bytes(self.text.as_bytes(), &bytes).map_err(|_| NoteError::Mismatch)?;
            signed = Ok(self.text.as_str());
        }
        signed
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            let bytes = [line.key_id.as_slice(), &line.signature].concat();
            writeln!(f, "{SIGNATURE_PREFIX}{} {}", line.name, BASE64.encode(bytes))?;
        }
        Ok(())
    }
}

fn signature(line: &str) -> Option<NoteSignature> {
    let (name, bytes) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let bytes = BASE64.decode(bytes).ok()?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    let is_whole = is_key_name(name) && !signature.is_empty();
    is_whole.then(|| NoteSignature { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

/// Whole lines without control characters.
fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.contains(|c: char| c.is_ascii_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a log that everybody knows.
    const GO_CHECKSUMS: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[9; 32])
    }

    fn signed() -> Note {
        Note::sign("one\n\ntwo\n".into(), "aegis.example/log", &key()).unwrap()
    }

    #[test]
    fn notes_round_trip_and_verify_with_their_key_only() {
        let text = signed().to_string();
        let note = Note::parse(&text).unwrap();
        let verifier = VerifierKey::new("aegis.example/log", key().public()).unwrap();
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        assert_eq!(note.verify(&verifier), Ok("one\n\ntwo\n"));
        let other = VerifierKey::new("aegis.example/other", key().public()).unwrap();
        assert_eq!(note.verify(&other), Err(NoteError::Unsigned));
        let stranger = VerifierKey::new("aegis.example/log", PrivateKey::from_seed(&[8; 32]).public()).unwrap();
        assert_eq!(note.verify(&stranger), Err(NoteError::Unsigned));
        let forged = Note::parse(&text.replacen("two", "tow", 1)).unwrap();
        assert_eq!(forged.verify(&verifier), Err(NoteError::Mismatch));
    }

    #[test]
    fn keys_of_other_logs_are_read() {
        let key: VerifierKey = GO_CHECKSUMS.parse().unwrap();
        assert_eq!((key.name(), key.to_string().as_str()), ("sum.golang.org", GO_CHECKSUMS));
    }

    #[test]
    fn every_other_form_is_refused() {
        let text = signed().to_string();
        let forms = [
            String::new(),
            "text\n".into(),
            "text\n\n".into(),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace('\u{2014}', "-"),
            text.replacen("one", "on\te", 1),
            text.replacen("one", "on\re", 1),
            text.replace("aegis.example/log", "aegis+example"),
            text.replace("aegis.example/log", ""),
            format!("{text}\u{2014} name AAAA\n"),
            format!("{text}\u{2014} name AAAAAAB=\n"),
            format!("{text}{}", "\u{2014} name AAAAAAA=\n".repeat(SIGNATURES_MAX)),
            "x".repeat(NOTE_BYTES_MAX + 1),
        ];
        for form in forms {
            assert_ne!(form, text);
            assert!(Note::parse(&form).is_err(), "{form:?}");
        }
    }

    #[test]
    fn witnesses_sign_beside() {
        let mut note = signed();
        let witness = PrivateKey::from_seed(&[5; 32]);
        note.cosign(Note::sign(note.text().into(), "witness.example", &witness).unwrap()).unwrap();
        let note = Note::parse(&note.to_string()).unwrap();
        for (name, key) in [("aegis.example/log", key()), ("witness.example", witness)] {
            assert!(note.verify(&VerifierKey::new(name, key.public()).unwrap()).is_ok());
        }
        assert_eq!(note.clone().cosign(Note::sign("other\n".into(), "w", &key()).unwrap()), Err(NoteError::Form));
    }

    #[test]
    fn keys_whose_id_does_not_fit_are_refused() {
        let text = VerifierKey::new("a", key().public()).unwrap().to_string();
        let renamed = text.replacen("a+", "b+", 1);
        assert_eq!(renamed.parse::<VerifierKey>(), Err(NoteError::Key));
        assert_eq!("a+00000000+AQ==".parse::<VerifierKey>(), Err(NoteError::Key));
        assert!(VerifierKey::new("a b", key().public()).is_err());
    }
}
