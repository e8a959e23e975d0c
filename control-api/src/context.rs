//! What surrounds every request: its ids, the client's address, its log line, its metrics, its rendered answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;

use aegis_core::entropy;
use aegis_core::id::{RequestId, SourceId};
use aegis_core::sidecar::{FORWARD_SKEW_MAX_S, FORWARDED_BY, forward_statement};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::envelope;
use crate::error::{ApiError, DatabaseFault};
use crate::state::App;

const REQUEST_ID: &str = "x-request-id";
const TRACE_ID: &str = "x-trace-id";
const TRACEPARENT: &str = "traceparent";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The facts of a request that handlers, rows and logs share.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    /// Made by us, or the client's own.
    pub(crate) request_id: RequestId,
    /// The client's address: the connection's, or what a trusted proxy says.
    pub(crate) client: IpAddr,
    /// W3C trace id, 32 hex digits.
    pub(crate) trace_id: String,
}

/// The outermost layer.
pub(crate) async fn surround(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = app.clock.monotonic();
    let (context, remote) = context(&app, &request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", |p| template(p.as_str())).to_owned();
    let accept = request.headers().get(header::ACCEPT).cloned();
    let span =
        tracing::info_span!("request", %method, route, request_id = %context.request_id, trace_id = context.trace_id);
    if let Some(remote) = remote {
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
    }
    request.extensions_mut().insert(context.clone());

    let served = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let response = served.unwrap_or_else(|_| ApiError::bug("handler", &"it panicked").into_response());
    let mut response = envelope::render(response, &context.request_id, accept.as_ref());

    if response.extensions().get::<DatabaseFault>().is_some() {
        app.metrics.database_errors.inc();
    }
    let headers = response.headers_mut();
    insert(headers, REQUEST_ID, context.request_id.as_str());
    insert(headers, TRACE_ID, &context.trace_id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let took = app.clock.monotonic().since(started);
    app.metrics.request(&method, &route, response.status(), took);
    let _entered = span.enter();
    tracing::info!(status = response.status().as_u16(), took_us = took.as_micros(), "served");
    response
}

/// The route's template without the version prefix: both mounts are one route.
fn template(matched: &str) -> &str {
    matched.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(matched)
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn context(app: &App, request: &Request) -> (RequestContext, Option<SpanContext>) {
    let headers = request.headers();
    let request_id = text(headers, REQUEST_ID)
        .and_then(RequestId::parse)
        .unwrap_or_else(|| RequestId::generate(app.clock.now(), &*app.entropy));
    let remote = text(headers, TRACEPARENT).and_then(parse_traceparent);
    let trace_id = remote.as_ref().map(|remote| remote.trace_id().to_string()).or_else(|| {
        text(headers, TRACE_ID)
            .filter(|t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_hexdigit()))
            .map(str::to_lowercase)
    });
    let trace_id = trace_id.unwrap_or_else(|| hex::encode(entropy::random::<16>(&*app.entropy)));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip().to_canonical());
    let client = forwarded_for(headers).filter(|client| {
        app.trusts_proxy(peer) || text(headers, FORWARDED_BY).is_some_and(|p| proves(app, p, *client, &request_id))
    });
    let client = client.unwrap_or(peer);
    (RequestContext { request_id, client, trace_id }, remote)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Whether a sidecar that is connected says that a request with this id came through it from this address.
fn proves(app: &App, proof: &str, client: IpAddr, request_id: &RequestId) -> bool {
    let mut parts = proof.split(' ');
    let (Some(source), Some(at), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(source), Ok(at)) = (source.parse::<SourceId>(), at.parse::<i64>()) else { return false };
    let is_recent = app.clock.now().as_seconds().abs_diff(at) <= FORWARD_SKEW_MAX_S;
    let statement = forward_statement(source, at, client, request_id.as_str());
    is_recent && app.sidecar_keys.get(&source).is_some_and(|key| key.verify(&statement, signature).is_ok())
}

/// The last address of the list: what the trusted proxy itself saw.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    text(headers, FORWARDED_FOR)?.rsplit(',').next()?.trim().parse().ok()
}

/// `00-<trace id>-<span id>-<flags>` (W3C Trace Context).
fn parse_traceparent(value: &str) -> Option<SpanContext> {
    let mut parts = value.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_read_strictly() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse_traceparent(good).unwrap().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert!(parse_traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn both_mounts_share_one_template() {
        assert_eq!(template("/v1/agents/{id}"), "/agents/{id}");
        assert_eq!(template("/agents/{id}"), "/agents/{id}");
        assert_eq!(template("/v1x"), "/v1x");
    }
}
