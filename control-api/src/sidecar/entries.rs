//! Ingest of signed ledger entries.

use std::io::Read as _;

use aegis_core::time::Timestamp;
use aegis_ledger::wire::{INGEST_BYTES_MAX, IngestAnswer, SignedEntry};
use aegis_store::ledger::ingest as batch;
use axum::body::Body as HttpBody;
use axum::extract::State;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::heartbeat::source_of;
use crate::caller::Caller;
use crate::envelope::Bare;
use crate::error::ApiError;
use crate::extract::read;
use crate::state::App;

const NDJSON: &str = "application/x-ndjson";

/// How many entries were `accepted`, were `duplicates`, were kept as `violations`, and in `acks` how far each chain
/// has come.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(super) struct Ingested(IngestAnswer);

/// `POST /internal/audit/entries`: answered after the commit.
pub(super) async fn ingest(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<Bare<Ingested>, ApiError> {
    let source = source_of(&caller)?;
    let outcome = take(&app, source, &headers, body).await;
    match &outcome {
        Ok(Bare(Ingested(answer))) => {
            let count = |result, n| app.metrics.ingest_entries.with_label_values(&[result]).inc_by(n);
            count("accepted", answer.accepted);
            count("duplicate", answer.duplicates);
            count("violation", answer.violations);
        }
        Err(_) => app.metrics.ingest_refused.inc(),
    }
    outcome
}

async fn take(
    app: &App,
    source: aegis_core::id::SourceId,
    headers: &HeaderMap,
    body: HttpBody,
) -> Result<Bare<Ingested>, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(NDJSON) {
        return Err(ApiError::UnsupportedMediaType(NDJSON));
    }
    let bytes = read(body, INGEST_BYTES_MAX).await?;
    let bytes = match headers.get(header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"identity") => bytes,
        Some(b"zstd") => {
            let expanded = tokio::task::spawn_blocking(move || expand(&bytes)).await;
            expanded.map_err(|e| ApiError::bug("decompression", &e))??
        }
        Some(_) => return Err(ApiError::UnsupportedMediaType("plain or zstd")),
    };
    let newest = newest(&bytes);
    let ingested = batch::ingest(&app.store, source, bytes).await?;
    for (tenant_id, kind) in &ingested.violations {
        tracing::error!(%source, %tenant_id, kind = kind.as_str(), "a delivered entry breaks the ledger's rules and is kept as a violation");
    }
    if let (Some(newest), true) = (newest, ingested.answer.accepted > 0) {
        let lag = app.clock.now().since(newest).as_millis();
        app.metrics.ingest_lag_ms.set(lag.try_into().unwrap_or(i64::MAX));
    }
    Ok(Bare(Ingested(ingested.answer)))
}

/// Decompresses under the limit: a small batch cannot become a large one.
fn expand(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let malformed = |e: std::io::Error| ApiError::MalformedBody(format!("it is not zstd: {e}"));
    let mut expanded = Vec::new();
    let limit = INGEST_BYTES_MAX as u64 + 1;
    zstd::stream::read::Decoder::new(bytes)
        .map_err(malformed)?
        .take(limit)
        .read_to_end(&mut expanded)
        .map_err(malformed)?;
    if expanded.len() > INGEST_BYTES_MAX {
        return Err(ApiError::PayloadTooLarge { limit_bytes: INGEST_BYTES_MAX });
    }
    Ok(expanded)
}

/// The time of the batch's last entry, for the metric only; the store checks every entry itself.
fn newest(bytes: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Dated {
        ts: Timestamp,
    }
    let line = bytes.rsplit(|b| *b == b'\n').find(|line| !line.is_empty())?;
    let signed: SignedEntry = serde_json::from_slice(line).ok()?;
    serde_json::from_slice::<Dated>(signed.bytes()).ok().map(|dated| dated.ts)
}
