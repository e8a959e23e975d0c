//! Exporting audit rows and evidence: any number of them, in constant memory.

mod bundle;
mod evidence;
mod form;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aegis_core::id::{AgentId, TenantId};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::audit::{self, Filter};
use aegis_store::ledger::Head;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use self::form::Form;
use crate::caller::Caller;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, Query, RequestBody};
use crate::record;
use crate::state::App;

/// Pieces that wait for a slow client at most.
const CHUNKS_WAITING_MAX: usize = 4;
/// Rows of an export without a limit of its own, for `GET`.
const LIMIT: u64 = 10_000;
/// The header that says how many rows there are.
const ROW_COUNT: &str = "x-row-count";

words! {
    /// How an export looks.
    pub(crate) enum ExportFormat {
        /// Comma-separated values with a header line.
        Csv = "csv",
        /// One JSON object with all rows.
        Json = "json",
        /// One JSON object a row.
        Ndjson = "ndjson",
        /// A zip archive that `aegis-verify` checks offline.
        Evidence = "evidence",
    }
}

/// What to export; every field narrows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewExport {
    /// `csv`, `json`, `ndjson` or `evidence`.
    #[serde(default = "csv")]
    format: ExportFormat,
    /// From this time on.
    start_date: Option<Timestamp>,
    /// Before this time.
    end_date: Option<Timestamp>,
    /// About this agent.
    agent_id: Option<AgentId>,
    /// With this action.
    action: Option<String>,
    /// Rows at most; all if absent.
    #[schema(minimum = 1)]
    limit: Option<u64>,
}

const fn csv() -> ExportFormat {
    ExportFormat::Csv
}

impl RequestBody for NewExport {
    const OPTIONAL: bool = true;

    fn validate(&self, issues: &mut Issues) {
        issues.check(self.limit != Some(0), "limit", "must be at least 1");
        if let (Some(from), Some(until)) = (self.start_date, self.end_date) {
            issues.check(from <= until, "end_date", "must not lie before start_date");
        }
    }
}

/// Which rows to stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// From this time on.
    since: Option<Timestamp>,
    /// Before this time.
    until: Option<Timestamp>,
    /// About this agent.
    agent_id: Option<AgentId>,
    /// Rows at most.
    #[serde(default = "limit")]
    #[param(minimum = 1, default = 10_000)]
    limit: u64,
}

const fn limit() -> u64 {
    LIMIT
}

/// An export about to begin.
struct Export {
    app: App,
    tenant: TenantId,
    filter: Filter,
    /// Rows that match, and no more than asked for.
    rows: u64,
    /// Whether nothing narrows it.
    is_whole: bool,
    send: Send,
}

/// Where the pieces of an export go; the permit is held until its end.
struct Send {
    pieces: mpsc::Sender<Result<Bytes, std::io::Error>>,
    _permit: OwnedSemaphorePermit,
}

/// Why an export ends early: the client sees a cut answer, never one that looks whole.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the client has gone")]
    Gone,
    #[error("{0}")]
    Store(#[from] aegis_store::StoreError),
    #[error("{0}")]
    Write(#[from] std::io::Error),
    #[error("{0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Send {
    async fn piece(&self, bytes: Vec<u8>) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.pieces.send(Ok(Bytes::from(bytes))).await.map_err(|_| Broken::Gone)
    }
}

pub(super) async fn stream(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<StreamQuery>,
) -> Result<Response, ApiError> {
    let mut issues = Issues::default();
    if query.limit == 0 {
        issues.note("value_error", &["query", "limit"], "must be at least 1");
    }
    issues.into_result()?;
    let filter = Filter { agent_id: query.agent_id, from: query.since, until: query.until, ..Filter::default() };
    begin(app, &caller, ExportFormat::Ndjson, filter, query.limit).await
}

pub(super) async fn download(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<NewExport>,
) -> Result<Response, ApiError> {
    let filter = Filter {
        agent_id: body.agent_id,
        action: body.action,
        from: body.start_date,
        until: body.end_date,
        ..Filter::default()
    };
    begin(app, &caller, body.format, filter, body.limit.unwrap_or(u64::MAX)).await
}

async fn begin(
    app: App,
    caller: &Caller,
    format: ExportFormat,
    mut filter: Filter,
    limit: u64,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant_id();
    // An API key that is bound to an agent exports that agent's rows only, whatever its scopes.
    filter.agent_id = caller.only_agent().or(filter.agent_id);
    let busy = |_| ApiError::Unavailable { cause: "too many exports".into() };
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(busy)?;
    let mut tx = app.store.read(tenant).await?;
    let end = Head::read(&mut tx, tenant).await?.size;
    let rows = audit::count(&mut tx, tenant, &filter, end).await?.min(limit);
    let is_whole = limit == u64::MAX && rows == end;
    drop(tx);
    let facts = [
        ("format", json!(format)),
        ("rows", json!(rows)),
        ("agent_id", json!(filter.agent_id)),
        ("row_action", json!(filter.action)),
        ("from", json!(filter.from)),
        ("until", json!(filter.until)),
    ];
    let entry = record::admin(caller, "audit.export", "ledger".into(), facts);
    app.store.write(tenant).await?.record(entry).await?.commit().await?;
    let (pieces, receive) = mpsc::channel(CHUNKS_WAITING_MAX);
    let send = Send { pieces, _permit: permit };
    let export = Export { app, tenant, filter, rows, is_whole, send };
    let form = match format {
        ExportFormat::Evidence => return evidence::begin(export, receive).await,
        ExportFormat::Csv => Form::Csv,
        ExportFormat::Json => Form::Json,
        ExportFormat::Ndjson => Form::Ndjson,
    };
    let media_type = form.media_type();
    let head = form::Head { tenant, exported_at: export.app.clock.now(), count: rows };
    tokio::spawn(finished(form::run(export, form, head, end)));
    Ok(answer(receive, media_type, &format!("audit-{tenant}.{format}"), rows))
}

/// Waits for the end of an export and says what went wrong, if anything did.
async fn finished(export: impl Future<Output = Result<(), (Broken, Send)>>) {
    if let Err((broken, send)) = export.await {
        if !matches!(broken, Broken::Gone) {
            tracing::error!(fault = %broken, "an export was cut off");
        }
        // The error makes the connection end without the answer's end.
        let _ = send.pieces.send(Err(std::io::Error::other("the export was cut off"))).await;
    }
}

fn answer(
    receive: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    media_type: &'static str,
    file: &str,
    rows: u64,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), media_type.to_owned()),
        (header::CONTENT_DISPOSITION.as_str(), format!("attachment; filename=\"{file}\"")),
        (header::CACHE_CONTROL.as_str(), "no-store".to_owned()),
        (ROW_COUNT, rows.to_string()),
    ];
    (headers, HttpBody::from_stream(ReceiverStream::new(receive))).into_response()
}
