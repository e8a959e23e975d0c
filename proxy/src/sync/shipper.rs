//! The shipper: sends rows in the order they were written, at least once, and forgets what was committed.

use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::wire::IngestAnswer;
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Sync;
use super::backoff::Backoff;
use super::client::{SyncError, exchange_within};
use crate::outbox::{Batch, Outbox};

/// Rows of one batch at most.
const ROWS_MAX: usize = 500;
/// Bytes of one batch at most, before compression.
const BYTES_MAX: usize = 4 << 20;
/// How long a batch may take to be committed.
const INGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// zstd's fastest level: rows are repetitive, the line is rarely the limit.
const ZSTD_LEVEL: i32 = 1;
/// How often the outbox is looked at without being rung for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long shipping the rest may take at an orderly end.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// Ships for ever, one batch at a time: so order is kept, and a batch is repeated before the next is tried.
pub(super) async fn run(sync: &Sync) {
    let mut backoff = Backoff::new(&sync.entropy);
    let mut rows_max = ROWS_MAX;
    loop {
        match ship_one(sync, rows_max).await {
            Ok(true) => {
                rows_max = ROWS_MAX;
                backoff.reset();
            }
            Ok(false) => {
                // Woken or not, the next look tells.
                let _woken = tokio::time::timeout(LOOK_INTERVAL, sync.outbox.shippable()).await;
            }
            Err(error) => {
                tracing::warn!(%error, rows_max, "rows wait");
                match error {
                    SyncError::Unauthorized(_) => sync.session.forget_credential().await,
                    // If one row is what it chokes on, the rows before it still arrive.
                    SyncError::Refused { status: 400..500, .. } => rows_max = (rows_max / 2).max(1),
                    SyncError::Refused { .. }
                    | SyncError::Settings(_)
                    | SyncError::Transport(_)
                    | SyncError::Protocol(_)
                    | SyncError::Local(_) => {}
                }
                backoff.pause().await;
            }
        }
    }
}

/// Ships what waits until nothing does, the first failure, or the time is up.
pub(super) async fn ship_rest(sync: &Sync) {
    let rest = async { while matches!(ship_one(sync, ROWS_MAX).await, Ok(true)) {} };
    if tokio::time::timeout(REST_TIMEOUT, rest).await.is_err() {
        tracing::warn!("rows wait for the next start");
    }
}

/// Ships the oldest batch; whether there was one.
async fn ship_one(sync: &Sync, rows_max: usize) -> Result<bool, SyncError> {
    let outbox = Arc::clone(&sync.outbox);
    let Some((batch, body)) = blocking(move || prepare(&outbox, rows_max)).await?? else { return Ok(false) };
    let answer = send(sync, body).await?;
    if answer.violations > 0 {
        tracing::error!(violations = answer.violations, "the control plane has kept rows of ours as violations");
    }
    let (outbox, checkpoints) = (Arc::clone(&sync.outbox), Arc::clone(&sync.checkpoints));
    let forget = move || {
        checkpoints.keep(&answer.checkpoints);
        outbox.acknowledge(&batch, &answer.acks)
    };
    match blocking(forget).await? {
        // Without progress the same batch would be sent again at once, for ever.
        0 => Err(SyncError::Protocol("the answer acknowledges nothing of the batch".into())),
        _ => Ok(true),
    }
}

fn prepare(outbox: &Outbox, rows_max: usize) -> Result<Option<(Batch, Vec<u8>)>, SyncError> {
    let failed = |e: std::io::Error| SyncError::Local(format!("the outbox cannot be read: {e}"));
    let Some(batch) = outbox.read_batch(rows_max, BYTES_MAX).map_err(failed)? else { return Ok(None) };
    let body = zstd::encode_all(batch.lines.as_slice(), ZSTD_LEVEL).map_err(failed)?;
    Ok(Some((batch, body)))
}

async fn send(sync: &Sync, body: Vec<u8>) -> Result<IngestAnswer, SyncError> {
    let request = sync.session.request(Method::POST, "/internal/audit/entries").await?;
    let request = request.header(CONTENT_TYPE, "application/x-ndjson").header(CONTENT_ENCODING, "zstd").body(body);
    exchange_within(request, INGEST_TIMEOUT).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| SyncError::Local(e.to_string()))
}
