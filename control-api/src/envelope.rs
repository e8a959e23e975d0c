//! The envelope `{success, data, error, meta}` that every JSON answer wears, put on in one place.
//!
//! Handlers and errors leave an [`Enveloped`] in the response's extensions; the outermost layer renders it,
//! because only that layer knows the request id and which form the client accepts.

use std::sync::Arc;

use aegis_core::id::RequestId;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{ApiError, Detail};
use crate::etag::ETag;

/// A successful answer with its payload.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    status: StatusCode,
    data: T,
    message: &'static str,
    meta: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl<T> Answer<T> {
    /// 200 with the payload.
    pub(crate) fn ok(data: T) -> Self {
        Self { status: StatusCode::OK, data, message: "OK", meta: Map::new(), headers: Vec::new() }
    }

    /// 201 with what was created.
    pub(crate) fn created(data: T) -> Self {
        Self { status: StatusCode::CREATED, message: "Created", ..Self::ok(data) }
    }

    /// A list's facts: how many there are in all, and where the next page begins.
    pub(crate) fn paged(mut self, total: u64, next_cursor: Option<String>) -> Self {
        self.meta.insert("total".into(), total.into());
        self.meta.insert("next_cursor".into(), next_cursor.into());
        self
    }

    /// Names the state that the answer shows.
    pub(crate) fn etag(mut self, etag: &ETag) -> Self {
        self.headers.push((header::ETAG, etag.header()));
        self
    }

    /// Sets cookies.
    pub(crate) fn cookies(mut self, cookies: Vec<HeaderValue>) -> Self {
        self.headers.extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
        self
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let data = match serde_json::value::to_raw_value(&self.data) {
            Ok(data) => Arc::from(data),
            Err(fault) => return ApiError::bug("an answer did not serialise", &fault).into_response(),
        };
        let enveloped = Enveloped {
            status: self.status,
            data: Some(data),
            error: None,
            message: self.message.into(),
            meta: self.meta,
            details: Vec::new(),
        };
        let mut response = enveloped.into_response();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// A JSON answer without envelope: what sidecars read.
#[derive(Debug)]
pub(crate) struct Bare<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Bare<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// An answer before it is rendered.
#[derive(Debug, Clone)]
pub(crate) struct Enveloped {
    /// The status.
    pub(crate) status: StatusCode,
    /// The payload, or the facts of a refusal.
    pub(crate) data: Option<Arc<RawValue>>,
    /// The stable identifier of a refusal; absent on success.
    pub(crate) error: Option<&'static str>,
    /// Prose.
    pub(crate) message: String,
    /// More of `meta`.
    pub(crate) meta: Map<String, Value>,
    /// What is wrong with the request, field by field.
    pub(crate) details: Vec<Detail>,
}

impl IntoResponse for Enveloped {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Serialize)]
struct EnvelopeView<'a> {
    success: bool,
    data: Option<&'a RawValue>,
    error: Option<&'a str>,
    meta: MetaView<'a>,
}

#[derive(Serialize)]
struct MetaView<'a> {
    code: u16,
    message: &'a str,
    request_id: &'a RequestId,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [Detail],
}

/// RFC 9457.
#[derive(Serialize)]
struct ProblemView<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    error: &'a str,
    request_id: &'a RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [Detail],
}

/// Gives an answer its body: the envelope, or problem details if it is a refusal and the client prefers them.
/// Answers that carry no [`Enveloped`] pass unchanged.
pub(crate) fn render(mut response: Response, request_id: &RequestId, accept: Option<&HeaderValue>) -> Response {
    let Some(enveloped) = response.extensions_mut().remove::<Enveloped>() else { return response };
    let (kind, body) = match enveloped.error {
        Some(error) if wants_problem(accept) => ("application/problem+json", problem(&enveloped, error, request_id)),
        _ => ("application/json", envelope(&enveloped, request_id)),
    };
    let mut headers: HeaderMap = std::mem::take(response.headers_mut());
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let mut rendered = Response::new(axum::body::Body::from(body));
    *rendered.status_mut() = enveloped.status;
    *rendered.headers_mut() = headers;
    *rendered.extensions_mut() = std::mem::take(response.extensions_mut());
    rendered
}

fn wants_problem(accept: Option<&HeaderValue>) -> bool {
    accept.and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("application/problem+json"))
}

fn envelope(enveloped: &Enveloped, request_id: &RequestId) -> Vec<u8> {
    let view = EnvelopeView {
        success: enveloped.error.is_none(),
        data: enveloped.data.as_deref(),
        error: enveloped.error,
        meta: MetaView {
            code: enveloped.status.as_u16(),
            message: &enveloped.message,
            request_id,
            more: &enveloped.meta,
            details: &enveloped.details,
        },
    };
    serde_json::to_vec(&view).unwrap_or_default()
}

fn problem(enveloped: &Enveloped, error: &str, request_id: &RequestId) -> Vec<u8> {
    let view = ProblemView {
        r#type: format!("urn:aegis:error:{error}"),
        title: enveloped.status.canonical_reason().unwrap_or_default(),
        status: enveloped.status.as_u16(),
        detail: &enveloped.message,
        error,
        request_id,
        data: enveloped.data.as_deref(),
        details: &enveloped.details,
    };
    serde_json::to_vec(&view).unwrap_or_default()
}
