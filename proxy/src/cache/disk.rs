//! The cache in sled: one tree, so that a delta is one atomic batch.
//!
//! `i` + tenant + item key → the change, JSON · `m` + name → version, time, schema · `s` + name → state.

use std::fmt;
use std::path::Path;

use aegis_core::snapshot::{Change, Snapshot};
use aegis_core::time::Timestamp;

use super::{Cache, CacheError};

/// The layout's version: another one starts anew.
const SCHEMA: u64 = 1;
const SCHEMA_KEY: &[u8] = b"mschema";
const VERSION_KEY: &[u8] = b"mversion";
const CONFIRMED_KEY: &[u8] = b"mconfirmed_at";
const ITEMS: &[u8] = b"i";
/// Memory that sled's own cache may use, bytes.
const MEMORY_MAX: u64 = 16 << 20;

impl From<sled::Error> for CacheError {
    fn from(error: sled::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

/// The cache on disk.
pub struct SledCache {
    tree: sled::Db,
}

impl fmt::Debug for SledCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SledCache")
    }
}

impl SledCache {
    /// Opens the cache. A database that cannot be opened, or has another layout, is thrown away and made anew.
    ///
    /// # Errors
    /// If the folder cannot be written, or another process holds it.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let tree = match open(folder) {
            Ok(tree) => tree,
            // Held by another process, or not ours to touch: throwing it away would help nobody.
            Err(sled::Error::Io(e)) => return Err(sled::Error::Io(e).into()),
            Err(error) => {
                tracing::error!(%error, "the cache is damaged and starts anew");
                std::fs::remove_dir_all(folder).map_err(|e| CacheError::Disk(e.to_string()))?;
                open(folder)?
            }
        };
        if tree.get(SCHEMA_KEY)?.as_deref().and_then(number) != Some(SCHEMA) {
            tree.clear()?;
            tree.insert(SCHEMA_KEY, &SCHEMA.to_le_bytes())?;
        }
        Ok(Self { tree })
    }

    fn number(&self, key: &[u8]) -> Result<Option<u64>, CacheError> {
        let Some(bytes) = self.tree.get(key)? else { return Ok(None) };
        number(&bytes).map(Some).ok_or_else(|| CacheError::Corrupt(String::from_utf8_lossy(key).into_owned()))
    }
}

fn open(folder: &Path) -> sled::Result<sled::Db> {
    sled::Config::new().path(folder).cache_capacity(MEMORY_MAX).mode(sled::Mode::LowSpace).open()
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn micros(time: Timestamp) -> [u8; 8] {
    time.as_micros().to_le_bytes()
}

fn item_key(change: &Change) -> Vec<u8> {
    [ITEMS, change.tenant_id.as_uuid().as_bytes(), change.key.as_bytes()].concat()
}

fn state_key(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

impl Cache for SledCache {
    fn snapshot(&self) -> Result<Option<Snapshot>, CacheError> {
        let Some(version) = self.number(VERSION_KEY)? else { return Ok(None) };
        let confirmed = self.number(CONFIRMED_KEY)?.unwrap_or(0).to_le_bytes();
        let mut changes = Vec::new();
        for item in self.tree.scan_prefix(ITEMS) {
            let (key, value) = item?;
            let change: Change = serde_json::from_slice(&value).map_err(|e| CacheError::Corrupt(e.to_string()))?;
            if item_key(&change) != *key || change.item.as_ref().is_none_or(|item| item.key() != change.key) {
                return Err(CacheError::Corrupt(format!("item {} is not what its key says", change.key)));
            }
            changes.push(change);
        }
        let confirmed_at = Timestamp::from_micros(i64::from_le_bytes(confirmed));
        Ok(Some(Snapshot::default().with(changes, version, confirmed_at)))
    }

    fn apply(&self, full: bool, changes: &[Change], version: u64, confirmed_at: Timestamp) -> Result<(), CacheError> {
        let mut batch = sled::Batch::default();
        if full {
            for key in self.tree.scan_prefix(ITEMS).keys() {
                batch.remove(key?);
            }
        }
        for change in changes {
            match &change.item {
                Some(_) => {
                    let value = serde_json::to_vec(change).map_err(|e| CacheError::Corrupt(e.to_string()))?;
                    batch.insert(item_key(change), value);
                }
                None => batch.remove(item_key(change)),
            }
        }
        batch.insert(VERSION_KEY, &version.to_le_bytes());
        batch.insert(CONFIRMED_KEY, &micros(confirmed_at));
        // Dying before the batch is whole leaves the version before: the rest is asked for again.
        self.tree.apply_batch(batch)?;
        self.tree.flush()?;
        Ok(())
    }

    fn confirm(&self, confirmed_at: Timestamp) -> Result<(), CacheError> {
        self.tree.insert(CONFIRMED_KEY, &micros(confirmed_at))?;
        Ok(())
    }

    fn forget(&self) -> Result<(), CacheError> {
        let mut batch = sled::Batch::default();
        batch.remove(VERSION_KEY);
        for key in self.tree.scan_prefix(ITEMS).keys() {
            batch.remove(key?);
        }
        self.tree.apply_batch(batch)?;
        self.tree.flush()?;
        Ok(())
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.tree.get(state_key(name))?.map(|value| value.to_vec()))
    }

    fn set_state(&self, name: &str, state: &[u8]) -> Result<(), CacheError> {
        self.tree.insert(state_key(name), state)?;
        Ok(())
    }

    fn flush(&self) -> Result<(), CacheError> {
        self.tree.flush()?;
        Ok(())
    }
}

#[cfg(test)]
impl SledCache {
    /// Puts something else in the place of an item.
    pub(super) fn damage(&self, change: &Change) {
        self.tree.insert(item_key(change), b"{").unwrap();
    }
}
