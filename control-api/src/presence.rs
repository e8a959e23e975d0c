//! Who of the sidecars is there: seen by every replica for itself, from the heartbeats that all share.

use std::collections::HashMap;
use std::time::Duration;

use aegis_core::id::{SourceId, TenantId};
use aegis_core::time::Timestamp;
use aegis_store::{StoreError, source};

use crate::sidecar::is_connected;
use crate::state::App;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Comings and goings that a slow listener may fall behind.
pub(crate) const PRESENCES_MAX: usize = 256;

/// A sidecar came or went.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    /// The sidecar.
    pub(crate) source: SourceId,
    /// Its name.
    pub(crate) name: String,
    /// The tenants it speaks for.
    pub(crate) tenants: Vec<TenantId>,
    /// Whether it came.
    pub(crate) connected: bool,
    /// When that was seen.
    pub(crate) at: Timestamp,
}

/// Looks for ever.
pub(crate) async fn follow(app: &App) {
    let mut known = None;
    let mut turns = tokio::time::interval(LOOK_EVERY);
    loop {
        turns.tick().await;
        if let Err(fault) = look(app, &mut known).await {
            tracing::warn!(%fault, "the sidecars cannot be seen");
        }
    }
}

/// Tells what changed since the last look; the first one only learns.
async fn look(app: &App, known: &mut Option<HashMap<SourceId, bool>>) -> Result<(), StoreError> {
    let mut db = app.store.read_platform().await?;
    let (sources, now) = (source::list_all(&mut db).await?, app.clock.now());
    let seen: HashMap<_, _> = sources.iter().map(|source| (source.id, is_connected(source, now))).collect();
    for source in sources.iter().filter(|source| is_connected(source, now)) {
        // Whichever replica its heartbeats reach.
        app.sidecar_keys.insert(source.id, source.identity);
    }
    let before = known.replace(seen);
    let Some(before) = before else { return Ok(()) };
    for source in &sources {
        let connected = is_connected(source, now);
        if before.get(&source.id).copied().unwrap_or(false) != connected {
            let tenants = source::tenants(&mut db, source.id).await?;
            tracing::info!(source = %source.id, name = source.name, connected, "a sidecar came or went");
            // Nobody listening is no fault.
            drop(app.presence.send(Presence {
                source: source.id,
                name: source.name.clone(),
                tenants,
                connected,
                at: now,
            }));
        }
    }
    Ok(())
}
