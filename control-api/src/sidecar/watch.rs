//! The watch stream: a snapshot, then every change within milliseconds of its commit, numbered and resumable.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::{SourceId, TenantId};
use aegis_core::sidecar::{WATCH_PING_S, WatchFrame};
use aegis_core::snapshot::Change;
use aegis_core::time::Timestamp;
use aegis_store::source::{self, SourceStatus};
use aegis_store::{StoreError, item};
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use prometheus::IntGauge;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::heartbeat::source_of;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::extract::Query;
use crate::state::App;

/// Streams one process serves at most.
pub(crate) const WATCHES_MAX: usize = 2_000;
/// Chunks that wait for a slow sidecar at most; beyond, reading the store waits too.
const CHUNKS_WAITING_MAX: usize = 4;
/// Bytes of a chunk after which it is sent.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a sidecar may take to accept a chunk.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);

/// Where to go on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// The last version that was applied; everything is sent if 0 or no longer covered.
    #[serde(default)]
    since: u64,
}

/// `GET /internal/sidecar/watch`.
pub(super) async fn watch(
    State(app): State<App>,
    caller: Caller,
    Query(Since { since }): Query<Since>,
) -> Result<Response, ApiError> {
    let source = source_of(&caller)?;
    let busy = |_| ApiError::Unavailable { cause: "too many watch streams".into() };
    let permit = Arc::clone(&app.watches).try_acquire_owned().map_err(busy)?;
    let ends_at = caller.principal().token.map_or(app.clock.now(), |(_, end)| end);
    let (send, receive) = mpsc::channel(CHUNKS_WAITING_MAX);
    let gauge = app.metrics.sidecars_watching.clone();
    gauge.inc();
    let watch = Watch {
        app,
        source,
        ends_at,
        version: since,
        tenants: Vec::new(),
        send,
        _open: Open { gauge, _permit: permit },
    };
    tokio::spawn(watch.run());
    let body = HttpBody::from_stream(ReceiverStream::new(receive));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Counts the stream until its end, whatever ends it.
struct Open {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

struct Watch {
    app: App,
    source: SourceId,
    ends_at: Timestamp,
    /// What the sidecar has.
    version: u64,
    /// What it had it of; empty before the first delta.
    tenants: Vec<TenantId>,
    send: mpsc::Sender<Result<Bytes, std::io::Error>>,
    _open: Open,
}

/// Why a stream ends; the sidecar connects again in every case.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the sidecar has gone")]
    Gone,
    #[error("the credential has ended")]
    Credential,
    #[error("the enrolment was revoked")]
    Revoked,
    #[error("the process stops")]
    Stopping,
    #[error("store: {0}")]
    Store(#[from] StoreError),
}

impl Watch {
    async fn run(mut self) {
        let mut changes = self.app.store.notices().changes();
        let end = loop {
            // Seen before reading: what is committed while we read wakes us again.
            changes.borrow_and_update();
            if let Err(end) = self.deliver().await {
                break end;
            }
            let stopping = self.app.stopping.clone();
            tokio::select! {
                woken = changes.changed() => if woken.is_err() { break End::Stopping },
                () = tokio::time::sleep(Duration::from_secs(WATCH_PING_S)) => {}
                () = stopping.cancelled() => break End::Stopping,
                () = self.send.closed() => break End::Gone,
            }
        };
        tracing::debug!(source = %self.source, reason = %end, "a watch stream ended");
    }

    /// Sends what changed since the last delivery, or a ping.
    async fn deliver(&mut self) -> Result<(), End> {
        let app = Arc::clone(&self.app);
        if app.clock.now() >= self.ends_at {
            return Err(End::Credential);
        }
        let mut db = app.store.read_platform().await?;
        let known = source::get(&mut db, self.source).await?.filter(|s| s.status == SourceStatus::Active);
        known.ok_or(End::Revoked)?;
        let tenants = source::tenants(&mut db, self.source).await?;
        let number = item::change_number(&mut db).await?;
        let first = self.tenants.is_empty();
        // A higher number than ours comes from a database that was put back to an older state.
        let full = self.version == 0 || self.version > number || (!first && self.tenants != tenants);
        if full {
            self.version = 0;
        }
        self.tenants = tenants;
        let mut lines = Lines::default();
        if full || first || number > self.version {
            let mut changes = item::changes_since(&mut db, &self.tenants, self.version).await?;
            if changes.is_empty() && !full && !first {
                // Others' changes only.
                drop(db);
                self.version = number;
                return self.ping(number).await;
            }
            lines.push(&WatchFrame::Begin { full });
            while let Some(last) = changes.last().map(|change| change.version) {
                self.send_changes(changes, &mut lines).await?;
                changes = item::changes_since(&mut db, &self.tenants, last).await?;
            }
            drop(db);
            lines.push(&WatchFrame::Commit { version: number, at: app.clock.now() });
            self.version = number;
            return self.flush(&mut lines).await;
        }
        drop(db);
        self.ping(number).await
    }

    async fn ping(&self, version: u64) -> Result<(), End> {
        let mut lines = Lines::default();
        lines.push(&WatchFrame::Ping { version, at: self.app.clock.now() });
        self.flush(&mut lines).await
    }

    async fn send_changes(&self, changes: Vec<Change>, lines: &mut Lines) -> Result<(), End> {
        for change in changes {
            lines.push(&WatchFrame::Change(change));
            if lines.0.len() >= CHUNK_BYTES {
                self.flush(lines).await?;
            }
        }
        Ok(())
    }

    async fn flush(&self, lines: &mut Lines) -> Result<(), End> {
        let chunk = Bytes::from(std::mem::take(&mut lines.0));
        self.send.send_timeout(Ok(chunk), SEND_TIMEOUT).await.map_err(|_| End::Gone)
    }
}

/// Frames, one a line.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, frame: &WatchFrame) {
        // Frames are plain data: they serialise.
        if let Ok(mut line) = serde_json::to_vec(frame) {
            line.push(b'\n');
            self.0.append(&mut line);
        }
    }
}
