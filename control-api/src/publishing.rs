//! Publishing beside requests: checkpoints every second while ledgers grow, daily roots after midnight.

use std::time::Duration;

use aegis_store::StoreError;
use aegis_store::publish::Published;

use crate::state::App;

/// Pause between two looks for ledgers that have grown.
const TURN_EVERY: Duration = Duration::from_secs(1);
/// Turns between two looks for days that are over, the first at once.
const SEAL_EVERY: u64 = 60;
/// Turns between two rounds of thinning out old checkpoints.
const THIN_EVERY: u64 = 3_600;

/// Runs until the process stops, then lets another replica go on.
pub(crate) async fn run(app: App) {
    let mut turns = tokio::time::interval(TURN_EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0_u64.. {
        tokio::select! {
            _ = turns.tick() => {}
            () = app.stopping.cancelled() => break,
        }
        if let Err(fault) = once(&app, turn).await {
            app.metrics.publishing_failed.inc();
            tracing::warn!(%fault, "checkpoints or daily roots could not be published");
        }
    }
    if let Err(fault) = app.publisher.stop().await {
        tracing::warn!(%fault, "another replica publishes only when the lease has ended");
    }
}

async fn once(app: &App, turn: u64) -> Result<(), StoreError> {
    for (tenant, outcome) in app.publisher.turn().await? {
        match outcome {
            Ok(Published::Signed(_)) => app.metrics.checkpoints_signed.inc(),
            Ok(Published::Reopened { .. }) => {
                app.metrics.checkpoints_signed.inc();
                app.metrics.logs_sealed.inc();
            }
            // A conflict: another replica was faster, and published.
            Ok(Published::Unchanged(_))
            | Err(StoreError::Conflict { reason: "changed_meanwhile" | "backwards", .. }) => {}
            Err(fault) => {
                app.metrics.publishing_failed.inc();
                tracing::error!(tenant_id = %tenant, %fault, "a checkpoint could not be published");
            }
        }
    }
    if turn.is_multiple_of(SEAL_EVERY) {
        let days = app.publisher.seal_days().await?;
        if days > 0 {
            tracing::info!(days, "sealed daily roots");
        }
    }
    if turn % THIN_EVERY == THIN_EVERY - 1 {
        app.publisher.thin().await?;
    }
    Ok(())
}
