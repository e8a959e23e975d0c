//! The sidecars that speak for a tenant.

use std::time::Duration;

use aegis_core::decision::Level as Durability;
use aegis_core::id::SourceId;
use aegis_core::sidecar::{HEARTBEAT_S, LatencySummary};
use aegis_core::time::Timestamp;
use aegis_store::source::{self, Source, SourceStatus};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::state::App;

/// A sidecar that was not heard for so long is lost: three heartbeats.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(3 * HEARTBEAT_S);

/// Whether a sidecar is enrolled, has told of itself, and was heard lately.
pub(crate) fn is_connected(source: &Source, now: Timestamp) -> bool {
    match source.status {
        SourceStatus::Active => {
            source.heartbeat.is_some() && source.last_seen_at.is_some_and(|seen| now.since(seen) <= STALE_AFTER)
        }
        SourceStatus::Revoked => false,
    }
}

/// A sidecar.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SidecarView {
    /// Its id as a source of ledger entries.
    id: SourceId,
    /// Its name.
    #[schema(examples("sidecar-1"))]
    name: String,
    /// `connected`, `stale` or `revoked`.
    #[schema(examples("connected"))]
    status: &'static str,
    /// The binary's version.
    #[schema(examples("0.1.0"))]
    version: String,
    /// Where clients reach it; null if it never said.
    #[schema(examples("http://localhost:8000"))]
    public_url: Option<String>,
    /// When it was enrolled.
    enrolled_at: Timestamp,
    /// Its last heartbeat.
    last_seen_at: Option<Timestamp>,
    /// The snapshot it has in force.
    snapshot_version: Option<u64>,
    /// Since when.
    snapshot_applied_at: Option<Timestamp>,
    /// Rows that wait to be shipped.
    outbox_rows: Option<u64>,
    /// Age of the oldest of them, milliseconds.
    outbox_age_ms: Option<u64>,
    /// The durability its rows reach before a tool is called.
    level: Option<Durability>,
    /// Decision latency of the last minute, microseconds.
    decision_us: Option<LatencySummary>,
    /// Tools it announces.
    tools: usize,
}

/// `GET /internal/sidecars`.
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Answer<Vec<SidecarView>>, ApiError> {
    let tenant = caller.tenant_id();
    let sources = source::list(&mut *app.store.read(tenant).await?, tenant).await?;
    let now = app.clock.now();
    let views: Vec<_> = sources.into_iter().map(|source| view(source, now)).collect();
    let total = views.len() as u64;
    Ok(Answer::ok(views).paged(total, None))
}

fn view(source: Source, now: Timestamp) -> SidecarView {
    let status = match source.status {
        SourceStatus::Revoked => "revoked",
        SourceStatus::Active if is_connected(&source, now) => "connected",
        SourceStatus::Active => "stale",
    };
    let beat = source.heartbeat.as_ref();
    SidecarView {
        id: source.id,
        status,
        outbox_rows: beat.map(|b| b.outbox_rows),
        outbox_age_ms: beat.map(|b| b.outbox_age_ms),
        level: beat.map(|b| b.level),
        decision_us: beat.map(|b| b.decision_us),
        name: source.name,
        version: source.version,
        public_url: Some(source.public_url).filter(|url| !url.is_empty()),
        enrolled_at: source.enrolled_at,
        last_seen_at: source.last_seen_at,
        snapshot_version: source.applied_version,
        snapshot_applied_at: source.applied_at,
        tools: source.tools.len(),
    }
}
