//! The key that signs checkpoints and daily roots, and how one follows another without a restart.
//!
//! Beside the key lies the list of rotations, each signed by the key before and by the new one, so every ledger can
//! be told of them at its own time, and the private half of a key that was given up is not kept. Replicas share the
//! folder and look at the list before they sign.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aegis_core::entropy::Entropy;
use aegis_core::time::Timestamp;
use aegis_ledger::rotation::Rotation;
use aegis_ledger::signing::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::keys::{create, fault, secret, stored_secret};

/// Rotations that are followed at most.
const ROTATIONS_MAX: usize = 1_000;
/// Bytes their list has at most.
const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// The key before the first rotation.
const FIRST_KEY: &str = "checkpoint.key";
/// The list of rotations, a JSON object on each line.
const LIST: &str = "checkpoint.rotations";
/// Held by whoever makes or changes keys.
const LOCK: &str = "checkpoint.lock";

/// That a key followed another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// The new key, base64.
    pub key: String,
    /// What both keys have signed.
    pub rotation: Rotation,
    /// When.
    pub at: Timestamp,
}

/// The key in use, and all that led to it.
#[derive(Debug)]
pub struct CheckpointKey {
    /// Signs.
    pub private: PrivateKey,
    /// Every rotation so far, oldest first.
    pub rotations: Vec<Rotated>,
    /// The list as it was read.
    list: Vec<u8>,
}

/// Where the key is kept.
#[derive(Debug)]
pub struct CheckpointKeys {
    /// The key folder; absent for keys that live in memory only.
    dir: Option<PathBuf>,
    current: Mutex<Arc<CheckpointKey>>,
}

impl CheckpointKey {
    /// The rotations that lead from a key to this one, oldest first; absent if none do.
    pub fn since(&self, key: &PublicKey) -> Option<&[Rotated]> {
        if *key == self.private.public() {
            return Some(&[]);
        }
        let text = key.to_base64();
        let at = self.rotations.iter().rposition(|rotated| rotated.rotation.previous == text)?;
        self.rotations.get(at..)
    }
}

impl CheckpointKeys {
    /// A key that lives in memory only.
    pub(crate) fn in_memory(private: PrivateKey) -> Self {
        let current = CheckpointKey { private, rotations: Vec::new(), list: Vec::new() };
        Self { dir: None, current: Mutex::new(Arc::new(current)) }
    }

    /// Reads the key in use below `dir`, made if there is none.
    pub(crate) fn load(dir: &Path, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        let _held = lock(dir)?;
        let list = list(dir)?;
        if list.is_empty() {
            secret(&dir.join(FIRST_KEY), entropy)?;
        }
        Ok(Self { dir: Some(dir.to_owned()), current: Mutex::new(Arc::new(read(dir, list)?)) })
    }

    /// The key as it was looked at last.
    pub fn current(&self) -> Arc<CheckpointKey> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key in use now: another process may have rotated it.
    ///
    /// # Errors
    /// [`StoreError::KeyFile`] if the files cannot be read or do not fit together.
    pub fn refreshed(&self) -> Result<Arc<CheckpointKey>, StoreError> {
        let known = self.current();
        let Some(dir) = &self.dir else { return Ok(known) };
        if list(dir)? == known.list {
            return Ok(known);
        }
        let _held = lock(dir)?;
        let now = Arc::new(read(dir, list(dir)?)?);
        tracing::info!(key_id = %now.private.public().id(), "another checkpoint key is in use");
        self.put(&now);
        Ok(now)
    }

    /// Makes a new key and puts it in the place of the one in use, whose private half is destroyed.
    ///
    /// # Errors
    /// [`StoreError::KeyFile`] if the files cannot be read or written, [`StoreError::Conflict`] `too_many` beyond
    /// 1000 rotations.
    pub fn rotate(&self, now: Timestamp, entropy: &dyn Entropy) -> Result<Arc<CheckpointKey>, StoreError> {
        let held = self.dir.as_deref().map(lock).transpose()?;
        let before = match &self.dir {
            Some(dir) => Arc::new(read(dir, list(dir)?)?),
            None => self.current(),
        };
        if before.rotations.len() >= ROTATIONS_MAX {
            return Err(StoreError::Conflict { what: "rotations", reason: "too_many" });
        }
        let new = PrivateKey::generate(entropy);
        let rotation = Rotation::sign(&before.private, &new);
        let rotated = Rotated { key: new.public().to_base64(), rotation, at: now };
        let rotations = [before.rotations.as_slice(), &[rotated]].concat();
        let list = written(&rotations)?;
        if let Some(dir) = &self.dir {
            let path = key_path(dir, &rotations);
            create(&path, hex::encode(new.seed()).as_bytes()).map_err(|e| fault(&path, &e))?;
            // Dead before this: a key that nobody uses. Dead after it: the new key is in use.
            replace(dir, &list).map_err(|e| fault(&dir.join(LIST), &e))?;
            let old = key_path(dir, &before.rotations);
            fs::remove_file(&old).map_err(|e| fault(&old, &e))?;
        }
        let after = Arc::new(CheckpointKey { private: new, rotations, list });
        self.put(&after);
        drop(held);
        Ok(after)
    }

    fn put(&self, key: &Arc<CheckpointKey>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(key);
    }
}

/// Held until it is dropped, or the process ends however it does.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|e| fault(&path, &e))?;
    file.lock().map_err(|e| fault(&path, &e))?;
    Ok(file)
}

fn list(dir: &Path) -> Result<Vec<u8>, StoreError> {
    let path = dir.join(LIST);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fault(&path, &e)),
    };
    let mut list = Vec::new();
    file.take(LIST_BYTES_MAX + 1).read_to_end(&mut list).map_err(|e| fault(&path, &e))?;
    if list.len() as u64 > LIST_BYTES_MAX { Err(fault(&path, &"it is too long")) } else { Ok(list) }
}

/// The key in use by this list, which must lead to it.
fn read(dir: &Path, list: Vec<u8>) -> Result<CheckpointKey, StoreError> {
    let path = dir.join(LIST);
    let lines = list.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let rotations: Vec<Rotated> =
        lines.map(serde_json::from_slice).collect::<Result<_, _>>().map_err(|e| fault(&path, &e))?;
    for rotated in &rotations {
        let key = PublicKey::parse(&rotated.key).map_err(|e| fault(&path, &e))?;
        rotated.rotation.verify(&key).map_err(|e| fault(&path, &e))?;
    }
    let broken = rotations.windows(2).any(|pair| matches!(pair, [a, b] if a.key != b.rotation.previous));
    let file = key_path(dir, &rotations);
    let private = PrivateKey::from_seed(&stored_secret(&file)?);
    let leads_here = rotations.last().is_none_or(|last| last.key == private.public().to_base64());
    if broken || !leads_here {
        return Err(fault(&path, &"its rotations do not lead to the key in use"));
    }
    Ok(CheckpointKey { private, rotations, list })
}

/// The file of the key that the rotations lead to.
fn key_path(dir: &Path, rotations: &[Rotated]) -> PathBuf {
    let last = rotations.last().and_then(|last| PublicKey::parse(&last.key).ok());
    dir.join(last.map_or_else(|| FIRST_KEY.to_owned(), |key| format!("checkpoint-{}.key", key.id())))
}

fn written(rotations: &[Rotated]) -> Result<Vec<u8>, StoreError> {
    let mut list = Vec::new();
    for rotated in rotations {
        serde_json::to_writer(&mut list, rotated).map_err(StoreError::corrupt)?;
        list.push(b'\n');
    }
    Ok(list)
}

/// Writes aside and renames: a process that dies here leaves the list before or the new one, whole.
fn replace(dir: &Path, list: &[u8]) -> std::io::Result<()> {
    let aside = dir.join("checkpoint.rotations.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(list)?;
    file.sync_all()?;
    fs::rename(&aside, dir.join(LIST))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use aegis_core::entropy::SystemEntropy;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_process_takes_up_a_rotated_key_and_the_old_private_half_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let one = CheckpointKeys::load(dir.path(), &SystemEntropy).unwrap();
        let two = CheckpointKeys::load(dir.path(), &SystemEntropy).unwrap();
        let first = one.current().private.public();
        assert_eq!(two.current().private.public(), first);
        let second = one.rotate(Timestamp::from_seconds(1), &SystemEntropy).unwrap().private.public();
        let third = two.rotate(Timestamp::from_seconds(2), &SystemEntropy).unwrap();
        assert_eq!(third.rotations.len(), 2);
        assert_eq!(one.current().private.public(), second);
        let seen = one.refreshed().unwrap();
        assert_eq!(seen.private.public(), third.private.public());
        assert_eq!(seen.since(&first).unwrap(), third.rotations.as_slice());
        assert_eq!((seen.since(&second).unwrap().len(), seen.since(&third.private.public()).unwrap().len()), (1, 0));
        assert!(seen.since(&PrivateKey::generate(&SystemEntropy).public()).is_none());
        let key = format!("checkpoint-{}.key", third.private.public().id());
        assert_eq!(names(dir.path()), [key.as_str(), LOCK, LIST]);
        assert_eq!(fs::metadata(dir.path().join(key)).unwrap().permissions().mode() & 0o777, 0o600);
        let again = CheckpointKeys::load(dir.path(), &SystemEntropy).unwrap();
        assert_eq!(again.current().private.public(), third.private.public());
    }

    #[test]
    fn a_list_that_does_not_lead_to_the_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = CheckpointKeys::load(dir.path(), &SystemEntropy).unwrap();
        keys.rotate(Timestamp::from_seconds(1), &SystemEntropy).unwrap();
        let good = fs::read_to_string(dir.path().join(LIST)).unwrap();
        let forged = good.replacen("\"own_signature\":\"", "\"own_signature\":\"A", 1);
        for bad in [forged.as_str(), "{", &good.repeat(2)] {
            fs::write(dir.path().join(LIST), bad).unwrap();
            assert!(matches!(keys.refreshed(), Err(StoreError::KeyFile { .. })), "{bad}");
            assert!(CheckpointKeys::load(dir.path(), &SystemEntropy).is_err());
            assert!(keys.rotate(Timestamp::from_seconds(2), &SystemEntropy).is_err());
        }
        // The key is not made anew where one was lost.
        fs::write(dir.path().join(LIST), good).unwrap();
        let file = key_path(dir.path(), &keys.current().rotations);
        fs::remove_file(file).unwrap();
        assert!(CheckpointKeys::load(dir.path(), &SystemEntropy).is_err());
    }
}
