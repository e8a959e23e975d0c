//! A client's connection as Pingora sees it, with deadlines that Pingora does not have: an idle connection is
//! closed, and a request header must be complete in time or is answered 408.
//!
//! What Pingora refuses by itself, before any of its hooks runs (a header that does not parse or is too large, a
//! CONNECT), it answers without a body. That answer is the only thing written before a header is done, so it is
//! recognised here and replaced by an envelope.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

/// How long a client may take to take its farewell.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Between two requests, and before the first.
    pub idle: Duration,
    /// From a request's first byte to the end of its header.
    pub header: Duration,
}

/// The header of the session's request is complete: from here its own timeouts hold, and its answers are ours.
pub fn header_done(session: &ServerSession) {
    if let Some(client) = session.stream().and_then(|stream| stream.as_any().downcast_ref::<ClientStream>()) {
        client.enter(Phase::Serving);
    }
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
    /// What is being waited for, and until when.
    timer: Option<(Phase, Pin<Box<Sleep>>)>,
    /// What is still to be said before the connection is shut down.
    farewell: Bytes,
}

impl ClientStream {
    /// Waits for the first request.
    pub fn new(inner: L4Stream, deadlines: Deadlines) -> Self {
        Self {
            inner,
            deadlines,
            phase: Arc::new(AtomicU8::new(Phase::Idle as u8)),
            timer: None,
            farewell: Bytes::new(),
        }
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

    /// Whether no header is done yet: of the first request, or of one that was sent right behind another.
    fn awaits_header(&self) -> bool {
        self.is(Phase::Idle) || self.is(Phase::Header)
    }

    /// Whether time is up; arms the timer when a new wait begins.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let (phase, limit) = if self.is(Phase::Idle) {
            (Phase::Idle, self.deadlines.idle)
        } else {
            (Phase::Header, self.deadlines.header)
        };
        if self.timer.as_ref().is_none_or(|(armed, _)| *armed != phase) {
            self.timer = Some((phase, Box::pin(tokio::time::sleep(limit))));
        }
        self.timer.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready())
    }

    /// Takes Pingora's own answer, and says what is to be said in its place.
    fn replace_answer(&mut self, answer: &[u8]) {
        if self.farewell.is_empty() {
            self.farewell = match answer.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3)) {
                Some(b"405") => {
                    error_answer("405 Method Not Allowed", "method_not_allowed", "the method is not allowed")
                }
                _ => error_answer(
                    "400 Bad Request",
                    "malformed_request",
                    "the request is not HTTP as it is accepted here",
                ),
            };
        }
    }

    /// Writes the farewell, if the client takes it within a moment.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.farewell.is_empty() {
            match Pin::new(&mut self.inner).poll_write(cx, &self.farewell) {
                Poll::Ready(Ok(written)) if written > 0 => self.farewell.advance(written),
                Poll::Ready(Ok(_) | Err(_)) => self.farewell.clear(),
                Poll::Pending => {
                    if self.timer.as_ref().is_none_or(|(armed, _)| *armed != Phase::Late) {
                        self.timer = Some((Phase::Late, Box::pin(tokio::time::sleep(FAREWELL_TIME))));
                    }
                    let over = self.timer.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready());
                    if !over {
                        return Poll::Pending;
                    }
                    self.farewell.clear();
                }
            }
        }
        Poll::Ready(())
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
            if self.is(Phase::Header) {
                self.enter(Phase::Late);
                // Nothing is known of its request, not even an id.
                let late = "the request was not sent in time";
                self.farewell = error_answer("408 Request Timeout", "request_timeout", late);
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.awaits_header() {
            self.replace_answer(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_farewell(cx));
        // Its error, if any, comes up in the shutdown.
        drop(std::task::ready!(Pin::new(&mut self.inner).poll_flush(cx)));
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.awaits_header() {
            self.replace_answer(bytes.first().map_or(&[], |first| first));
            return Poll::Ready(Ok(bytes.iter().map(|part| part.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// An answer to a request of which nothing is known, not even an id. The connection ends with it.
fn error_answer(status: &str, identifier: &str, message: &str) -> Bytes {
    let code = status.get(..3).unwrap_or_default();
    let body = format!(
        r#"{{"success":false,"data":null,"error":"{identifier}","meta":{{"code":{code},"message":"{message}","request_id":null}}}}"#
    );
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into()
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        drop(AsyncWriteExt::shutdown(self).await);
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
