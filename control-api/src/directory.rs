//! What every replica keeps in memory to judge credentials: tenants, revocations, API keys, token keys.
//!
//! It follows the store's changes. A request waits until everything committed before it has arrived here, so a
//! revocation holds from the moment it is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::TenantId;
use aegis_core::snapshot::{Snapshot, TenantSnapshot, TokenKey};
use aegis_core::tenant::TenantRecord;
use aegis_store::revocation::{CHANGES_MAX, credential_changes_since};
use aegis_store::{Store, StoreError, item};
use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};

use crate::error::ApiError;

/// How long a request waits for what was committed before it.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed reading.
const RETRY: Duration = Duration::from_millis(500);

/// The directory. Reading it takes no lock.
pub(crate) struct Directory {
    store: Store,
    snapshot: ArcSwap<Snapshot>,
    token_keys: ArcSwap<HashMap<String, Arc<TokenKey>>>,
    reached: watch::Sender<u64>,
    committed: watch::Receiver<u64>,
    /// One reading at a time: an older one must not replace a newer one.
    reading: Mutex<()>,
}

impl Directory {
    /// Reads everything.
    pub(crate) async fn load(store: Store) -> Result<Self, StoreError> {
        let directory = Self {
            committed: store.notices().changes(),
            store,
            snapshot: ArcSwap::default(),
            token_keys: ArcSwap::default(),
            reached: watch::Sender::new(0),
            reading: Mutex::new(()),
        };
        directory.reload().await?;
        Ok(directory)
    }

    /// Follows the store for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut committed = self.committed.clone();
        loop {
            if *committed.borrow_and_update() > *self.reached.borrow() {
                if let Err(fault) = self.catch_up().await {
                    tracing::warn!(%fault, "the directory cannot be read");
                    tokio::time::sleep(RETRY).await;
                }
            } else if committed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reads everything anew, which forgets what the store has forgotten.
    pub(crate) async fn reload(&self) -> Result<(), StoreError> {
        let _alone = self.reading.lock().await;
        self.read_since(Snapshot::default()).await
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let _alone = self.reading.lock().await;
        let known = Snapshot::clone(&self.snapshot.load());
        self.read_since(known).await
    }

    async fn read_since(&self, mut snapshot: Snapshot) -> Result<(), StoreError> {
        let mut db = self.store.read_platform().await?;
        let reached = item::change_number(&mut db).await?;
        loop {
            let changes = credential_changes_since(&mut db, snapshot.version).await?;
            let complete = (changes.len() as u64) < CHANGES_MAX;
            let version = if complete { reached } else { changes.last().map_or(reached, |c| c.version) };
            snapshot = snapshot.with(changes, version, self.store.now());
            if complete {
                break;
            }
        }
        let mut keys = HashMap::new();
        for (_, tenant) in snapshot.tenants() {
            keys.extend(tenant.token_keys.iter().map(|(kid, key)| (kid.clone(), Arc::clone(key))));
        }
        self.token_keys.store(Arc::new(keys));
        self.snapshot.store(Arc::new(snapshot));
        // Told last: whoever waits for this number finds it in the snapshot.
        self.reached.send_if_modified(|last| {
            let newer = reached > *last;
            *last = reached.max(*last);
            newer
        });
        Ok(())
    }

    /// Waits until everything committed so far is here; fails closed.
    pub(crate) async fn settle(&self) -> Result<(), ApiError> {
        let wanted = *self.committed.borrow();
        if *self.reached.borrow() >= wanted {
            return Ok(());
        }
        let mut reached = self.reached.subscribe();
        match tokio::time::timeout(SETTLE_MAX, reached.wait_for(|number| *number >= wanted)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ApiError::Unavailable { cause: "the directory lags behind the store".into() }),
        }
    }

    /// Wakes whenever something may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Everything as it stands.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// One tenant as it stands.
    pub(crate) fn tenant(&self, id: TenantId) -> Option<Arc<TenantSnapshot>> {
        self.snapshot.load().tenant(id).cloned()
    }

    /// One tenant's settings.
    pub(crate) fn record(&self, id: TenantId) -> Option<Arc<TenantRecord>> {
        self.tenant(id).and_then(|tenant| tenant.tenant.clone())
    }

    /// The keys that verify tokens.
    pub(crate) fn token_keys(&self) -> Arc<HashMap<String, Arc<TokenKey>>> {
        self.token_keys.load_full()
    }
}
