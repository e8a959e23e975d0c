//! The snapshot in force, swapped whole; whoever must know at once is woken.

use std::sync::Arc;

use aegis_core::id::TenantId;
use aegis_pipeline::refusal::Refusal;
use aegis_pipeline::snapshot::DecisionSnapshot;
use aegis_pipeline::stages::kill_switch;
use arc_swap::ArcSwap;
use tokio::sync::watch;

/// The snapshot in force.
#[derive(Debug)]
pub struct Snapshots {
    current: ArcSwap<DecisionSnapshot>,
    swapped: watch::Sender<u64>,
}

impl Snapshots {
    /// Begins with this one.
    pub fn new(first: DecisionSnapshot) -> Self {
        let version = first.data().version;
        Self { current: ArcSwap::from_pointee(first), swapped: watch::Sender::new(version) }
    }

    /// The one in force. What is decided on it is decided on all of it.
    pub fn load(&self) -> Arc<DecisionSnapshot> {
        self.current.load_full()
    }

    /// Puts another one in force and wakes the calls under way.
    pub fn publish(&self, next: Arc<DecisionSnapshot>) {
        let version = next.data().version;
        self.current.store(next);
        self.swapped.send_replace(version);
    }

    /// Returns when the tenant may not act any more; the refusal says why.
    pub async fn revoked(&self, tenant: TenantId) -> Refusal {
        // Subscribed before looking, so that no swap is missed in between.
        let mut swapped = self.swapped.subscribe();
        loop {
            if let Err(refusal) = kill_switch::recheck(&self.load(), tenant) {
                return refusal;
            }
            if swapped.changed().await.is_err() {
                // Nobody can publish any more: the process ends.
                std::future::pending::<()>().await;
            }
        }
    }
}
