//! Sessions of people: login, refresh, logout.

use std::time::Duration;

use aegis_core::id::{AgentId, RefreshFamilyId, TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_store::refresh::{self, Presented, RefreshFamily};
use aegis_store::user::{self, User, email_key};
use aegis_store::{StoreError, revocation};
use axum::Extension;
use axum::extract::State;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::totp;
use crate::caller::{Caller, named_tenant};
use crate::context::RequestContext;
use crate::credential::{CSRF_COOKIE, CSRF_HEADER, REFRESH_COOKIE, cookie as cookie_value};
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::state::{App, AppState};
use crate::throttle::network;
use crate::token::{Issued, opaque};
use crate::{cookie, password, record};

/// What refresh tokens begin with.
const REFRESH_PREFIX: &str = "acr_";
/// A refresh token ends when it was not used for so long.
const REFRESH_IDLE: Duration = Duration::from_hours(14 * 24);
/// A session ends after this, however often it was refreshed.
const SESSION_MAX: Duration = Duration::from_hours(30 * 24);
/// Characters of an e-mail address at most.
pub(super) const EMAIL_MAX: usize = 254;

/// Who signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The address.
    #[schema(format = "email", examples("ada@example.com"))]
    email: String,
    /// The password.
    #[schema(value_type = String, format = "password", examples("correct horse battery staple"))]
    password: Secret,
    /// Six digits of the second factor, if the account has one.
    #[serde(default)]
    #[schema(pattern = "^[0-9]{6}$", examples("492039"))]
    totp: Option<String>,
}

impl RequestBody for Login {
    fn validate(&self, issues: &mut Issues) {
        issues.check(self.email.len() <= EMAIL_MAX, "email", "is too long");
        issues.check(self.password.expose().len() <= 1_024, "password", "is too long");
        issues.check(self.totp.as_deref().is_none_or(totp::is_code), "totp", "must be six digits");
    }
}

/// A session's tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// The access token.
    #[schema(examples("eyJhbGciOiJFZERTQSIsImtpZCI6…"))]
    access_token: String,
    /// How to present it.
    #[schema(examples("bearer"))]
    token_type: &'static str,
    /// Its lifetime in seconds.
    #[schema(examples(900))]
    expires_in: i64,
    /// Null: agents have no sessions.
    agent_id: Option<AgentId>,
    /// The user.
    user_id: Option<UserId>,
    /// The tenant.
    tenant_id: TenantId,
    /// The role.
    role: Role,
    /// Good for one refresh.
    #[schema(examples("acr_4mV0…"))]
    refresh_token: String,
}

/// `POST /auth/token`. Every reason for a refusal gives the same answer after the same work.
pub(super) async fn login(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Body(login): Body<Login>,
) -> Result<Answer<Session>, ApiError> {
    let tenant = named_tenant(&headers)?.ok_or(ApiError::TenantHeaderRequired)?;
    let (account, address) = ((tenant, email_key(&login.email)), network(context.client));
    let now = app.clock.now();
    let locked = |wait| ApiError::rate_limited("login_locked", now, wait);
    // Attempts at an account that is locked anyway do not lock their address as well.
    app.address_lockout.check(&address, now).map_err(locked)?;
    app.account_lockout.attempt(&account, now).map_err(locked)?;
    app.address_lockout.attempt(&address, now).map_err(locked)?;
    let found = user::find_by_email(&mut *app.store.read_platform().await?, tenant, &login.email).await?;
    let stored = found.as_ref().filter(|user| user.is_active).map(|user| user.password_hash.as_str());
    let stored = stored.filter(|hash| !hash.is_empty());
    if !app.passwords.verify(login.password, stored).await? {
        return Err(ApiError::InvalidCredentials);
    }
    let user = found.ok_or(ApiError::InvalidCredentials)?;
    // Until the second factor is shown too, the attempt counts: its codes are guessed at as slowly as passwords.
    let factor = totp::check(&app, &user, login.totp.as_deref(), &context).await?;
    app.account_lockout.clear(&account);
    app.address_lockout.forgive(&address);
    let family = RefreshFamilyId::generate(now, &*app.entropy);
    let (access, refresh_token) = (issue(&app, &user, now).await?, opaque(REFRESH_PREFIX, &*app.entropy));
    let family = family_of(family, &user, &access, now.plus(SESSION_MAX));
    let mut db = app.store.upkeep().await?;
    factor.use_up(&mut db, &user).await?;
    refresh::open(&mut db, &family, &hash(&refresh_token), now.plus(REFRESH_IDLE), now).await?;
    db.commit().await?;
    session(&app, &user, &access, &refresh_token)
}

/// The refresh token, unless it comes as a cookie.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// The token; or the cookie `acp_refresh` with the header `X-CSRF-Token`.
    #[serde(default)]
    #[schema(value_type = Option<String>, examples("acr_4mV0…"))]
    refresh_token: Option<Secret>,
}

impl RequestBody for Refresh {
    const OPTIONAL: bool = true;

    fn validate(&self, _: &mut Issues) {}
}

/// `POST /auth/refresh`. A token that comes twice was stolen: its whole family ends.
pub(super) async fn refresh(
    State(app): State<App>,
    headers: HeaderMap,
    Body(body): Body<Refresh>,
) -> Result<Answer<Session>, ApiError> {
    let presented = match body.refresh_token {
        Some(token) => token,
        None => refresh_cookie(&headers)?,
    };
    let now = app.clock.now();
    let mut db = app.store.upkeep().await?;
    let family = match refresh::present(&mut db, &hash(&presented), now).await? {
        Presented::Fresh(family) => family,
        Presented::Void => return Err(ApiError::InvalidToken),
        Presented::Reused(family) => {
            drop(db);
            end_family(&app, &family, now).await?;
            return Err(ApiError::InvalidToken);
        }
    };
    if named_tenant(&headers)?.is_some_and(|tenant| tenant != family.tenant_id) {
        return Err(ApiError::TenantMismatch);
    }
    let user = user::get(&mut db, family.tenant_id, family.user_id).await?.filter(|user| user.is_active);
    let user = user.ok_or(ApiError::InvalidToken)?;
    if !totp::may_go_on(&app, &user).await? {
        return Err(ApiError::InvalidToken);
    }
    let (access, refresh_token) = (issue(&app, &user, now).await?, opaque(REFRESH_PREFIX, &*app.entropy));
    let family = family_of(family.id, &user, &access, family.expires_at);
    refresh::rotate(&mut db, &family, &hash(&refresh_token), now.plus(REFRESH_IDLE), now).await?;
    // A process that dies before the commit has used nothing up; one that dies after it has lost the new token,
    // and the client signs in again.
    db.commit().await?;
    session(&app, &user, &access, &refresh_token)
}

/// What became of the session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedOut {
    /// Prose.
    #[schema(examples("Logged out"))]
    message: &'static str,
    /// Whether a token was revoked; API keys have none.
    revoked: bool,
}

/// `POST /auth/logout`.
pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Result<Answer<LoggedOut>, ApiError> {
    let cookies = cookie::cleared(!app.config.dev_mode)?;
    let Some((jti, expires_at)) = caller.principal().token else {
        return Ok(Answer::ok(LoggedOut { message: "API keys have no session", revoked: false }).cookies(cookies));
    };
    let mut tx = app.store.write(caller.tenant_id()).await?;
    revocation::token(&mut tx, jti, expires_at);
    refresh::revoke_by_access(&mut tx, caller.tenant_id(), jti, app.clock.now()).await?;
    let entry = record::admin(&caller, "auth.logout", format!("token:{jti}"), []);
    tx.record(entry).await?.commit().await?;
    Ok(Answer::ok(LoggedOut { message: "Logged out", revoked: true }).cookies(cookies))
}

async fn issue(app: &AppState, user: &User, now: Timestamp) -> Result<Issued, ApiError> {
    app.directory.settle().await?;
    let tenant = app.directory.record(user.tenant_id).ok_or(ApiError::InvalidCredentials)?;
    app.signer.for_user(user, tenant.org_id, now, &*app.entropy)
}

fn family_of(id: RefreshFamilyId, user: &User, access: &Issued, expires_at: Timestamp) -> RefreshFamily {
    RefreshFamily {
        id,
        tenant_id: user.tenant_id,
        user_id: user.id,
        access_id: access.claims.jti,
        access_expires_at: access.expires_at(),
        expires_at,
        revoked_at: None,
    }
}

fn session(app: &AppState, user: &User, access: &Issued, refresh: &Secret) -> Result<Answer<Session>, ApiError> {
    let ttl_s = i64::try_from(REFRESH_IDLE.as_secs()).unwrap_or(0);
    let cookies: Vec<HeaderValue> =
        cookie::session(&access.text, access.expires_in(), refresh, ttl_s, !app.config.dev_mode)?;
    let session = Session {
        access_token: access.text.expose().to_owned(),
        token_type: "bearer",
        expires_in: access.expires_in(),
        agent_id: None,
        user_id: Some(user.id),
        tenant_id: user.tenant_id,
        role: user.role,
        refresh_token: refresh.expose().to_owned(),
    };
    Ok(Answer::ok(session).cookies(cookies))
}

/// The refresh token of the cookie: a write by cookie, so the page must prove that it is ours.
fn refresh_cookie(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let token = cookie_value(headers, REFRESH_COOKIE).filter(|t| !t.is_empty()).ok_or(ApiError::InvalidToken)?;
    let csrf = cookie_value(headers, CSRF_COOKIE).unwrap_or_default();
    let given = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    if csrf.is_empty() || !bool::from(given.ct_eq(csrf.as_bytes())) {
        return Err(ApiError::CsrfRequired);
    }
    Ok(Secret::new(token))
}

async fn end_family(app: &AppState, family: &RefreshFamily, now: Timestamp) -> Result<(), StoreError> {
    tracing::warn!(user_id = %family.user_id, family_id = %family.id, "a refresh token was used twice: its session is ended");
    let mut tx = app.store.write(family.tenant_id).await?;
    refresh::revoke(&mut tx, family.id, now).await?;
    revocation::token(&mut tx, family.access_id, family.access_expires_at);
    let entry = aegis_ledger::rows::Admin {
        actor: format!("user:{}", family.user_id),
        action: "auth.refresh_reused".into(),
        object: format!("session:{}", family.id),
        detail: Map::new(),
        request_id: String::new(),
    };
    tx.record(aegis_ledger::entry::Body::Admin(entry)).await?.commit().await
}

/// Refresh tokens are random: SHA-256 is the form in which they are stored.
fn hash(token: &Secret) -> String {
    hex::encode(token.digest())
}

/// Notes what is wrong with an address and its new password.
pub(crate) fn check_account(email: &str, password: &Secret, issues: &mut Issues) {
    check_email(email, issues);
    if let Some(weakness) = password::weakness(password, email) {
        issues.check(false, "password", weakness);
    }
}

/// Notes what is wrong with an address.
pub(crate) fn check_email(email: &str, issues: &mut Issues) {
    let (local, domain) = email.split_once('@').unwrap_or_default();
    let plausible =
        !local.is_empty() && domain.contains('.') && !domain.contains('@') && !email.contains(char::is_whitespace);
    issues.check(plausible && email.len() <= EMAIL_MAX, "email", "is not an e-mail address");
}
