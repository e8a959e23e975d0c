//! Who this sidecar is: its long-lived identity key, and the source id that enrolment gave it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aegis_core::entropy::Entropy;
use aegis_core::id::{SourceId, TenantId};
use aegis_ledger::signing::PrivateKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

#[cfg(test)]
mod tests;

/// The seed of the identity key: 32 bytes, hex, one line.
const KEY_FILE: &str = "identity.key";
/// What enrolment gave: source id, deployment, tenants.
const ENROLMENT_FILE: &str = "enrolment.json";
/// Bytes a file of this folder may have at most.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why the sidecar's identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk says no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("{path}: mode {mode:04o} lets others in, it must be 0600")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what this program wrote.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What enrolment gave this sidecar, for ever; no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The source's id.
    pub source: SourceId,
    /// The deployment: issuer of tokens, origin of checkpoints.
    pub deployment: String,
    /// The tenants it speaks for, as of the last credential.
    pub tenants: Vec<TenantId>,
}

/// The identity of this sidecar, backed by its data folder.
#[derive(Debug)]
pub struct Identity {
    key: PrivateKey,
    folder: PathBuf,
}

impl Identity {
    /// Loads the identity key, or makes it at the first start; the folder is made if absent.
    ///
    /// # Errors
    /// If a file is readable by others, is not ours, or cannot be written and synced.
    pub fn open(folder: &Path, entropy: &dyn Entropy) -> Result<Self, IdentityError> {
        make_folder(folder).map_err(|source| IdentityError::Io { path: folder.to_owned(), source })?;
        let path = folder.join(KEY_FILE);
        let key = match read_private(&path)? {
            Some(mut text) => {
                let key = parse_seed(&path, text.trim());
                text.zeroize();
                key?
            }
            None => create_key(folder, entropy)?,
        };
        Ok(Self { key, folder: folder.to_owned() })
    }

    /// The identity key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// What enrolment gave, if this sidecar was enrolled.
    pub fn enrolment(&self) -> Result<Option<Enrolment>, IdentityError> {
        let path = self.folder.join(ENROLMENT_FILE);
        let Some(text) = read_private(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|e| IdentityError::Content { path, problem: e.to_string() })
    }

    /// Keeps what enrolment gave.
    pub fn set_enrolment(&self, enrolment: &Enrolment) -> Result<(), IdentityError> {
        let path = self.folder.join(ENROLMENT_FILE);
        let text = serde_json::to_string(enrolment)
            .map_err(|e| IdentityError::Content { path: path.clone(), problem: e.to_string() })?;
        replace_private(&self.folder, ENROLMENT_FILE, text.as_bytes())
            .map_err(|source| IdentityError::Io { path, source })
    }
}

fn create_key(folder: &Path, entropy: &dyn Entropy) -> Result<PrivateKey, IdentityError> {
    let key = PrivateKey::generate(entropy);
    let mut text = hex::encode(key.seed());
    // Synced with its folder before first use: a key that signed anything must never be made anew.
    let written = replace_private(folder, KEY_FILE, text.as_bytes());
    text.zeroize();
    written.map_err(|source| IdentityError::Io { path: folder.join(KEY_FILE), source })?;
    Ok(key)
}

fn parse_seed(path: &Path, text: &str) -> Result<PrivateKey, IdentityError> {
    let mut seed = [0_u8; 32];
    hex::decode_to_slice(text, &mut seed)
        .map_err(|_| IdentityError::Content { path: path.to_owned(), problem: "not 32 bytes in hex".into() })?;
    let key = PrivateKey::from_seed(&seed);
    seed.zeroize();
    Ok(key)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The file's text, if it exists; refuses files that others may touch.
fn read_private(path: &Path) -> Result<Option<String>, IdentityError> {
    let failed = |source| IdentityError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Writes a file whole or not at all, mode 0600: temporary file, sync, rename, sync of the folder.
fn replace_private(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    // A leftover of a crash may have any content or mode.
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    // Dying before the rename leaves the old file, after it the new one; the sync makes that last.
    std::fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}
