//! Enrolment by join token, and renewal by the identity key.

use std::time::Duration;

use aegis_core::principal::CLOCK_SKEW_MAX_S;
use aegis_core::sidecar::{ENROLL_CONTEXT, EnrollRequest, RENEW_CONTEXT, RenewRequest, SidecarCredential};
use aegis_ledger::signing::PublicKey;
use aegis_store::StoreError;
use aegis_store::source::{self, NewSidecar, SourceKind, SourceStatus};
use axum::Extension;
use axum::extract::State;
use http::HeaderMap;

use super::credential;
use crate::context::RequestContext;
use crate::credential::Presented;
use crate::envelope::Bare;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::state::App;
use crate::throttle::network;

/// Characters of a sidecar's name at most.
const NAME_MAX: usize = 64;
/// Characters of a binary's version at most.
pub(super) const VERSION_MAX: usize = 64;

impl RequestBody for EnrollRequest {
    fn validate(&self, issues: &mut Issues) {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let named = (1..=NAME_MAX).contains(&self.name.len()) && self.name.bytes().all(is_word);
        issues.check(named, "name", "must be 1-64 characters of [A-Za-z0-9._-]");
        issues.check(PublicKey::parse(&self.identity_key).is_ok(), "identity_key", "is not an Ed25519 public key");
        issues.check(self.version.len() <= VERSION_MAX, "version", "is too long");
    }
}

impl RequestBody for RenewRequest {
    fn validate(&self, _: &mut Issues) {}
}

/// `POST /internal/sidecar/enroll`. The proof shows that the sender holds the key it enrols.
pub(super) async fn enroll(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Body(request): Body<EnrollRequest>,
) -> Result<Bare<SidecarCredential>, ApiError> {
    let join = Presented::find(&headers, None)?.into_text();
    let refused = || refuse(&app, &context);
    let identity = PublicKey::parse(&request.identity_key).map_err(|_| refused())?;
    let digest = join.digest();
    let statement = format!("{ENROLL_CONTEXT}{}", hex::encode(digest));
    identity.verify(statement.as_bytes(), &request.proof).map_err(|_| refused())?;
    let new = NewSidecar { name: request.name, identity, version: request.version };
    let source = source::enrol(&app.store, &digest, &new).await.map_err(|error| match error {
        StoreError::NotFound(_) => refused(),
        other => other.into(),
    })?;
    tracing::info!(source = %source.id, name = source.name, "a sidecar is enrolled");
    credential::issue(&app, source.id).await.map(Bare)
}

/// `POST /internal/sidecar/renew`.
pub(super) async fn renew(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Body(request): Body<RenewRequest>,
) -> Result<Bare<SidecarCredential>, ApiError> {
    let refused = || refuse(&app, &context);
    let now = app.clock.now();
    let skew = now.since(request.issued_at).max(request.issued_at.since(now));
    if skew > Duration::from_secs(CLOCK_SKEW_MAX_S.unsigned_abs()) {
        return Err(refused());
    }
    let source = source::get(&mut *app.store.read_platform().await?, request.source).await?.ok_or_else(refused)?;
    let statement = format!("{RENEW_CONTEXT}{}\n{}", request.source, request.issued_at);
    source.identity.verify(statement.as_bytes(), &request.proof).map_err(|_| refused())?;
    match (source.kind, source.status) {
        (SourceKind::Sidecar, SourceStatus::Active) => credential::issue(&app, source.id).await.map(Bare),
        (SourceKind::Control, _) | (SourceKind::Sidecar, SourceStatus::Revoked) => Err(refused()),
    }
}

/// One text for every reason; an address that guesses must wait.
fn refuse(app: &App, context: &RequestContext) -> ApiError {
    app.metrics.credentials_refused.with_label_values(&["enrolment"]).inc();
    let now = app.clock.now();
    match app.wrong_credentials.fail(&network(context.client), now) {
        Ok(()) => ApiError::InvalidToken,
        Err(wait) => ApiError::rate_limited("ip_auth_failures", now, wait),
    }
}
