//! Checkpoints (C2SP tlog-checkpoint): a tree's size and root, as a signed note.
//!
//! A tenant's log is named `<deployment>/aegis/<tenant_id>`, and so is the key that signs it. A log that was sealed,
//! because the database behind it was found to be an older one, goes on as a new log in the next epoch, whose name
//! ends in `/<epoch>`; every checkpoint of it names the checkpoint that sealed the one before in an extension line.

use std::fmt;

use aegis_core::id::TenantId;

use crate::hash::Hash;
use crate::note::{Note, NoteError, VerifierKey};
use crate::signing::{PrivateKey, PublicKey};

/// The epoch of a log that was never sealed.
pub const FIRST_EPOCH: u64 = 1;

/// Begins the extension line of later epochs: `aegis-epoch/1 <epoch> <base64 SHA-256 of the sealed note>`.
const EPOCH_EXTENSION: &str = "aegis-epoch/1";

/// The name of a tenant's log, and of the key that signs it.
pub fn origin(deployment: &str, tenant: TenantId, epoch: u64) -> String {
    match epoch {
        FIRST_EPOCH => format!("{deployment}/aegis/{tenant}"),
        later => format!("{deployment}/aegis/{tenant}/{later}"),
    }
}

/// The tenant and epoch of a log of this deployment; absent if the name is another's.
pub fn parse_origin(deployment: &str, name: &str) -> Option<(TenantId, u64)> {
    let rest = name.strip_prefix(deployment)?.strip_prefix("/aegis/")?;
    let (tenant, epoch) = rest.split_once('/').map_or((rest, Some(FIRST_EPOCH)), |(t, e)| (t, e.parse().ok()));
    let (tenant, epoch) = (tenant.parse().ok()?, epoch?);
    // Written again it is the same: one name, one log.
    (origin(deployment, tenant, epoch) == name).then_some((tenant, epoch))
}

/// The tenant and epoch of a log of whatever deployment; absent if the name is not one of ours.
pub fn log_of(name: &str) -> Option<(TenantId, u64)> {
    let (deployment, _) = name.split_once('/')?;
    parse_origin(deployment, name)
}

/// The key that verifies a tenant's checkpoints of an epoch.
///
/// # Errors
/// If the deployment's name cannot stand in a key's name.
pub fn verifier(deployment: &str, tenant: TenantId, epoch: u64, key: PublicKey) -> Result<VerifierKey, NoteError> {
    VerifierKey::new(&origin(deployment, tenant, epoch), key)
}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// The tree's root (RFC 9162).
    pub root: Hash,
    /// Further lines; none is empty.
    pub extensions: Vec<String>,
}

/// What a later epoch says of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, 2 or more.
    pub number: u64,
    /// SHA-256 of the signed note that sealed the epoch before.
    pub sealed: Hash,
}

/// Why a note is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note, or not genuine.
    #[error("{0}")]
    Note(#[from] NoteError),
    /// Not origin, size, root and extension lines.
    #[error("not a checkpoint")]
    Form,
    /// It is of another log than its key.
    #[error("of another log")]
    Origin,
}

impl Checkpoint {
    /// The signed checkpoint; the key's name is the origin.
    ///
    /// # Errors
    /// If origin or extensions cannot stand in a note.
    pub fn sign(&self, key: &PrivateKey) -> Result<Note, CheckpointError> {
        let text = self.to_string();
        if Self::parse(&text)? != *self {
            return Err(CheckpointError::Form);
        }
        Ok(Note::sign(text, &self.origin, key)?)
    }

    /// Reads a note's text; nothing is verified.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Form)?;
        let mut lines = body.split('\n').map(str::to_owned);
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Form);
        };
        let extensions: Vec<String> = lines.collect();
        let size: u64 = size.parse().map_err(|_| CheckpointError::Form)?;
        let root = Hash::parse(&root).map_err(|_| CheckpointError::Form)?;
        let read = Self { origin, size, root, extensions };
        let is_whole = !read.origin.is_empty() && read.extensions.iter().all(|line| !line.is_empty());
        // Written again it is the same: no leading zeros or signs, no other base64.
        if is_whole && read.to_string() == text { Ok(read) } else { Err(CheckpointError::Form) }
    }

    /// Reads a signed checkpoint and verifies it with the key of its log.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let read = Self::parse(note.verify(key)?)?;
        if read.origin == key.name() { Ok(read) } else { Err(CheckpointError::Origin) }
    }

    /// The epoch that a later log names; absent in the first.
    pub fn epoch(&self) -> Option<Epoch> {
        self.extensions.iter().find_map(|line| {
            let mut words = line.split(' ');
            let (Some(EPOCH_EXTENSION), Some(number), Some(sealed), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return None;
            };
            Some(Epoch { number: number.parse().ok()?, sealed: Hash::parse(sealed).ok()? })
        })
    }
}

impl Epoch {
    /// The extension line.
    pub fn to_extension(self) -> String {
        format!("{EPOCH_EXTENSION} {} {}", self.number, self.sealed)
    }
}

impl fmt::Display for Checkpoint {
    /// The note's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn checkpoint(epoch: u64) -> Checkpoint {
        let tenant = TenantId::from_uuid(Uuid::from_u128(1));
        let sealed = Hash::of(&[b"a sealed note"]);
        let extensions =
            if epoch == FIRST_EPOCH { vec![] } else { vec![Epoch { number: epoch, sealed }.to_extension()] };
        Checkpoint { origin: origin("local", tenant, epoch), size: 12, root: Hash::of(&[b"root"]), extensions }
    }

    #[test]
    fn checkpoints_verify_with_the_key_of_their_log_only() {
        let key = PrivateKey::from_seed(&[1; 32]);
        let tenant = TenantId::from_uuid(Uuid::from_u128(1));
        for epoch in [1, 2, 3] {
            let note = checkpoint(epoch).sign(&key).unwrap().to_string();
            let own = verifier("local", tenant, epoch, key.public()).unwrap();
            let opened = Checkpoint::open(&note, &own).unwrap();
            assert_eq!(opened, checkpoint(epoch));
            assert_eq!(opened.epoch().map_or(1, |e| e.number), epoch);
            assert_eq!(parse_origin("local", &opened.origin), Some((tenant, epoch)));
            assert_eq!(parse_origin("other", &opened.origin), None);
            assert_eq!(parse_origin("local", &format!("{}/1", opened.origin)), None);
            let next = verifier("local", tenant, epoch + 1, key.public()).unwrap();
            assert_eq!(Checkpoint::open(&note, &next), Err(NoteError::Unsigned.into()));
            // A key that signs under its own name what speaks for another log.
            let mut forged = Note::sign(checkpoint(epoch).to_string(), "other", &key).unwrap().to_string();
            let other = VerifierKey::new("other", key.public()).unwrap();
            assert_eq!(Checkpoint::open(&forged, &other), Err(CheckpointError::Origin));
            forged = forged.replace("\n12\n", "\n13\n");
            assert_eq!(Checkpoint::open(&forged, &other), Err(NoteError::Mismatch.into()));
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let text = checkpoint(2).to_string();
        for other in [
            text.replacen("12", "012", 1),
            text.replacen("12", "+12", 1),
            text.replacen("12", "12 ", 1),
            text.replacen("12", "-1", 1),
            text.replacen("12", "99999999999999999999", 1),
            text.replacen("local", "\nlocal", 1),
            text.replacen("aegis-epoch", "\naegis-epoch", 1),
            text.replacen('=', "", 1),
            format!("{text}\n"),
            text.trim_end().to_owned(),
            "local\n12\n".to_owned(),
        ] {
            assert_ne!(other, text);
            assert_eq!(Checkpoint::parse(&other), Err(CheckpointError::Form), "{other:?}");
        }
    }
}
