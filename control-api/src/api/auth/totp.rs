//! Second factors of people: enrolment, proof, removal.
//!
//! A factor is in force once its user has shown one code of it. In a tenant that enforces second factors a login
//! without one in force is answered with a fresh enrolment; the next login with a code of it puts it in force.

use aegis_core::entropy::{self, Entropy};
use aegis_core::id::{TenantId, UserId};
use aegis_core::principal::Subject;
use aegis_core::time::Timestamp;
use aegis_store::totp;
use aegis_store::user::{self, User, email_key};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use totp_rs::{Builder, Secret as Seed, Totp};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::RequestContext;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::record;
use crate::state::{App, AppState};

/// Bytes of a shared secret (RFC 4226, 4).
const SECRET_BYTES: usize = 20;
/// What authenticator apps call us.
const ISSUER: &str = "Aegis";

/// What an authenticator app needs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Enrolment {
    /// The shared secret in base32, shown now and never again.
    #[schema(examples("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"))]
    secret: String,
    /// The same as a URI, for a QR code.
    #[schema(format = "uri", examples("otpauth://totp/Aegis:ada%40example.com?secret=JBSWY3DP…&issuer=Aegis"))]
    otpauth_uri: String,
}

/// A code of the factor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    /// Six digits.
    #[schema(pattern = "^[0-9]{6}$", examples("492039"))]
    code: String,
}

impl RequestBody for Code {
    fn validate(&self, issues: &mut Issues) {
        issues.check(is_code(&self.code), "code", "must be six digits");
    }
}

/// Whether the second factor is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FactorState {
    /// Whether logins need a code from now on.
    mfa_enabled: bool,
}

/// Whether a text can be a code.
pub(super) fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `POST /auth/totp`: replaces an enrolment that was not confirmed.
pub(super) async fn enrol(State(app): State<App>, caller: Caller) -> Result<Answer<Enrolment>, ApiError> {
    let (tenant, id) = (caller.tenant_id(), own(&caller)?);
    let mut tx = app.store.write(tenant).await?;
    let user = user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
    let (seed, enrolment) = fresh(&user, &*app.entropy)?;
    totp::enrol(&mut tx, &app.store, tenant, id, &seed).await?;
    tx.record(record::admin(&caller, "user.enrol_totp", format!("user:{id}"), [])).await?.commit().await?;
    Ok(Answer::created(enrolment))
}

/// `POST /auth/totp/confirm`.
pub(super) async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<Code>,
) -> Result<Answer<FactorState>, ApiError> {
    let (tenant, id) = (caller.tenant_id(), own(&caller)?);
    let mut tx = app.store.write(tenant).await?;
    let user = user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
    attempt(&app, &user)?;
    let factor = totp::get(&mut tx, &app.store, tenant, id).await?.ok_or(ApiError::NotFound("totp"))?;
    if factor.confirmed_at.is_some() {
        return Err(ApiError::conflict("totp_enrolled", "a second factor is in force already"));
    }
    let now = tx.now();
    let step = step_of(&user, &factor.secret, &body.code, now)?.ok_or_else(wrong_code)?;
    totp::use_step(&mut tx, tenant, id, step).await?;
    totp::confirm(&mut tx, tenant, id, now).await?;
    tx.record(record::admin(&caller, "user.confirm_totp", format!("user:{id}"), [])).await?.commit().await?;
    app.account_lockout.clear(&(tenant, email_key(&user.email)));
    Ok(Answer::ok(FactorState { mfa_enabled: true }))
}

/// `POST /auth/totp/disable`.
pub(super) async fn disable(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<Code>,
) -> Result<Answer<FactorState>, ApiError> {
    let (tenant, id) = (caller.tenant_id(), own(&caller)?);
    if is_enforced(&app, tenant)? {
        return Err(ApiError::conflict("mfa_enforced", "the tenant enforces second factors"));
    }
    let mut tx = app.store.write(tenant).await?;
    let user = user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
    attempt(&app, &user)?;
    let factor = totp::get(&mut tx, &app.store, tenant, id).await?.ok_or(ApiError::NotFound("totp"))?;
    let step = step_of(&user, &factor.secret, &body.code, tx.now())?.ok_or_else(wrong_code)?;
    if !totp::use_step(&mut tx, tenant, id, step).await? {
        return Err(wrong_code());
    }
    totp::remove(&mut tx, tenant, id).await?;
    tx.record(record::admin(&caller, "user.disable_totp", format!("user:{id}"), [])).await?.commit().await?;
    app.account_lockout.clear(&(tenant, email_key(&user.email)));
    Ok(Answer::ok(FactorState { mfa_enabled: false }))
}

/// A second factor that a login has shown: the step of its code, to be used up when the session opens.
pub(super) struct Shown(Option<u64>);

impl Shown {
    /// Uses the code up. Of two logins that bring the same code together, one fails here.
    pub(super) async fn use_up(&self, db: &mut aegis_store::Conn, user: &User) -> Result<(), ApiError> {
        let Some(step) = self.0 else { return Ok(()) };
        if totp::use_step(db, user.tenant_id, user.id, step).await? {
            Ok(())
        } else {
            Err(ApiError::InvalidCredentials)
        }
    }
}

/// What a login needs beside the password, which was right.
pub(super) async fn check(
    app: &AppState,
    user: &User,
    code: Option<&str>,
    context: &RequestContext,
) -> Result<Shown, ApiError> {
    let (tenant, now) = (user.tenant_id, app.clock.now());
    let factor = totp::get(&mut *app.store.read(tenant).await?, &app.store, tenant, user.id).await?;
    let (factor, code) = match (factor, code) {
        (Some(factor), Some(code)) => (factor, code),
        (Some(factor), None) if factor.confirmed_at.is_some() => return Err(ApiError::TotpRequired),
        (_, None) if is_enforced(app, tenant)? => return Err(demand(app, user, context).await?),
        (_, None) => return Ok(Shown(None)),
        (None, Some(_)) => return Err(ApiError::InvalidCredentials),
    };
    let step = step_of(user, &factor.secret, code, now)?.ok_or(ApiError::InvalidCredentials)?;
    if factor.confirmed_at.is_none() {
        let mut tx = app.store.write(tenant).await?;
        totp::confirm(&mut tx, tenant, user.id, now).await?;
        let (actor, object) = (format!("user:{}", user.id), format!("user:{}", user.id));
        let entry = record::by(&actor, &context.request_id, "user.confirm_totp", object);
        tx.record(entry).await?.commit().await?;
    }
    Ok(Shown(Some(step)))
}

/// Whether a session of the user may go on: not without a second factor where the tenant enforces them.
pub(super) async fn may_go_on(app: &AppState, user: &User) -> Result<bool, ApiError> {
    if !is_enforced(app, user.tenant_id)? {
        return Ok(true);
    }
    let mut db = app.store.read(user.tenant_id).await?;
    Ok(totp::confirmed(&mut db, user.tenant_id).await?.contains(&user.id))
}

/// The refusal that carries a fresh enrolment.
async fn demand(app: &AppState, user: &User, context: &RequestContext) -> Result<ApiError, ApiError> {
    let (seed, enrolment) = fresh(user, &*app.entropy)?;
    let mut tx = app.store.write(user.tenant_id).await?;
    totp::enrol(&mut tx, &app.store, user.tenant_id, user.id, &seed).await?;
    let (actor, object) = (format!("user:{}", user.id), format!("user:{}", user.id));
    let entry = record::by(&actor, &context.request_id, "user.enrol_totp", object);
    tx.record(entry).await?.commit().await?;
    Ok(ApiError::TotpEnrolmentRequired {
        data: json!({ "secret": enrolment.secret, "otpauth_uri": enrolment.otpauth_uri }),
    })
}

fn is_enforced(app: &AppState, tenant: TenantId) -> Result<bool, ApiError> {
    app.directory.record(tenant).map(|record| record.mfa_enforced).ok_or(ApiError::NotFound("tenant"))
}

fn own(caller: &Caller) -> Result<UserId, ApiError> {
    match caller.principal().subject {
        Subject::User(id) => Ok(id),
        Subject::Agent(_) | Subject::ApiKey { .. } | Subject::Sidecar(_) => {
            Err(ApiError::conflict("not_a_person", "second factors belong to people"))
        }
    }
}

/// Codes are guessed at as slowly as passwords.
fn attempt(app: &AppState, user: &User) -> Result<(), ApiError> {
    let now = app.clock.now();
    let account = (user.tenant_id, email_key(&user.email));
    app.account_lockout.attempt(&account, now).map_err(|wait| ApiError::rate_limited("login_locked", now, wait))
}

fn wrong_code() -> ApiError {
    ApiError::conflict("wrong_code", "the code is wrong, used or too old")
}

fn fresh(user: &User, entropy: &dyn Entropy) -> Result<([u8; SECRET_BYTES], Enrolment), ApiError> {
    let seed = entropy::random::<SECRET_BYTES>(entropy);
    let totp = generator(user, &seed)?;
    let otpauth_uri = totp.to_url().map_err(|e| ApiError::bug("totp", &e))?;
    Ok((seed, Enrolment { secret: Seed::from(seed.to_vec()).to_base32(), otpauth_uri }))
}

/// The step whose code this is, at most one beside the present one.
fn step_of(user: &User, seed: &[u8], code: &str, now: Timestamp) -> Result<Option<u64>, ApiError> {
    let seconds = u64::try_from(now.as_seconds()).map_err(|e| ApiError::bug("totp", &e))?;
    Ok(generator(user, seed)?.check(code, seconds))
}

/// SHA-1, six digits, thirty seconds, one step of skew: what every authenticator app knows.
fn generator(user: &User, seed: &[u8]) -> Result<Totp, ApiError> {
    // An account name ends at a colon, which no common address has.
    let account = user.email.replace(':', "_");
    let builder = Builder::new().with_secret(seed.to_vec()).with_issuer(Some(ISSUER)).with_account_name(account);
    builder.build().map_err(|e| ApiError::bug("totp", &e))
}
