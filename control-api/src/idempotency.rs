//! `X-Idempotency-Key`: a management write that is sent twice happens once, and both times answers the same.
//!
//! One layer for every authenticated write, inside the gate, so a key belongs to its principal. What a key means and
//! how it outlives crashes is the store's part (`aegis_store::idempotency`).

use std::sync::Arc;

use aegis_store::StoreError;
use aegis_store::idempotency::{self, Begun, Claim, Place, within};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use crate::caller::Caller;
use crate::envelope::Enveloped;
use crate::error::{ApiError, Issues};
use crate::extract::{BODY_BYTES_MAX, read};
use crate::state::{App, AppState};

/// The header that names the key.
pub(crate) const KEY_HEADER: &str = "x-idempotency-key";
/// Says that an answer is not the first of its key.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("x-idempotent-replayed");
/// Characters of a key.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 1..=128;

/// The layer.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Result<Response, ApiError> {
    let Some(key) = key(request.headers())? else { return Ok(next.run(request).await) };
    let (parts, body) = request.into_parts();
    let caller = parts.extensions.get::<Caller>().ok_or_else(|| ApiError::bug("idempotency", &"no caller"))?;
    let place = Place { tenant: caller.tenant_id(), principal: caller.label(), key };
    let body = read(body, BODY_BYTES_MAX).await?;
    match idempotency::begin(&app.store, place, &digest(&parts, &body)).await? {
        Begun::Run(claim) => {
            let request = Request::from_parts(parts, Body::from(body));
            // A client that goes away must not leave the key between two states: the work goes on without it.
            let work = run(app, claim, request, next).in_current_span();
            tokio::spawn(work).await.map_err(|e| ApiError::bug("idempotency", &e))?
        }
        Begun::Done(answer) => replay(&answer),
        Begun::AnswerLost => Err(ApiError::conflict(
            "idempotency_answer_lost",
            "this request was carried out before, but its answer was not kept; look at what it was to change",
        )),
        Begun::Running => Err(ApiError::conflict("idempotency_in_progress", "a request with this key is under way")),
        Begun::OtherRequest => Err(ApiError::Unprocessable {
            error: "idempotency_key_reused",
            message: "this key was used for another request".into(),
            data: Value::Null,
        }),
        Begun::TooMany => Err(ApiError::conflict("too_many_idempotency_keys", "too many keys within 24 hours")),
    }
}

async fn run(app: App, claim: Arc<Claim>, request: Request, next: Next) -> Result<Response, ApiError> {
    let response = within(Arc::clone(&claim), next.run(request)).await;
    let outcome = Outcome::of(&response);
    if let Err(fault) = keep(&app, &claim, outcome).await {
        // The mark says whether the work happened; only the answer is not kept.
        tracing::warn!(%fault, "an idempotent answer could not be kept");
    }
    Ok(response)
}

/// What is to be kept of an answer.
enum Outcome {
    Success(Option<Vec<u8>>),
    Refusal,
}

impl Outcome {
    fn of(response: &Response) -> Self {
        if !response.status().is_success() {
            return Self::Refusal;
        }
        let kept = response.extensions().get::<Enveloped>().and_then(|enveloped| Kept::of(response, enveloped));
        Self::Success(kept.and_then(|kept| serde_json::to_vec(&kept).ok()))
    }
}

/// Successes are kept. A refusal that changed nothing frees its key: the client may mend the request and try again.
async fn keep(app: &AppState, claim: &Claim, outcome: Outcome) -> Result<(), StoreError> {
    match outcome {
        Outcome::Success(answer) => idempotency::finish(&app.store, claim, answer.as_deref()).await,
        Outcome::Refusal if claim.is_committed() => idempotency::finish(&app.store, claim, None).await,
        Outcome::Refusal => idempotency::release(&app.store, claim).await,
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(KEY_HEADER).iter();
    let text = match (given.next(), given.next()) {
        (None, _) => return Ok(None),
        (Some(one), None) => one.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => "",
    };
    if KEY_LENGTH.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Some(text.to_owned()));
    }
    let mut issues = Issues::default();
    issues.note("value_error", &["header", "X-Idempotency-Key"], "must be one of 1-128 visible ASCII characters");
    Err(issues.into_result().err().unwrap_or(ApiError::RouteNotFound))
}

/// What makes two requests the same: method, path under either mount, query, precondition and body.
fn digest(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let path = parts.uri.path();
    let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let precondition = parts.headers.get(http::header::IF_MATCH).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [
        parts.method.as_str().as_bytes(),
        path.as_bytes(),
        parts.uri.query().unwrap_or_default().as_bytes(),
        precondition,
        body,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    data: Option<Box<RawValue>>,
    message: String,
    meta: Map<String, Value>,
    headers: Vec<(String, String)>,
}

impl Kept {
    fn of(response: &Response, enveloped: &Enveloped) -> Option<Self> {
        let headers = response.headers().iter().map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        Some(Self {
            status: enveloped.status.as_u16(),
            data: enveloped.data.as_ref().map(|data| RawValue::to_owned(data)),
            message: enveloped.message.clone(),
            meta: enveloped.meta.clone(),
            headers: headers.collect::<Option<_>>()?,
        })
    }
}

fn replay(answer: &[u8]) -> Result<Response, ApiError> {
    let kept: Kept = serde_json::from_slice(answer).map_err(|e| ApiError::bug("kept answer", &e))?;
    let status = StatusCode::from_u16(kept.status).map_err(|e| ApiError::bug("kept answer", &e))?;
    let enveloped = Enveloped {
        status,
        data: kept.data.map(Arc::from),
        error: None,
        message: kept.message,
        meta: kept.meta,
        details: Vec::new(),
    };
    let mut response = enveloped.into_response();
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    Ok(response)
}

/// Whether requests of this method may carry a key.
pub(crate) fn applies(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
