//! Serving: the listeners, and an orderly end on SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::router::router;
use crate::state::App;
use crate::upkeep;

/// How long open requests may take to end after a signal.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Serves until a signal comes, then lets open requests end.
pub(crate) async fn serve(app: App) -> Result<(), Box<dyn std::error::Error>> {
    let stopping = app.stopping.clone();
    tokio::spawn(wait_for_signal(stopping.clone()));
    let upkeep = tokio::spawn(upkeep::run(app.clone()));
    let service = router(&app);
    if let Some(address) = app.config.metrics_address() {
        let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics");
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(app.clone());
        let stop = stopping.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, metrics).with_graceful_shutdown(stop).await });
    }
    let address = app.config.listen.address;
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "serving");
    let serving = axum::serve(listener, service.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let overdue = async {
        stopping.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = serving => ended?,
        () = overdue => tracing::warn!("some requests did not end in time"),
    }
    upkeep.abort();
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
