//! Connections: how many there may be, how long a request's header may take, and an orderly end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections served at once; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a request's header may take, from the connection's start or the answer before it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes a request's header may have.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Requests that share one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 200;
/// How long open requests may take to end after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// Pause after the system refused a connection (no file handles left, for one).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until told to stop, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stopping: CancellationToken) {
    serve_patiently(listener, router, stopping, HEADER_TIMEOUT).await;
}

async fn serve_patiently(listener: TcpListener, router: Router, stopping: CancellationToken, header_timeout: Duration) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = TaskTracker::new();
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = converse(stream, peer, router.clone(), stopping.clone(), header_timeout);
                open.spawn(async move {
                    connection.await;
                    drop(turn);
                });
            }
            Err(fault) => {
                tracing::warn!(%fault, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(DRAIN_MAX, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "some requests did not end in time");
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stopping: CancellationToken,
    header_timeout: Duration,
) {
    // Small answers and pushed changes must not wait for an acknowledgement.
    if let Err(fault) = stream.set_nodelay(true) {
        tracing::debug!(%fault, "a connection keeps its delay");
    }
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let mut told = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(fault) = ended {
                    tracing::debug!(%fault, %peer, "a connection ended early");
                }
                return;
            }
            () = stopping.cancelled(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn started(router: Router) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stopping) = (listener.local_addr().unwrap(), CancellationToken::new());
        (
            address,
            stopping.clone(),
            tokio::spawn(serve_patiently(listener, router, stopping, Duration::from_millis(50))),
        )
    }

    #[tokio::test]
    async fn a_header_that_never_ends_is_cut_off() {
        let (address, _stopping, _serving) = started(Router::new().route("/", get(|| async { "here" }))).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        let mut rest = Vec::new();
        // Nothing but the timeout ends this.
        slow.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
    }

    #[tokio::test]
    async fn an_open_request_is_answered_after_the_stop() {
        let (go, gone) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (inside, release) = (Arc::clone(&go), Arc::clone(&gone));
        let handler = get(move || async move {
            inside.notify_one();
            release.notified().await;
            "done"
        });
        let (address, stopping, serving) = started(Router::new().route("/", handler)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        go.notified().await;
        stopping.cancel();
        gone.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
