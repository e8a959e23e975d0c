//! A client's connection as Pingora sees it, with deadlines that Pingora does not have: an idle connection is
//! closed, and a request header must be complete in time or is answered 408.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::Sleep;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Between two requests, and before the first.
    pub idle: Duration,
    /// From a request's first byte to the end of its header.
    pub header: Duration,
}

/// What the connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Waiting for a request's first byte.
    Idle = 0,
    /// Reading a header.
    Header = 1,
    /// A request is being served: its own timeouts hold.
    Serving = 2,
    /// The header took too long.
    Late = 3,
}

/// A client's connection.
pub struct ClientStream {
    inner: L4Stream,
    deadlines: Deadlines,
    phase: Arc<AtomicU8>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    /// Waits for the first request.
    pub fn new(inner: L4Stream, deadlines: Deadlines) -> Self {
        Self { inner, deadlines, phase: Arc::new(AtomicU8::new(Phase::Idle as u8)), timer: None }
    }

    /// A request's header is complete: from here its own timeouts hold.
    pub fn header_done(&self) {
        self.enter(Phase::Serving);
    }

    /// An answer is complete: the next request may come.
    pub fn next_request(&self) {
        self.enter(Phase::Idle);
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }

    /// Whether time is up; arms the timer when needed.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = if self.is(Phase::Idle) { self.deadlines.idle } else { self.deadlines.header };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is(Phase::Serving) {
            self.timer = None;
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if self.is(Phase::Idle) && read.is_ready() && buffer.filled().len() > before {
            // The header's time begins with its first byte; later bytes do not prolong it.
            self.enter(Phase::Header);
            self.timer = None;
        }
        if self.is_late(cx) {
            let phase = if self.is(Phase::Header) { Phase::Late } else { Phase::Idle };
            self.enter(phase);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// What a client that was too slow with its header is told. Nothing is known of its request, not even an id.
const LATE_BODY: &str = concat!(
    r#"{"success":false,"data":null,"error":"request_timeout","#,
    r#""meta":{"code":408,"message":"the request was not sent in time","request_id":null}}"#
);

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        if self.is(Phase::Late) {
            let length = LATE_BODY.len();
            let answer = format!(
                "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{LATE_BODY}"
            );
            // A client that does not even read this is simply closed.
            let write = async {
                self.inner.write_all(answer.as_bytes()).await?;
                self.inner.flush().await
            };
            drop(tokio::time::timeout(Duration::from_secs(1), write).await);
        }
        Shutdown::shutdown(&mut self.inner).await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for ClientStream {}

#[async_trait]
impl Peek for ClientStream {}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").field("phase", &self.phase.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}
