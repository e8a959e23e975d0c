//! Puts what the control plane says in force: built aside, swapped whole, then kept.

use std::sync::Arc;

use aegis_core::snapshot::Snapshot;
use aegis_core::time::{Clock, Timestamp};
use aegis_pipeline::snapshot::DecisionSnapshot;
use tokio::sync::watch;

use super::watch::Delta;
use crate::cache::{Cache, CacheError};
use crate::snapshots::Snapshots;

/// What was put in force last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// The version, 0 before the first.
    pub version: u64,
    /// When, by this machine's clock.
    pub at: Timestamp,
}

/// The one writer of the snapshot in force.
pub struct Applier {
    snapshots: Arc<Snapshots>,
    cache: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
    applied: watch::Sender<Applied>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Applier({:?})", self.applied())
    }
}

impl Applier {
    /// Puts in force what the cache kept, so that decisions go on without the control plane. What cannot be read
    /// whole is forgotten whole.
    ///
    /// # Errors
    /// If the cache can be neither read nor emptied.
    pub fn restore(
        snapshots: Arc<Snapshots>,
        cache: Arc<dyn Cache>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CacheError> {
        let (applied, _) = watch::channel(Applied::default());
        let this = Self { snapshots, cache, clock, applied };
        match this.cache.snapshot() {
            Ok(Some(snapshot)) => this.put(snapshot, this.clock.now()),
            Ok(None) => {}
            Err(CacheError::Corrupt(problem)) => {
                tracing::error!(problem, "the cached snapshot is damaged, all of it is asked for anew");
                this.cache.forget()?;
            }
            Err(error) => return Err(error),
        }
        Ok(this)
    }

    /// What was put in force last.
    pub fn applied(&self) -> Applied {
        *self.applied.borrow()
    }

    /// Tells of every version put in force.
    pub(super) fn subscribe(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// Puts a delta in force, then keeps it. Takes milliseconds per changed policy, and blocks on the disk.
    ///
    /// Dying before it is kept: the next start decides on the version before until it has asked for this again.
    pub(super) fn apply(&self, delta: &Delta) {
        if !delta.full && delta.changes.is_empty() && delta.version == self.applied().version {
            return self.confirm(false);
        }
        let now = self.clock.now();
        let base = if delta.full { Snapshot::default() } else { self.snapshots.load().data().clone() };
        self.put(base.with(delta.changes.iter().cloned(), delta.version, now), now);
        if let Err(error) = self.cache.apply(delta.full, &delta.changes, delta.version, now) {
            // A later delta on top of a lost one would leave a cache that never was: keep none.
            tracing::error!(%error, "the snapshot was not kept");
            if let Err(error) = self.cache.forget() {
                tracing::error!(%error, "the cached snapshot was not forgotten");
            }
        }
        // Only now: the heartbeat that follows tells the control plane what a restart cannot lose.
        self.applied.send_replace(Applied { version: delta.version, at: now });
    }

    /// The control plane confirmed that nothing is new. `keep` writes that down.
    pub(super) fn confirm(&self, keep: bool) {
        let now = self.clock.now();
        if self.applied().version == 0 {
            return;
        }
        let mut data = self.snapshots.load().data().clone();
        data.confirmed_at = now;
        self.publish(data);
        if keep && let Err(error) = self.cache.confirm(now) {
            tracing::warn!(%error, "the confirmation was not kept");
        }
    }

    fn put(&self, data: Snapshot, now: Timestamp) {
        let applied = Applied { version: data.version, at: now };
        self.publish(data);
        for fault in self.snapshots.load().faults() {
            tracing::error!(tenant = %fault.tenant_id, revision = fault.revision, "a policy does not compile");
        }
        self.applied.send_if_modified(|last| {
            *last = applied;
            false
        });
    }

    /// In force when this returns, for every call that loads it after.
    fn publish(&self, data: Snapshot) {
        let last = self.snapshots.load();
        let next = DecisionSnapshot::build(data, last.deployment(), Some(&last), last.platform());
        self.snapshots.publish(Arc::new(next));
    }
}
