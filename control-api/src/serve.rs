//! Serving: the listeners, and an orderly end on SIGTERM or Ctrl-C.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::error::ApiError;
use crate::publishing;
use crate::router::router;
use crate::state::App;
use crate::upkeep;

/// Serves until a signal comes, then lets open requests end.
pub(crate) async fn serve(app: App) -> Result<(), Box<dyn std::error::Error>> {
    let stopping = app.stopping.clone();
    tokio::spawn(wait_for_signal(stopping.clone()));
    let upkeep = tokio::spawn(upkeep::run(app.clone()));
    let publishing = tokio::spawn(publishing::run(app.clone()));
    let service = router(&app);
    if let Some(address) = app.config.metrics_address() {
        let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics");
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(app.clone());
        tokio::spawn(connection::serve(listener, metrics, stopping.clone()));
    }
    let address = app.config.listen.address;
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "serving");
    connection::serve(listener, service, stopping).await;
    upkeep.abort();
    if publishing.await.is_err() {
        tracing::error!("publishing ended badly");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn wait_for_signal(stopping: CancellationToken) {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(fault), _) | (_, Err(fault)) => tracing::error!(%fault, "signals cannot be received"),
    }
    tracing::info!("stopping");
    stopping.cancel();
}

async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    crate::metrics::answer(&app.metrics)
}
