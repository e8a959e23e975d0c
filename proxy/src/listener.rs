//! Accepting clients and handing their connections to Pingora; at the end, waiting for those being served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use pingora::proxy::HttpProxy;
use prometheus::IntGauge;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::connection::{ClientStream, Deadlines};
use crate::service::Service;

/// Requests one connection may carry before it is closed, so that its memory is given back now and then.
const REQUESTS_PER_CONNECTION_MAX: u32 = 100_000;
/// How long to wait after the machine refused a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Mode of the unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Binds `host:port` or `unix:/path`.
    ///
    /// # Errors
    /// If the address is taken or not allowed.
    pub async fn bind(address: &str) -> io::Result<Self> {
        match address.strip_prefix("unix:") {
            Some(path) => bind_unix(Path::new(path)).map(Self::Unix),
            None => TcpListener::bind(address).await.map(Self::Tcp),
        }
    }

    /// The address it got, if TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<L4Stream> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
                // Known already: saves asking the kernel for it.
                drop(digest.peer_addr.set(Some(pingora::protocols::l4::socket::SocketAddr::Inet(peer))));
                let mut stream = L4Stream::from(socket);
                stream.set_socket_digest(digest);
                Ok(stream)
            }
            Self::Unix(listener) => Ok(L4Stream::from(listener.accept().await?.0)),
        }
    }
}

/// A left-over socket of an earlier process is replaced; the mode is set before anyone can connect, in that the
/// socket is made under another name first.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path holds something that is not a socket"));
        }
        Ok(_) | Err(_) => {}
    }
    let hidden = path.with_extension("new");
    drop(std::fs::remove_file(&hidden));
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}

/// Serves clients until told to stop, then returns; connections go on in `tasks`.
pub async fn serve(
    listener: Listener,
    proxy: Arc<HttpProxy<Service>>,
    limits: (usize, Deadlines),
    connections: IntGauge,
    tasks: TaskTracker,
    mut stop: watch::Receiver<bool>,
) {
    let (connections_max, deadlines) = limits;
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        // Clients beyond the limit wait in the kernel's queue, which is bounded too.
        let accepted = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => match permit {
                Ok(permit) => tokio::select! {
                    accepted = listener.accept() => accepted.map(|stream| (stream, permit)),
                    _ = stop.changed() => break,
                },
                Err(_) => break,
            },
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (proxy, stop, open) = (Arc::clone(&proxy), stop.clone(), connections.clone());
                tasks.spawn(async move {
                    open.inc();
                    converse(&proxy, ClientStream::new(stream, deadlines), &stop).await;
                    open.dec();
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, request after request.
async fn converse(proxy: &Arc<HttpProxy<Service>>, stream: ClientStream, stop: &watch::Receiver<bool>) {
    let mut next: Option<(Stream, Option<HttpPersistentSettings>)> = Some((Box::new(stream), None));
    while let Some((stream, settings)) = next {
        if let Some(client) = stream.as_any().downcast_ref::<ClientStream>() {
            client.next_request();
        }
        let mut session = ServerSession::new_http1(stream);
        match settings {
            Some(settings) => settings.apply_to_session(&mut session),
            None => session.set_keepalive_reuses_remaining(Some(REQUESTS_PER_CONNECTION_MAX)),
        }
        if *stop.borrow() {
            session.set_keepalive(None);
        }
        next = proxy.process_new_http(session, stop).await.map(ReusedHttpStream::consume);
    }
}
