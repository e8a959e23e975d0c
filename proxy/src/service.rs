//! Pingora's hook: tool calls are served here from first to last byte, the rest goes to the control plane.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::Entropy;
use aegis_core::id::RequestId;
use aegis_core::time::Clock;
use aegis_pipeline::refusal::Refusal;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::Method;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::HttpPeer;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};
use serde_json::json;
use tracing::Instrument as _;

use crate::call::{self, CallHead, Target};
use crate::config::{Config, millis};
use crate::connection;
use crate::execute::stream::Streaming;
use crate::execute::{Answer, Engine};
use crate::forward::{self, ControlPlane, Forwarder};
use crate::inflight::InFlight;
use crate::reply::Reply;
use crate::telemetry;

/// Bytes of an unwanted body that are read away, so that its sender gets to see the answer.
const UNWANTED_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// How long that may take.
const UNWANTED_TIME_MAX: Duration = Duration::from_secs(2);

/// The sidecar's HTTP service.
pub struct Service {
    engine: Arc<Engine>,
    control: ControlPlane,
    forwarder: Forwarder,
    in_flight: Arc<InFlight>,
    body_bytes: usize,
    body_timeout: Duration,
    write_timeout: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// What is known of a forwarded request.
pub struct Forwarded {
    request_id: RequestId,
}

impl Service {
    /// Serves calls with this engine.
    pub fn new(
        engine: Arc<Engine>,
        (control, forwarder): (ControlPlane, Forwarder),
        in_flight: Arc<InFlight>,
        config: &Config,
    ) -> Self {
        Self {
            clock: Arc::clone(&engine.clock),
            entropy: Arc::clone(&engine.entropy),
            engine,
            control,
            forwarder,
            in_flight,
            body_bytes: config.limits.body_bytes,
            body_timeout: millis(config.timeouts.body_ms),
            write_timeout: millis(config.timeouts.write_ms),
        }
    }

    /// A tool call, to the last byte of its answer.
    async fn serve_call(&self, session: &mut Session, tool: Option<String>) -> Result<()> {
        let began = self.clock.monotonic();
        let address = client_address(session).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let request = session.req_header();
        let query = request.uri.query().map(str::to_owned);
        let mut head = call::read_head(&request.headers, query.as_deref(), address, self.clock.now(), &*self.entropy);
        let span = telemetry::call_span(&mut head.trace);
        let Ok(underway) = self.in_flight.enter() else {
            return self.write(session, &self.engine.turned_away(&head, &Refusal::Overloaded)).await;
        };
        // A bug must not leave the client waiting: it becomes an answer, and the outbox settles the intent.
        let decided = AssertUnwindSafe(self.decide(session, &head, tool)).catch_unwind().instrument(span).await;
        let answer = decided.unwrap_or_else(|_| {
            self.engine.metrics.bugs.inc();
            Answer::Whole(Arc::new(self.engine.turned_away(&head, &Refusal::Internal)))
        });
        let written = match answer {
            Answer::Whole(reply) => self.write(session, &reply).await,
            Answer::Stream(stream) => self.write_stream(session, *stream).await,
        };
        drop(underway);
        self.engine.metrics.call_seconds.observe(self.clock.monotonic().since(began).as_secs_f64());
        written
    }

    async fn decide(&self, session: &mut Session, head: &CallHead, tool: Option<String>) -> Answer {
        let away = |reply: Reply| Answer::Whole(Arc::new(reply));
        if session.req_header().method != Method::POST {
            return away(self.engine.turned_away(head, &Refusal::MethodNotAllowed));
        }
        let admitted = match self.engine.admit(head) {
            Ok(admitted) => admitted,
            Err(reply) => return away(reply),
        };
        let named = match call::path_tool(tool.as_deref()) {
            Ok(named) => named,
            Err(refusal) => return away(self.engine.gate_refused(head, &admitted.known(), &refusal, None)),
        };
        if let Err(refusal) = call::check_content_type(&session.req_header().headers) {
            return away(self.engine.turned_away(head, &refusal));
        }
        let body = match self.read_body(session).await {
            Ok(body) => body,
            Err(refusal) => return away(self.engine.turned_away(head, &refusal)),
        };
        self.engine.run(admitted, head, named, &body).await
    }

    async fn read_body(&self, session: &mut Session) -> std::result::Result<Bytes, Refusal> {
        let too_large = Refusal::PayloadTooLarge { limit_bytes: u64::try_from(self.body_bytes).unwrap_or(u64::MAX) };
        let headers = &session.req_header().headers;
        let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > self.body_bytes) {
            return Err(too_large);
        }
        // Pingora's own read timeout may be the first to notice.
        let broken = |e: Box<Error>| match e.etype() {
            ErrorType::ReadTimedout => Refusal::RequestTimeout,
            _ => Refusal::MalformedBody { detail: "the body broke off or is framed wrongly".into() },
        };
        if headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            session.as_downstream_mut().write_continue_response().await.map_err(broken)?;
        }
        let read = async {
            let mut body = BytesMut::with_capacity(declared.unwrap_or(0));
            while let Some(chunk) = session.as_downstream_mut().read_request_body().await.map_err(broken)? {
                if body.len() + chunk.len() > self.body_bytes {
                    return Err(too_large.clone());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body.freeze())
        };
        tokio::time::timeout(self.body_timeout, read).await.unwrap_or(Err(Refusal::RequestTimeout))
    }

    async fn write(&self, session: &mut Session, reply: &Reply) -> Result<()> {
        let mut header = response_header(reply)?;
        header.insert_header(CONTENT_LENGTH, reply.body.len())?;
        session.write_response_header(Box::new(header), false).await?;
        session.write_response_body(Some(reply.body.clone()), true).await?;
        self.read_away(session).await;
        Ok(())
    }

    /// A body that nobody wanted is read away for a moment: closing over unread bytes would take the answer back.
    async fn read_away(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        if downstream.is_body_done() {
            return;
        }
        let read = async {
            let mut left = UNWANTED_BYTES_MAX;
            while let Ok(Some(chunk)) = downstream.read_request_body().await {
                match left.checked_sub(chunk.len()) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        drop(tokio::time::timeout(UNWANTED_TIME_MAX, read).await);
    }

    async fn write_stream(&self, session: &mut Session, mut stream: Streaming) -> Result<()> {
        let mut header = response_header(&stream.head())?;
        header.insert_header(TRANSFER_ENCODING, "chunked")?;
        let mut written = session.write_response_header(Box::new(header), false).await;
        while written.is_ok() {
            let Some(chunk) = stream.next().await else { break };
            written = session.write_response_body(Some(chunk), false).await;
        }
        if written.is_err() {
            stream.client_gone();
        }
        // The outcome row is written before the stream's end is told.
        if stream.finish().await {
            session.write_response_body(None, true).await
        } else {
            // Cut off, so that nobody takes the stream for complete.
            Err(Error::explain(ErrorType::WriteError, "the stream was not complete"))
        }
    }

    async fn write_error(&self, session: &mut Session, request_id: &str, error: (u16, &str, &str)) -> Result<()> {
        let (status, identifier, message) = error;
        let body = json!({
            "success": false, "data": null, "error": identifier,
            "meta": {"code": status, "message": message, "request_id": request_id},
        });
        let mut reply = Reply::raw(status, body.to_string().into());
        if let Ok(value) = request_id.parse() {
            reply.headers.push((http::HeaderName::from_static("x-request-id"), value));
        }
        self.write(session, &reply).await
    }
}

#[async_trait]
impl ProxyHttp for Service {
    type CTX = Forwarded;

    fn new_ctx(&self) -> Forwarded {
        Forwarded { request_id: RequestId::generate(self.clock.now(), &*self.entropy) }
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Forwarded) -> Result<()> {
        let downstream = session.as_downstream_mut();
        connection::header_done(downstream);
        downstream.set_write_timeout(Some(self.write_timeout));
        downstream.set_read_timeout(Some(self.body_timeout));
        let claimed = downstream.get_header("x-request-id").and_then(|v| v.to_str().ok()).and_then(RequestId::parse);
        if let Some(request_id) = claimed {
            ctx.request_id = request_id;
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Forwarded) -> Result<bool> {
        match Target::of(session.req_header().uri.path()) {
            Target::Execute(tool) => self.serve_call(session, tool).await.map(|()| true),
            Target::Internal => {
                let error = (404, "not_found", "there is nothing here");
                self.write_error(session, ctx.request_id.as_str(), error).await.map(|()| true)
            }
            Target::Forward => Ok(false),
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Forwarded) -> Result<Box<HttpPeer>> {
        self.control.peer().await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Forwarded,
    ) -> Result<()> {
        let (client, now) = (client_address(session), self.clock.now());
        forward::set_origin(upstream_request, &self.forwarder, client, ctx.request_id.as_str(), now)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Forwarded) -> FailToProxy {
        if session.response_written().is_some() {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let error = match (e.etype(), e.esource()) {
            (ErrorType::HTTPStatus(_), _) | (_, ErrorSource::Upstream) => {
                (502, "upstream_unreachable", "the control plane cannot be reached")
            }
            (ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed, ErrorSource::Downstream) => {
                return FailToProxy { error_code: 0, can_reuse_downstream: false };
            }
            (ErrorType::ReadTimedout, ErrorSource::Downstream) => {
                (408, "request_timeout", "the request was not sent in time")
            }
            (_, ErrorSource::Downstream) => (400, "malformed_request", "the request is not valid HTTP"),
            (ErrorType::ConnectError, _) => (502, "upstream_unreachable", "the control plane cannot be reached"),
            _ => (500, "internal_error", "an internal error"),
        };
        // The connection ends with this answer, which must say so: a client would send its next request into it.
        session.set_keepalive(None);
        drop(self.write_error(session, ctx.request_id.as_str(), error).await);
        FailToProxy { error_code: error.0, can_reuse_downstream: false }
    }

    /// What Pingora logs of a request: never its query, which may hold a token.
    fn request_summary(&self, session: &Session, ctx: &Forwarded) -> String {
        let request = session.req_header();
        format!("{} {}, request {}", request.method, request.uri.path(), ctx.request_id)
    }
}

fn response_header(reply: &Reply) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(reply.status, Some(reply.headers.len() + 4))?;
    for (name, value) in &reply.headers {
        header.append_header(name.clone(), value.clone())?;
    }
    Ok(header)
}

fn client_address(session: &Session) -> Option<IpAddr> {
    match session.client_addr()? {
        SocketAddr::Inet(address) => Some(address.ip()),
        SocketAddr::Unix(_) => None,
    }
}
