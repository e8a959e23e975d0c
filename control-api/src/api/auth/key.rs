//! The public keys that verify access tokens.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use serde_json::json;

use crate::error::ApiError;
use crate::state::App;

/// `GET /.well-known/jwks.json` (RFC 7517, RFC 8037).
pub(super) async fn jwks(State(app): State<App>) -> Result<Response, ApiError> {
    app.directory.settle().await?;
    let own = app.signer.key();
    let known = app.directory.token_keys();
    let keys: BTreeMap<_, _> =
        known.values().map(|k| (k.kid.clone(), k.x.clone())).chain([(own.kid.clone(), own.x.clone())]).collect();
    let keys: Vec<_> = keys
        .into_iter()
        .map(|(kid, x)| json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x }))
        .collect();
    let body = json!({ "keys": keys }).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")], body)
        .into_response())
}
