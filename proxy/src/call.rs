//! From a request to a tool call: which headers count, what the body must be, and who is told what if not.

use std::net::IpAddr;

use aegis_core::entropy::Entropy;
use aegis_core::id::{RequestId, SessionId};
use aegis_core::pattern::ToolName;
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_core::tool_call::{CallError, ToolCall};
use aegis_pipeline::facts::{Credential, RequestFacts};
use aegis_pipeline::refusal::{Problem, Refusal};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::idempotency::KEY_MAX;
use crate::trace::Trace;

/// The session cookie of people.
const COOKIE_NAME: &str = "acp_token";
/// The header that proves that a request with the cookie comes from our own pages.
const CSRF_HEADER: &str = "x-csrf-token";
/// What the CSRF token is derived with: the control plane hands it out at login.
const CSRF_CONTEXT: &[u8] = b"aegis-csrf/1\n";
/// Bytes of a header that names something, at most.
const NAME_HEADER_MAX: usize = 256;
/// What API keys begin with.
const API_KEY_PREFIX: &str = aegis_core::principal::API_KEY_PREFIX;

/// Which of the sidecar's own paths a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tool call; the tool's name as the path spells it, if it does.
    Execute(Option<String>),
    /// What is between control plane and sidecars only.
    Internal,
    /// The control plane.
    Forward,
}

impl Target {
    /// Sorts a request by its path.
    pub fn of(path: &str) -> Self {
        let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        match path.strip_prefix("/execute") {
            Some("" | "/") => return Self::Execute(None),
            Some(rest) => {
                if let Some(name) = rest.strip_prefix('/') {
                    return Self::Execute(Some(name.to_owned()));
                }
            }
            None => {}
        }
        if is_internal(path) { Self::Internal } else { Self::Forward }
    }
}

/// Whether any reading of the path leads to `/internal`: encoded, doubled slashes, dots, other case.
fn is_internal(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let twice = percent_encoding::percent_decode_str(&decoded).decode_utf8_lossy().into_owned();
    let mut steps: Vec<&str> = Vec::new();
    for step in twice.split(['/', '\\']) {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            other => steps.push(other),
        }
    }
    let first = steps.iter().find(|step| !step.eq_ignore_ascii_case("v1"));
    first.is_some_and(|step| step.split(';').next().unwrap_or_default().eq_ignore_ascii_case("internal"))
}

/// What a request's header says about a tool call.
#[derive(Debug, Clone)]
pub struct CallHead {
    /// What decisions read.
    pub facts: RequestFacts,
    /// The client's idempotency key, if it is a proper one.
    pub idempotency_key: Result<Option<String>, Refusal>,
    /// Whether the client wants an event stream.
    pub wants_stream: bool,
    /// Whether the answer shall tell the stages.
    pub explain: bool,
    /// The trace it belongs to.
    pub trace: Trace,
}

/// Reads the header. Nothing is refused here: who is refused what is decided in the pipeline's order.
pub fn read_head(
    headers: &HeaderMap,
    query: Option<&str>,
    address: IpAddr,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> CallHead {
    let client_request_id = text(headers, "x-request-id").as_deref().and_then(RequestId::parse);
    let facts = RequestFacts {
        tenant_header: text(headers, "x-tenant-id"),
        agent_header: text(headers, "x-agent-id"),
        credential: credential(headers),
        address,
        request_id: RequestId::generate(now, entropy),
        client_request_id,
        session_id: text(headers, "x-session-id").as_deref().and_then(SessionId::parse),
        approval_id: text(headers, "x-aegis-approval-id").and_then(|t| t.parse().ok()),
    };
    CallHead {
        facts,
        idempotency_key: idempotency_key(headers),
        wants_stream: text(headers, ACCEPT.as_str())
            .is_some_and(|t| t.to_ascii_lowercase().contains("text/event-stream")),
        explain: text(headers, "x-aegis-explain").is_some_and(|t| t == "stages")
            || query.is_some_and(|q| q.split('&').any(|pair| pair == "stages=true")),
        trace: Trace::read(text(headers, "traceparent").as_deref(), text(headers, "x-trace-id").as_deref(), entropy),
    }
}

/// The tool that a path names. A name that cannot be one has no route.
pub fn path_tool(name: Option<&str>) -> Result<Option<ToolName>, Refusal> {
    name.map(|text| ToolName::parse(text).map_err(|_| Refusal::UnknownTool)).transpose()
}

/// Whether the body is declared as JSON.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = text(headers, CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = declared.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json");
    // JSON is UTF-8 (RFC 8259 §8.1); another charset would be another reading.
    let charset_is_utf8 = parts.all(|p| p.strip_prefix("charset=").is_none_or(|c| c.trim_matches('"') == "utf-8"));
    if is_json && charset_is_utf8 { Ok(()) } else { Err(Refusal::UnsupportedMediaType) }
}

/// Reads the body.
pub fn read_body(body: &[u8], tool: Option<ToolName>) -> Result<ToolCall, Refusal> {
    ToolCall::parse(body, tool).map_err(|error| match error {
        CallError::Json(e) => Refusal::MalformedBody { detail: e.to_string() },
        CallError::Shape(problem) => Refusal::MalformedBody { detail: problem.to_owned() },
        CallError::ToolNameRequired => Refusal::ToolNameRequired,
        CallError::Field { field, problem } => {
            let kind = match problem {
                "is required" => "missing",
                "is not a known field" => "extra_forbidden",
                p if p.starts_with("must be a") => "type_error",
                _ => "value_error",
            };
            Refusal::ValidationFailed(vec![Problem { loc: vec!["body".into(), field], kind, msg: problem.to_owned() }])
        }
    })
}

/// A header's text. Repeated, it is joined as HTTP joins it (RFC 9110 §5.2), which no id and no token survives.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let mut joined = String::from_utf8_lossy(first.as_bytes()).trim().to_owned();
    for further in values {
        joined.push_str(", ");
        joined.push_str(&String::from_utf8_lossy(further.as_bytes()));
    }
    Some(joined)
}

fn credential(headers: &HeaderMap) -> Option<Credential> {
    let count = |name: &str| headers.get_all(name).iter().count();
    let (bearers, keys) = (count(AUTHORIZATION.as_str()), count("x-api-key"));
    match (bearers, keys) {
        (0, 0) => cookie_credential(headers),
        (1, 0) => {
            let text = text(headers, AUTHORIZATION.as_str())?;
            let (scheme, token) = text.split_once(' ').unwrap_or((&text, ""));
            // Another scheme is a wrong credential, not an absent one.
            let token = if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" };
            Some(if token.starts_with(API_KEY_PREFIX) {
                Credential::ApiKey(Secret::new(token))
            } else {
                Credential::Token(Secret::new(token))
            })
        }
        (0, 1) => Some(Credential::ApiKey(Secret::new(text(headers, "x-api-key")?))),
        // Two credentials have two readings: none of them counts.
        _ => Some(Credential::Token(Secret::new(""))),
    }
}

/// The session cookie counts only with the CSRF token that belongs to it: a call is a write.
fn cookie_credential(headers: &HeaderMap) -> Option<Credential> {
    let cookies = text(headers, COOKIE.as_str())?;
    let mut found =
        cookies.split([';', ',']).filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
    let token = found.next()?;
    let expected = hex::encode(Sha256::digest([CSRF_CONTEXT, token.as_bytes()].concat()));
    let given = text(headers, CSRF_HEADER).unwrap_or_default();
    let is_ours = bool::from(expected.as_bytes().ct_eq(given.as_bytes())) && found.next().is_none();
    Some(Credential::Token(Secret::new(if is_ours { token } else { "" })))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let long = text(headers, "x-idempotency-key");
    let short = text(headers, "idempotency-key");
    let key = match (long, short) {
        (None, None) => return Ok(None),
        (Some(a), Some(b)) if a != b => return Err(bad_header("X-Idempotency-Key", "differs from Idempotency-Key")),
        (Some(key), _) | (None, Some(key)) => key,
    };
    let is_plain = (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if is_plain {
        Ok(Some(key))
    } else {
        Err(bad_header("X-Idempotency-Key", "must be 1-255 visible ASCII characters"))
    }
}

fn bad_header(name: &str, msg: &str) -> Refusal {
    let loc = vec!["header".to_owned(), name.chars().take(NAME_HEADER_MAX).collect()];
    Refusal::ValidationFailed(vec![Problem { loc, kind: "value_error", msg: msg.to_owned() }])
}

#[cfg(test)]
mod tests;
