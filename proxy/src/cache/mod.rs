//! What the sidecar remembers between starts: the snapshot's items, and the state of counters and behaviour.
//!
//! Losing the cache costs a full resync and today's counters, never a wrong decision: what cannot be read whole
//! is thrown away whole.

mod disk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use aegis_core::snapshot::{Change, Snapshot};
use aegis_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use self::disk::SledCache;

/// How often state is written.
pub const STATE_INTERVAL: Duration = Duration::from_secs(5);

/// Why the cache did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk or the database says no.
    #[error("the cache failed: {0}")]
    Disk(String),
    /// What is in it is not what was put in.
    #[error("the cache holds what cannot be read: {0}")]
    Corrupt(String),
}

/// The local memory of the sidecar. Every call may block on the disk.
pub trait Cache: Send + Sync {
    /// The snapshot as it was kept, whole; `None` if none was.
    ///
    /// # Errors
    /// [`CacheError::Corrupt`] if any item cannot be read: then ask for all of it anew.
    fn snapshot(&self) -> Result<Option<Snapshot>, CacheError>;
    /// Keeps changes, all or none; `full` forgets everything before. Lasts when this returns.
    fn apply(&self, full: bool, changes: &[Change], version: u64, confirmed_at: Timestamp) -> Result<(), CacheError>;
    /// Keeps when the control plane last confirmed the snapshot.
    fn confirm(&self, confirmed_at: Timestamp) -> Result<(), CacheError>;
    /// Forgets the snapshot.
    fn forget(&self) -> Result<(), CacheError>;
    /// The state kept under a name.
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError>;
    /// Keeps a state under a name; lasts within the database's flush interval, or with [`Self::flush`].
    fn set_state(&self, name: &str, state: &[u8]) -> Result<(), CacheError>;
    /// Returns when everything kept lasts.
    fn flush(&self) -> Result<(), CacheError>;
}

/// The state kept under a name, as JSON; nothing if it was never kept or is of another version.
pub fn state<T: DeserializeOwned>(cache: &dyn Cache, name: &str) -> Option<T> {
    match cache.state(name) {
        Ok(bytes) => match serde_json::from_slice(&bytes?) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(name, %error, "kept state is of another form, it starts anew");
                None
            }
        },
        Err(error) => {
            tracing::warn!(name, %error, "kept state cannot be read, it starts anew");
            None
        }
    }
}

/// Keeps a state under a name, as JSON; a failure is logged.
pub fn set_state<T: Serialize>(cache: &dyn Cache, name: &str, state: &T) {
    let kept = serde_json::to_vec(state)
        .map_err(|e| CacheError::Corrupt(e.to_string()))
        .and_then(|bytes| cache.set_state(name, &bytes));
    if let Err(error) = kept {
        tracing::warn!(name, %error, "state was not kept");
    }
}

/// What keeps the state of counters and behaviour in the cache.
pub type Export = Arc<dyn Fn(&dyn Cache) + Send + Sync>;

/// Writes state every few seconds and once more, flushed, at the end. `export` runs on a blocking thread and
/// keeps what it likes with [`set_state`].
pub async fn keep_state(cache: Arc<dyn Cache>, export: Export, stop: CancellationToken) {
    loop {
        let ended = tokio::time::timeout(STATE_INTERVAL, stop.cancelled()).await.is_ok();
        let (cache, export) = (Arc::clone(&cache), Arc::clone(&export));
        let written = tokio::task::spawn_blocking(move || {
            export(&*cache);
            if ended && let Err(error) = cache.flush() {
                tracing::warn!(%error, "state was not flushed");
            }
        });
        if written.await.is_err() {
            tracing::error!("exporting state panicked");
        }
        if ended {
            return;
        }
    }
}
