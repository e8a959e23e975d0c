//! Credentials: where a request carries one, and the one function that makes a principal of it.

use std::net::IpAddr;

use aegis_core::id::TenantId;
use aegis_core::principal::{API_KEY_PREFIX, Claims, Principal, Role, Subject, TokenType};
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_pipeline::credential::{CredentialError, api_key_digest, api_key_principal, is_revoked, principal_of};
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;
use crate::state::App;
use crate::throttle::network;

/// The cookie that carries the access token.
pub(crate) const TOKEN_COOKIE: &str = "acp_token";
/// The cookie that carries the refresh token.
pub(crate) const REFRESH_COOKIE: &str = "acp_refresh";
/// The cookie from which our own page reads the CSRF token.
pub(crate) const CSRF_COOKIE: &str = "acp_csrf";
/// The header that proves that a write by cookie comes from our own page.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";
/// Bytes a credential may have at most.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// A credential as it came with a request.
#[derive(Debug)]
pub(crate) struct Presented {
    text: Secret,
    by_cookie: bool,
}

impl Presented {
    /// Finds the credential: the `Authorization` header, else the cookie, else `token` or `access_token` of the query
    /// where the operation allows it.
    pub(crate) fn find(headers: &HeaderMap, query: Option<&str>) -> Result<Self, ApiError> {
        let mut authorization = headers.get_all(AUTHORIZATION).iter();
        match (authorization.next(), authorization.next()) {
            (Some(value), None) => {
                let value = value.to_str().map_err(|_| ApiError::InvalidToken)?;
                let (scheme, token) = value.split_once(' ').ok_or(ApiError::InvalidToken)?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(ApiError::InvalidToken);
                }
                return Self::of(token.trim(), false);
            }
            // Two credentials have two readings.
            (Some(_), Some(_)) => return Err(ApiError::InvalidToken),
            (None, _) => {}
        }
        if let Some(token) = cookie(headers, TOKEN_COOKIE) {
            return Self::of(token, true);
        }
        let from_query = query.and_then(|query| {
            query.split('&').find_map(|pair| pair.strip_prefix("token=").or_else(|| pair.strip_prefix("access_token=")))
        });
        // Tokens are base64url and dots: nothing in them is percent-encoded.
        from_query.map_or(Err(ApiError::InvalidToken), |token| Self::of(token, false))
    }

    fn of(token: &str, by_cookie: bool) -> Result<Self, ApiError> {
        if token.is_empty() || token.len() > CREDENTIAL_BYTES_MAX {
            return Err(ApiError::InvalidToken);
        }
        Ok(Self { text: Secret::new(token), by_cookie })
    }

    /// The text itself, for credentials that are no tokens of ours.
    pub(crate) fn into_text(self) -> Secret {
        self.text
    }

    /// Refuses a write by cookie without the header that only our own page can send.
    pub(crate) fn check_csrf(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.by_cookie {
            return Ok(());
        }
        let given = headers.get(CSRF_HEADER).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if bool::from(given.ct_eq(csrf_token(&self.text).as_bytes())) { Ok(()) } else { Err(ApiError::CsrfRequired) }
    }
}

/// The CSRF token that belongs to a session: derived, so nothing is stored and no stranger can make one.
pub(crate) fn csrf_token(token: &Secret) -> String {
    hex::encode(Sha256::digest([b"aegis-csrf/1\n", token.expose().as_bytes()].concat()))
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A credential that holds.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Who stands behind it.
    pub(crate) principal: Principal,
    /// The tenants it speaks for: one, or several for a sidecar.
    pub(crate) tenants: Vec<TenantId>,
    /// What its token says, if it is one.
    pub(crate) claims: Option<Claims>,
}

/// Makes a principal of a credential, or refuses it with one text for all reasons.
pub(crate) async fn verify(app: &App, presented: &Presented, client: IpAddr) -> Result<Verified, ApiError> {
    app.directory.settle().await?;
    judge(app, &presented.text).map_err(|reason| {
        app.metrics.credentials_refused.with_label_values(&[label(reason)]).inc();
        refuse(app, client)
    })
}

/// Counts a wrong credential; from an address with too many of them the refusal says when to come back. A credential
/// that verifies is never refused for its address.
fn refuse(app: &App, client: IpAddr) -> ApiError {
    let now = app.clock.now();
    match app.wrong_credentials.fail(&network(client), now) {
        Ok(()) => ApiError::InvalidToken,
        Err(wait) => ApiError::rate_limited("ip_auth_failures", now, wait),
    }
}

/// What the credential is worth now: signature, time, revocation.
pub(crate) fn judge(app: &App, text: &Secret) -> Result<Verified, CredentialError> {
    if text.expose().starts_with(API_KEY_PREFIX) { judge_api_key(app, text) } else { judge_token(app, text) }
}

fn judge_token(app: &App, text: &Secret) -> Result<Verified, CredentialError> {
    let (now, keys) = (app.clock.now(), app.directory.token_keys());
    let verify = |expected| app.token_cache.verify(text, &*keys, &app.config.deployment, now, expected);
    match verify(TokenType::Access) {
        Ok(claims) => {
            let tenant = app.directory.tenant(claims.tenant_id).ok_or(CredentialError::Claims)?;
            if is_revoked(&claims, &tenant) {
                return Err(CredentialError::Revoked);
            }
            Ok(Verified { principal: principal_of(&claims)?, tenants: vec![claims.tenant_id], claims: Some(claims) })
        }
        Err(CredentialError::Purpose) => verify(TokenType::Sidecar).and_then(sidecar_of),
        Err(other) => Err(other),
    }
}

fn sidecar_of(claims: Claims) -> Result<Verified, CredentialError> {
    let source = claims.sub.parse().map_err(|_| CredentialError::Claims)?;
    if claims.role != Role::Service || !claims.tenants.contains(&claims.tenant_id) {
        return Err(CredentialError::Claims);
    }
    let principal = Principal {
        tenant_id: claims.tenant_id,
        subject: Subject::Sidecar(source),
        role: Role::Service,
        scopes: None,
        platform_admin: false,
        token: Some((claims.jti, Timestamp::from_seconds(claims.exp))),
    };
    Ok(Verified { principal, tenants: claims.tenants.clone(), claims: Some(claims) })
}

fn judge_api_key(app: &App, text: &Secret) -> Result<Verified, CredentialError> {
    let digest = api_key_digest(text).ok_or(CredentialError::Malformed)?;
    let snapshot = app.directory.snapshot();
    let found = snapshot.tenants().find_map(|(id, tenant)| Some((id, tenant.api_keys.get(&digest)?)));
    let (tenant, key) = found.ok_or(CredentialError::UnknownApiKey)?;
    Ok(Verified { principal: api_key_principal(tenant, key, app.clock.now())?, tenants: vec![tenant], claims: None })
}

/// Whether a credential that was verified before is still not revoked; its end in time is the caller's to watch.
pub(crate) fn still_holds(app: &App, principal: &Principal, claims: Option<&Claims>) -> bool {
    let Some(tenant) = app.directory.tenant(principal.tenant_id) else { return false };
    match (claims, &principal.subject) {
        (Some(claims), _) => !is_revoked(claims, &tenant),
        (None, Subject::ApiKey { id, .. }) => tenant.api_keys.values().any(|key| key.id == *id),
        (None, Subject::User(_) | Subject::Agent(_) | Subject::Sidecar(_)) => false,
    }
}

/// The reason as a metric's label.
fn label(reason: CredentialError) -> &'static str {
    match reason {
        CredentialError::Absent => "absent",
        CredentialError::Malformed => "malformed",
        CredentialError::Header => "header",
        CredentialError::UnknownKey => "unknown_key",
        CredentialError::KeyEnded => "key_ended",
        CredentialError::Signature => "signature",
        CredentialError::Claims => "claims",
        CredentialError::Purpose => "purpose",
        CredentialError::NotYetValid => "not_yet_valid",
        CredentialError::Expired => "expired",
        CredentialError::Revoked => "revoked",
        CredentialError::UnknownApiKey => "unknown_api_key",
    }
}
