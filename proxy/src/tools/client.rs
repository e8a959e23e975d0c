//! One call of a tool over HTTP: what it is sent, and how its answer is read under limits.

use std::future::Future;

use aegis_core::id::{ExecutionId, RequestId};
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::answer::{ToolAnswer, ToolFailure};
use super::decode::{Body, BodyError, Encoding};
use super::registry::Tool;
use super::routes::Base;

/// Characters of a tool's content type that are passed on at most.
const CONTENT_TYPE_MAX: usize = 256;
/// The host that is named to a tool behind a unix socket.
const UNIX_HOST: &str = "http://localhost";
/// `text/event-stream`
const EVENT_STREAM: &str = "text/event-stream";

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EXECUTION_ID: HeaderName = HeaderName::from_static("x-aegis-execution-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a tool gets. Nothing else of the client's request reaches it.
#[derive(Debug, Clone)]
pub struct ToolRequest {
    /// The path, filled in.
    pub path: String,
    /// The canonical payload that was judged.
    pub body: Bytes,
    /// The call.
    pub execution_id: ExecutionId,
    /// The request.
    pub request_id: RequestId,
    /// The trace, as a W3C `traceparent`.
    pub traceparent: String,
    /// The client's idempotency key.
    pub idempotency_key: Option<String>,
    /// Whether the client wants an event stream.
    pub wants_stream: bool,
}

/// An answer whose header has come.
pub struct Opened {
    /// Its status, at most 499.
    pub status: u16,
    /// Its content type.
    pub content_type: Option<String>,
    /// What follows.
    pub body: Body,
}

impl Opened {
    /// Whether it is an event stream.
    pub fn is_stream(&self) -> bool {
        let kind = self.content_type.as_deref().and_then(|t| t.split(';').next()).unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(EVENT_STREAM)
    }
}

/// Sends the request and waits for the answer's header, until `deadline`.
pub async fn open(tool: &Tool, request: &ToolRequest, deadline: Instant) -> Result<Opened, ToolFailure> {
    let response = within(deadline, None, async { send(tool, request).await }).await?;
    let status = response.status().as_u16();
    if status >= 500 {
        return Err(ToolFailure::ServerError { status });
    }
    // Redirects are answers: they are passed on by status and never followed.
    let withheld = |why| ToolFailure::Withheld { status, why };
    let encoding = Encoding::of(response.headers()).map_err(|_| withheld("unknown content encoding"))?;
    let content_type = content_type(response.headers());
    let stream = Box::pin(response.bytes_stream());
    let body = within(deadline, Some(status), async {
        Body::new(stream, encoding, tool.route.response_bytes).await.map_err(|e| body_failure(status, &e))
    })
    .await?;
    Ok(Opened { status, content_type, body })
}

/// Reads the rest of an answer, until `deadline`.
pub async fn read(opened: Opened, deadline: Instant) -> Result<ToolAnswer, ToolFailure> {
    let Opened { status, content_type, body } = opened;
    let body =
        within(deadline, Some(status), async { body.read_all().await.map_err(|e| body_failure(status, &e)) }).await?;
    Ok(ToolAnswer { status, content_type, body })
}

/// What a failure to read a body means.
pub fn body_failure(status: u16, error: &BodyError) -> ToolFailure {
    match error {
        BodyError::Broken(_) => ToolFailure::Withheld { status, why: "the body broke off or does not decode" },
        BodyError::TooLong => ToolFailure::Withheld { status, why: "the body is longer than allowed" },
    }
}

async fn within<T>(
    deadline: Instant,
    status: Option<u16>,
    work: impl Future<Output = Result<T, ToolFailure>>,
) -> Result<T, ToolFailure> {
    tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(ToolFailure::Timeout { status }))
}

async fn send(tool: &Tool, request: &ToolRequest) -> Result<reqwest::Response, ToolFailure> {
    let host = match &tool.route.base {
        Base::Url(url) => url.as_str(),
        Base::Unix(_) => UNIX_HOST,
    };
    let url = [host, &request.path].concat();
    let headers = headers(tool, request).map_err(|_| ToolFailure::Unreachable)?;
    let sent = tool.client.request(tool.route.method.clone(), url).headers(headers).body(request.body.clone()).send();
    sent.await.map_err(|error| {
        let connected = !error.is_connect();
        tracing::debug!(tool = tool.label(), connected, error = %error.without_url(), "the tool's call failed");
        if connected { ToolFailure::NoAnswer } else { ToolFailure::Unreachable }
    })
}

fn headers(tool: &Tool, request: &ToolRequest) -> Result<HeaderMap, http::header::InvalidHeaderValue> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = if request.wants_stream { EVENT_STREAM } else { "application/json, */*;q=0.5" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(TRACEPARENT, HeaderValue::from_str(&request.traceparent)?);
    headers.insert(REQUEST_ID, HeaderValue::from_str(request.request_id.as_str())?);
    headers.insert(EXECUTION_ID, HeaderValue::from_str(&request.execution_id.to_string())?);
    if let Some(key) = &request.idempotency_key {
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(key)?);
    }
    if let Some(credential) = &tool.route.credential {
        let mut value = HeaderValue::from_str(credential.value.expose())?;
        value.set_sensitive(true);
        headers.insert(credential.header.clone(), value);
    }
    Ok(headers)
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    (text.len() <= CONTENT_TYPE_MAX).then(|| text.to_owned())
}
