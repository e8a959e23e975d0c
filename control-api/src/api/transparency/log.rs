//! The log as foreign tools read it: checkpoint and tiles (C2SP tlog-checkpoint, tlog-tiles), without envelope.

use aegis_core::id::TenantId;
use aegis_ledger::tile::{Level, TilePath};
use aegis_store::ledger::checkpoint;
use aegis_store::ledger::tile;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::extract::Path;
use crate::state::App;

/// A checkpoint is good until the next one.
const FRESH: &str = "no-cache";
/// A full tile never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// `GET /transparency/log/{tenant_id}/checkpoint`
pub(super) async fn checkpoint(State(app): State<App>, Path(tenant): Path<TenantId>) -> Result<Response, ApiError> {
    let latest = checkpoint::latest(&mut *app.store.read(tenant).await?, tenant).await?;
    let latest = latest.ok_or(ApiError::NotFound("log"))?;
    let kind = "text/plain; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, FRESH)], latest.note).into_response())
}

/// `GET /transparency/log/{tenant_id}/tile/{level}/{*path}`
pub(super) async fn hashes(
    State(app): State<App>,
    Path((tenant, level, rest)): Path<(TenantId, String, String)>,
) -> Result<Response, ApiError> {
    serve(&app, tenant, &format!("tile/{level}/{rest}")).await
}

/// `GET /transparency/log/{tenant_id}/tile/entries/{*path}`: the credential alone says whose entries may be read.
pub(super) async fn entries(
    State(app): State<App>,
    caller: Caller,
    Path((tenant, rest)): Path<(TenantId, String)>,
) -> Result<Response, ApiError> {
    if tenant != caller.tenant_id() {
        return Err(ApiError::NotFound("log"));
    }
    serve(&app, tenant, &format!("tile/entries/{rest}")).await
}

async fn serve(app: &App, tenant: TenantId, path: &str) -> Result<Response, ApiError> {
    let path: TilePath = path.parse().map_err(|_| ApiError::NotFound("tile"))?;
    let mut tx = app.store.read(tenant).await?;
    let latest = checkpoint::latest(&mut tx, tenant).await?.ok_or(ApiError::NotFound("log"))?;
    let bytes = tile::serve(&mut tx, tenant, path, latest.size).await?;
    let caching = match path.level {
        Level::Hashes(_) if path.is_full() => FOR_EVER,
        Level::Hashes(_) => FRESH,
        Level::Entries => "private, no-store",
    };
    let kind = "application/octet-stream";
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, caching)], bytes).into_response())
}
