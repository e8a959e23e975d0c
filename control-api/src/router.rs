//! The router: every operation once, at `/` and under `/v1`, inside the layers that all share.

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;

use crate::api;
use crate::context;
use crate::documents;
use crate::error::ApiError;
use crate::openapi;
use crate::operation::Operation;
use crate::sidecar;
use crate::state::App;

/// Every operation of the control plane.
pub(crate) fn operations() -> Vec<Operation> {
    api::operations().into_iter().chain(sidecar::operations()).collect()
}

/// The service of the control plane's listener.
pub(crate) fn router(app: &App) -> Router {
    let operations = operations();
    let document = openapi::document(&operations, &app.config.public_base_url);
    let mut mounted: OpenApiRouter<App> = OpenApiRouter::default();
    for operation in &operations {
        mounted = mounted.route(operation.path, operation.mount(app));
    }
    let (routes, _) = mounted.split_for_parts();
    let routes = routes.merge(documents::routes(&document));
    Router::new()
        .merge(routes.clone())
        .nest("/v1", routes)
        .fallback(|| async { ApiError::RouteNotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(from_fn_with_state(app.clone(), context::surround))
        .with_state(app.clone())
}
