//! The control plane's own key files: its source identity, the key that signs checkpoints, and the key that
//! seals salts. Mode 0600, never in SQL.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aegis_core::entropy::{self, Entropy};
use aegis_core::id::SourceId;
use aegis_core::time::Clock;
use aegis_ledger::signing::PrivateKey;

use crate::checkpoint_key::CheckpointKeys;
use crate::error::StoreError;

/// Bytes a key file has at most.
const KEY_FILE_MAX: u64 = 256;

/// What the control plane holds outside the database.
pub struct Keys {
    /// Who the control plane is as a source of ledger entries.
    pub source: SourceId,
    /// Its identity key: vouches for the key of every process start.
    pub identity: PrivateKey,
    /// Sign checkpoints and daily roots.
    pub checkpoint: CheckpointKeys,
    /// Seals what is secret at rest: salts, credentials.
    pub data_key: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("source", &self.source).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Keys {
    /// Fresh keys that live in memory only.
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        Self {
            source: SourceId::generate(clock.now(), entropy),
            identity: PrivateKey::generate(entropy),
            checkpoint: CheckpointKeys::in_memory(PrivateKey::generate(entropy)),
            data_key: entropy::random(entropy),
        }
    }

    /// Reads the key files below `dir`, making those that are missing.
    ///
    /// # Errors
    /// [`StoreError::KeyFile`] if one cannot be read or written, is damaged, or is readable by others.
    pub fn load(dir: &Path, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|e| fault(dir, &e))?;
        let source_path = dir.join("source.id");
        let fresh = SourceId::generate(clock.now(), entropy).to_string();
        let source = read_or_create(&source_path, fresh.as_bytes())?;
        let source = std::str::from_utf8(&source).ok().and_then(|t| t.trim().parse().ok());
        Ok(Self {
            source: source.ok_or_else(|| fault(&source_path, &"not a source id"))?,
            identity: PrivateKey::from_seed(&secret(&dir.join("source.key"), entropy)?),
            checkpoint: CheckpointKeys::load(dir, entropy)?,
            data_key: secret(&dir.join("data.key"), entropy)?,
        })
    }
}

pub(crate) fn fault(path: &Path, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::KeyFile { path: path.display().to_string(), reason: reason.to_string() }
}

/// The 32 bytes that a file holds in hex; made if it is not there.
pub(crate) fn secret(path: &Path, entropy: &dyn Entropy) -> Result<[u8; 32], StoreError> {
    let fresh = hex::encode(entropy::random::<32>(entropy));
    from_hex(path, &read_or_create(path, fresh.as_bytes())?)
}

/// The 32 bytes that a file holds in hex.
pub(crate) fn stored_secret(path: &Path) -> Result<[u8; 32], StoreError> {
    from_hex(path, &read(path).map_err(|e| fault(path, &e))?)
}

fn from_hex(path: &Path, text: &[u8]) -> Result<[u8; 32], StoreError> {
    let mut key = [0_u8; 32];
    hex::decode_to_slice(text.trim_ascii(), &mut key).map_err(|_| fault(path, &"not 32 bytes in hex"))?;
    Ok(key)
}

fn read_or_create(path: &Path, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
    match read(path) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => create(path, fresh).map_err(|e| fault(path, &e)),
        Err(e) => Err(fault(path, &e)),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(std::io::Error::other("others may read it; set its mode to 0600"));
    }
    let mut bytes = Vec::new();
    file.take(KEY_FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes aside and links into place, so a process that dies here leaves either no key or a whole one, and of two
/// processes that start together both end up with the same.
pub(crate) fn create(path: &Path, fresh: &[u8]) -> std::io::Result<Vec<u8>> {
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(fresh)?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Ok(()) => {
            if let Some(dir) = path.parent() {
                fs::File::open(dir)?.sync_all()?;
            }
            Ok(fresh.to_vec())
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => read(path),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;
    use aegis_core::time::SystemClock;

    #[test]
    fn keys_are_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::load(dir.path(), &SystemClock::new(), &SystemEntropy).unwrap();
        let second = Keys::load(dir.path(), &SystemClock::new(), &SystemEntropy).unwrap();
        assert_eq!((first.source, first.data_key), (second.source, second.data_key));
        assert_eq!(first.identity.public(), second.identity.public());
        assert_eq!(first.checkpoint.current().private.public(), second.checkpoint.current().private.public());
        assert_ne!(first.checkpoint.current().private.public(), first.identity.public());
        let path = dir.path().join("source.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keys::load(dir.path(), &SystemClock::new(), &SystemEntropy).is_err());
    }
}
