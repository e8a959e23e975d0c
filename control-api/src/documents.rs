//! `/openapi.json`, `/docs` (Swagger UI) and `/redoc`: public, built once, nothing from outside.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header;
use serde_json::Value;

use crate::error::ApiError;
use crate::state::App;

static REDOC_SCRIPT: &[u8] = include_bytes!("../assets/redoc.standalone.js");

const REDOC_PAGE: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Aegis control API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>body{margin:0}</style></head>
<body><div id="redoc"></div><script src="redoc/redoc.standalone.js"></script>
<script>Redoc.init("openapi.json", {disableSearch: false}, document.getElementById("redoc"))</script></body>
</html>"#;

/// The routes of the document and its readers.
pub(crate) fn routes(document: &Value) -> Router<App> {
    let text = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let swagger = Arc::new(utoipa_swagger_ui::Config::from("../openapi.json"));
    Router::new()
        .route("/openapi.json", get(|| async move { ([(header::CONTENT_TYPE, "application/json")], text) }))
        .route("/redoc", get(|| async { Html(REDOC_PAGE) }))
        .route(
            "/redoc/redoc.standalone.js",
            get(|| async { ([(header::CONTENT_TYPE, "text/javascript")], REDOC_SCRIPT) }),
        )
        .route("/docs", get(|| async { Redirect::permanent("docs/") }))
        .route(
            "/docs/",
            get({
                let swagger = Arc::clone(&swagger);
                || async move { swagger_file("", swagger) }
            }),
        )
        .route("/docs/{*file}", get(|Path(file): Path<String>| async move { swagger_file(&file, swagger) }))
}

fn swagger_file(path: &str, config: Arc<utoipa_swagger_ui::Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, config) {
        Ok(Some(file)) => ([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response(),
        Ok(None) => ApiError::RouteNotFound.into_response(),
        Err(fault) => ApiError::bug("swagger ui", &fault).into_response(),
    }
}
