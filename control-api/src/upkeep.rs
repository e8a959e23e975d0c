//! What a replica does beside requests: following the store, and forgetting what has ended.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::principal::{ACCESS_TOKEN_TTL_S, CLOCK_SKEW_MAX_S};
use aegis_store::{StoreError, idempotency, refresh, revocation};

use crate::presence;
use crate::state::App;

/// Pause between two rounds of forgetting.
const PRUNE_EVERY: Duration = Duration::from_mins(10);
/// A revocation says nothing any more when every token that it voids has ended.
const REVOCATION_KEPT: Duration = Duration::from_secs((ACCESS_TOKEN_TTL_S + CLOCK_SKEW_MAX_S + 60).unsigned_abs());

/// Runs until the process ends.
pub(crate) async fn run(app: App) {
    let follow = Arc::clone(&app.directory).follow();
    let prune = async {
        let mut turns = tokio::time::interval(PRUNE_EVERY);
        loop {
            turns.tick().await;
            if let Err(fault) = forget(&app).await {
                tracing::warn!(%fault, "what has ended could not be forgotten");
            }
        }
    };
    tokio::join!(follow, prune, presence::follow(&app));
}

async fn forget(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now();
    let mut db = app.store.upkeep().await?;
    let families = refresh::prune(&mut db, now).await?;
    let revocations = revocation::prune(&mut db, now.minus(REVOCATION_KEPT)).await?;
    let keys = idempotency::prune(&mut db, now).await?;
    db.commit().await?;
    if revocations > 0 {
        app.directory.reload().await?;
    }
    tracing::debug!(families, revocations, keys, "forgot what has ended");
    Ok(())
}
