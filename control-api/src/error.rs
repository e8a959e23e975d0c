//! Every way a management request fails, and the one mapping to HTTP.
//!
//! Refusals tell the client what to change; faults and bugs tell it only that, and the log the rest.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::time::Timestamp;
use aegis_store::StoreError;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::access::Level;
use crate::envelope::Enveloped;

/// One problem of a request: where, what kind, what is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Detail {
    /// The kind: `missing`, `extra_forbidden`, `type_error`, `value_error`, `author_mismatch`.
    pub(crate) r#type: &'static str,
    /// Where: `body`, `query`, `path` or `header`, then the field.
    pub(crate) loc: Vec<String>,
    /// What is wrong.
    pub(crate) msg: String,
    /// What was given; absent for secrets and missing fields.
    pub(crate) input: Value,
}

/// Problems of one request, collected so that the client learns of all at once.
#[derive(Debug, Default)]
pub(crate) struct Issues(Vec<Detail>);

impl Issues {
    /// Notes a problem of a body's field unless `holds`.
    pub(crate) fn check(&mut self, holds: bool, field: &str, msg: impl Into<String>) {
        if !holds {
            self.note("value_error", &["body", field], msg);
        }
    }

    /// Notes a problem.
    pub(crate) fn note(&mut self, kind: &'static str, loc: &[&str], msg: impl Into<String>) {
        let loc = loc.iter().map(|part| (*part).to_owned()).collect();
        self.0.push(Detail { r#type: kind, loc, msg: msg.into(), input: Value::Null });
    }

    /// The refusal, when something was noted for certain.
    pub(crate) fn into_error(self) -> ApiError {
        ApiError::Validation(self.0)
    }

    /// The refusal, if anything was noted.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.0)) }
    }
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No credential, or one that is expired, forged or revoked: one text for all.
    #[error("the credential is missing or not valid")]
    InvalidToken,
    /// Wrong e-mail, password, agent or secret: one text for all.
    #[error("the credentials are not valid")]
    InvalidCredentials,
    /// The password was right; the account has a second factor.
    #[error("a code of the second factor is required")]
    TotpRequired,
    /// The password was right; the tenant enforces second factors and the account has none yet.
    #[error("the tenant enforces second factors: set one up, then log in with a code of it")]
    TotpEnrolmentRequired {
        /// A fresh enrolment.
        data: Value,
    },
    /// Too many attempts, or too many requests.
    #[error("too many requests")]
    RateLimited {
        /// Which limit.
        limit_type: &'static str,
        /// Seconds until it is worth trying again, 1 at least.
        retry_after_s: u64,
        /// When that is.
        reset_at: Timestamp,
    },
    /// No `X-Tenant-ID`.
    #[error("the header X-Tenant-ID is required")]
    TenantHeaderRequired,
    /// `X-Tenant-ID` is not a UUID.
    #[error("the header X-Tenant-ID is not a UUID")]
    InvalidTenantId,
    /// The tenant is not the principal's.
    #[error("the credential belongs to another tenant")]
    TenantMismatch,
    /// The tenant is suspended.
    #[error("the tenant is suspended")]
    TenantSuspended,
    /// `X-Agent-ID` is not a UUID.
    #[error("the header X-Agent-ID is not a UUID")]
    InvalidAgentId,
    /// `X-Agent-ID` names another agent than the principal.
    #[error("the credential belongs to another agent")]
    AgentMismatch,
    /// A write by cookie without its CSRF header.
    #[error("writes by cookie need the header X-CSRF-Token with the value of the cookie acp_csrf")]
    CsrfRequired,
    /// The role does not reach the operation's level.
    #[error("this operation is for {}", .0.audience())]
    Forbidden(Level),
    /// There is no such thing in the tenant.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// There is no such path.
    #[error("there is no such path")]
    RouteNotFound,
    /// The path does not know the method.
    #[error("the path does not know this method")]
    MethodNotAllowed,
    /// The state of things does not allow it.
    #[error("{message}")]
    Conflict {
        /// The stable identifier.
        error: &'static str,
        /// Prose.
        message: Cow<'static, str>,
        /// Facts, `null` if none.
        data: Value,
    },
    /// The body is not JSON with one reading.
    #[error("the body is not valid JSON: {0}")]
    MalformedBody(String),
    /// Fields are wrong.
    #[error("the request is not valid")]
    Validation(Vec<Detail>),
    /// The fields are right, but what they say cannot be accepted.
    #[error("{message}")]
    Unprocessable {
        /// The stable identifier.
        error: &'static str,
        /// Prose.
        message: Cow<'static, str>,
        /// Facts.
        data: Value,
    },
    /// The object is no longer as `If-Match` says.
    #[error("the object was changed meanwhile: read it again")]
    PreconditionFailed,
    /// The body is not `application/json`.
    #[error("the body must be {0}")]
    UnsupportedMediaType(&'static str),
    /// The body is longer than allowed.
    #[error("the body may have {limit_bytes} bytes at most")]
    PayloadTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    RequestTimeout,
    /// Tool calls are served by sidecars.
    #[error("tool calls are served by a sidecar")]
    UseSidecar {
        /// Their addresses.
        sidecars: Vec<String>,
    },
    /// Something needed is away for the moment.
    #[error("temporarily unavailable")]
    Unavailable {
        /// What, for the log.
        cause: String,
    },
    /// The database is at fault.
    #[error("internal error")]
    Store(#[source] StoreError),
    /// A bug; the text is for the log only.
    #[error("internal error")]
    Internal {
        /// What happened.
        cause: String,
    },
}

impl ApiError {
    /// A bug with what was being done and the fault.
    pub(crate) fn bug(doing: &str, fault: &dyn std::fmt::Display) -> Self {
        Self::Internal { cause: format!("{doing}: {fault}") }
    }

    /// A limit was reached; `wait` until it is worth trying again.
    pub(crate) fn rate_limited(limit_type: &'static str, now: Timestamp, wait: Duration) -> Self {
        let retry_after_s = wait.as_micros().div_ceil(1_000_000).max(1).try_into().unwrap_or(u64::MAX);
        Self::RateLimited { limit_type, retry_after_s, reset_at: now.plus(wait) }
    }

    /// A conflict without facts.
    pub(crate) fn conflict(error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Conflict { error, message: message.into(), data: Value::Null }
    }

    /// One wrong field of the body.
    pub(crate) fn invalid(field: &str, msg: impl Into<String>) -> Self {
        let mut issues = Issues::default();
        issues.note("value_error", &["body", field], msg);
        Self::Validation(issues.0)
    }

    /// Status and stable identifier.
    pub(crate) fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::InvalidCredentials => (StatusCode::UNAUTHORIZED, "invalid_credentials"),
            Self::TotpRequired => (StatusCode::UNAUTHORIZED, "totp_required"),
            Self::TotpEnrolmentRequired { .. } => (StatusCode::FORBIDDEN, "totp_enrolment_required"),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::TenantHeaderRequired => (StatusCode::BAD_REQUEST, "tenant_header_required"),
            Self::InvalidTenantId => (StatusCode::BAD_REQUEST, "invalid_tenant_id"),
            Self::TenantMismatch => (StatusCode::FORBIDDEN, "tenant_mismatch"),
            Self::TenantSuspended => (StatusCode::FORBIDDEN, "tenant_suspended"),
            Self::InvalidAgentId => (StatusCode::BAD_REQUEST, "invalid_agent_id"),
            Self::AgentMismatch => (StatusCode::FORBIDDEN, "agent_mismatch"),
            Self::CsrfRequired => (StatusCode::FORBIDDEN, "csrf_token_required"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "insufficient_role"),
            Self::NotFound(_) | Self::RouteNotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Conflict { error, .. } => (StatusCode::CONFLICT, error),
            Self::MalformedBody(_) => (StatusCode::BAD_REQUEST, "malformed_body"),
            Self::Validation(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_failed"),
            Self::Unprocessable { error, .. } => (StatusCode::UNPROCESSABLE_ENTITY, error),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::UseSidecar { .. } => (StatusCode::MISDIRECTED_REQUEST, "use_sidecar"),
            Self::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Internal { .. } | Self::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        }
    }

    fn data(&self) -> Value {
        match self {
            Self::RateLimited { limit_type, reset_at, .. } => json!({ "limit_type": limit_type, "reset_at": reset_at }),
            Self::PayloadTooLarge { limit_bytes } => json!({ "limit_bytes": limit_bytes }),
            Self::UseSidecar { sidecars } => json!({ "sidecars": sidecars }),
            Self::Conflict { data, .. } | Self::Unprocessable { data, .. } | Self::TotpEnrolmentRequired { data } => {
                data.clone()
            }
            Self::Forbidden(level) => json!({ "requires": level.as_str() }),
            Self::InvalidToken
            | Self::InvalidCredentials
            | Self::TotpRequired
            | Self::TenantHeaderRequired
            | Self::InvalidTenantId
            | Self::TenantMismatch
            | Self::TenantSuspended
            | Self::InvalidAgentId
            | Self::AgentMismatch
            | Self::CsrfRequired
            | Self::NotFound(_)
            | Self::RouteNotFound
            | Self::MethodNotAllowed
            | Self::MalformedBody(_)
            | Self::Validation(_)
            | Self::PreconditionFailed
            | Self::UnsupportedMediaType(_)
            | Self::RequestTimeout
            | Self::Unavailable { .. }
            | Self::Store(_)
            | Self::Internal { .. } => Value::Null,
        }
    }

    fn headers(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::RateLimited { retry_after_s, .. } => Some((header::RETRY_AFTER, (*retry_after_s).max(1).into())),
            Self::Unavailable { .. } => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::InvalidToken => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            _ => None,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::NotFound(what),
            StoreError::Conflict { what, reason } => {
                Self::conflict(reason, format!("{what}: {}", reason.replace('_', " ")))
            }
            StoreError::Invalid { what, reason } => Self::invalid(what, reason.replace('_', " ")),
            StoreError::Unavailable(cause) => Self::Unavailable { cause: format!("database: {cause}") },
            fault @ (StoreError::Database(_)
            | StoreError::Migration(_)
            | StoreError::Corrupt(_)
            | StoreError::Entry(_)
            | StoreError::KeyFile { .. }
            | StoreError::Record { .. }
            | StoreError::Url(_)) => Self::Store(fault),
        }
    }
}

/// Stands beside an answer that the database spoiled, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatabaseFault;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error) = self.kind();
        match &self {
            Self::Internal { cause } => tracing::error!(error, cause, "a request failed by our fault"),
            Self::Store(fault) => tracing::error!(error, %fault, "a request failed by the database"),
            Self::Unavailable { cause } => tracing::warn!(error, cause, "a request could not be served"),
            _ => tracing::debug!(error, "a request was refused"),
        }
        let data = match self.data() {
            Value::Null => None,
            facts => serde_json::value::to_raw_value(&facts).ok().map(Arc::from),
        };
        let (message, header) = (self.to_string(), self.headers());
        let is_database = matches!(self, Self::Store(_) | Self::Unavailable { .. });
        let details = if let Self::Validation(details) = self { details } else { Vec::new() };
        let enveloped = Enveloped { status, data, error: Some(error), message, meta: Map::new(), details };
        let mut response = enveloped.into_response();
        response.headers_mut().extend(header);
        if is_database {
            response.extensions_mut().insert(DatabaseFault);
        }
        response
    }
}
