//! The parts of a request, parsed at the edge: JSON bodies, query strings, path parameters.

use std::time::Duration;

use aegis_core::json;
use aegis_core::principal::Principal;
use axum::body::Body as HttpBody;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use futures::StreamExt as _;
use http::header::{self, HeaderMap};
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::caller::Caller;
use crate::error::{ApiError, Detail, Issues};

/// Bytes of a JSON body at most.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of a value that is shown back in `meta.details[].input`.
const INPUT_SHOWN_MAX: usize = 256;

/// Fields by which a body could name its author: filled from the principal, never believed.
const AUTHOR_FIELDS: [&str; 8] =
    ["created_by", "granted_by", "by", "author", "actor", "requested_by", "owner_id", "tenant_id"];

/// A body's type: what serde cannot say of its fields, it checks itself.
///
/// Derive `Deserialize` with `deny_unknown_fields`.
pub(crate) trait RequestBody: DeserializeOwned {
    /// Author fields that are the object's own property here and reach the type.
    const OWN_FIELDS: &'static [&'static str] = &[];
    /// Whether an absent body counts as `{}`.
    const OPTIONAL: bool = false;

    /// Notes what is wrong.
    fn validate(&self, issues: &mut Issues);
}

/// A JSON body, strictly read and validated.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: RequestBody> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = if T::OPTIONAL && parts.headers.get(header::CONTENT_TYPE).is_none() {
            match read(body, BODY_BYTES_MAX).await? {
                bytes if bytes.is_empty() => b"{}".to_vec(),
                _ => return Err(ApiError::UnsupportedMediaType("application/json")),
            }
        } else {
            expect_json(&parts.headers)?;
            read(body, BODY_BYTES_MAX).await?
        };
        let mut value = json::parse(&bytes).map_err(|e| ApiError::MalformedBody(e.to_string()))?;
        if let Some(caller) = parts.extensions.get::<Caller>() {
            settle_author(&mut value, caller.principal(), T::OWN_FIELDS)?;
        }
        let parsed: T = serde_path_to_error::deserialize(&value).map_err(|e| {
            let path = e.path().to_string();
            ApiError::Validation(vec![explain("body", &path, &e.into_inner().to_string(), Some(&value))])
        })?;
        let mut issues = Issues::default();
        parsed.validate(&mut issues);
        issues.into_result()?;
        Ok(Self(parsed))
    }
}

/// Refuses bodies that are not `application/json`.
fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::UnsupportedMediaType("application/json"))
    }
}

/// Reads a body under a limit of bytes and time.
pub(crate) async fn read(body: HttpBody, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let gather = async {
        let mut bytes = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| ApiError::MalformedBody(format!("it did not arrive whole: {e}")))?;
            if bytes.len() + chunk.len() > limit_bytes {
                return Err(ApiError::PayloadTooLarge { limit_bytes });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIMEOUT, gather).await.unwrap_or(Err(ApiError::RequestTimeout))
}

/// Takes author fields out of the body if they name the principal, and refuses them if they name another.
fn settle_author(value: &mut Value, principal: &Principal, own: &[&str]) -> Result<(), ApiError> {
    let Value::Object(map) = value else { return Ok(()) };
    let (tenant, label) = (principal.tenant_id.to_string(), principal.label());
    let id = label.split_once(':').map(|(_, id)| id).unwrap_or_default();
    let mut problems = Vec::new();
    for field in AUTHOR_FIELDS {
        let Some(given) = map.get(field) else { continue };
        let is_own = own.contains(&field);
        let matches = match (field, given) {
            ("tenant_id", Value::String(text)) => {
                text.eq_ignore_ascii_case(&tenant) || (principal.platform_admin && is_own)
            }
            (_, Value::String(text)) => is_own || *text == label || text.eq_ignore_ascii_case(id),
            (_, Value::Null) => true,
            _ => is_own,
        };
        if !matches {
            problems.push(Detail {
                r#type: "author_mismatch",
                loc: vec!["body".into(), field.into()],
                msg: "is filled from the credential and may not differ from it".into(),
                input: shown(given),
            });
        } else if !is_own {
            map.remove(field);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ApiError::Validation(problems)) }
}

/// A query string.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(q)| Self(q)).map_err(|rejection| {
            let text = match &rejection {
                QueryRejection::FailedToDeserializeQueryString(e) => e.body_text(),
                other => other.body_text(),
            };
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let (path, problem) = text.split_once(": ").unwrap_or(("", text));
            ApiError::Validation(vec![explain("query", path, problem, None)])
        })
    }
}

/// Path parameters.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(e)) => {
                let text = e.body_text();
                let text = text.strip_prefix("Invalid URL: ").unwrap_or(&text).to_owned();
                Err(ApiError::Validation(vec![explain("path", "", &text, None)]))
            }
            Err(other) => Err(ApiError::bug("path parameters", &other)),
        }
    }
}

/// Makes serde's complaint a detail.
fn explain(place: &str, path: &str, problem: &str, body: Option<&Value>) -> Detail {
    let mut loc: Vec<String> = vec![place.to_owned()];
    loc.extend(path.split(['.', '[', ']']).filter(|part| !part.is_empty()).map(str::to_owned));
    let named = problem.split('`').nth(1).unwrap_or_default();
    let kind = if problem.starts_with("missing field") {
        "missing"
    } else if problem.starts_with("unknown field") {
        "extra_forbidden"
    } else if problem.starts_with("invalid type") {
        "type_error"
    } else {
        "value_error"
    };
    if matches!(kind, "missing" | "extra_forbidden") && loc.iter().skip(1).next_back().is_none_or(|last| last != named)
    {
        loc.push(named.to_owned());
    }
    let input = body.and_then(|b| at(b, loc.get(1..).unwrap_or_default())).map_or(Value::Null, shown);
    // What was given to a secret's field is not shown back.
    let is_secret = loc.iter().any(|part| matches!(part.as_str(), "password" | "secret" | "token" | "refresh_token"));
    Detail { r#type: kind, loc, msg: problem.to_owned(), input: if is_secret { Value::Null } else { input } }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        Value::Object(map) => map.get(part),
        _ => None,
    })
}

fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > INPUT_SHOWN_MAX => {
            Value::String(text.chars().take(INPUT_SHOWN_MAX).chain(['…']).collect())
        }
        Value::Array(_) | Value::Object(_) => Value::Null,
        other => other.clone(),
    }
}
