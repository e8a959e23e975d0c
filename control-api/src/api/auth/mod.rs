//! Tag `auth`: tokens, agent secrets, users, tenants.

mod agent;
mod credential;
mod key;
mod session;
mod tenant;
mod token;
mod totp;
mod user;

pub(crate) use session::{check_account, check_email};

use crate::access::Level;
use crate::operation::{Failure, Operation, failure, get, post, tagged};
use crate::tag::Tag;

const INVALID_CREDENTIALS: Failure =
    failure(401, "invalid_credentials", "the credentials are not valid; one answer for every reason");
const TENANT_REQUIRED: Failure = failure(400, "tenant_header_required", "X-Tenant-ID is absent");
const TOTP_REQUIRED: Failure = failure(401, "totp_required", "the account has a second factor: a code is missing");
const TOTP_ENROLMENT_REQUIRED: Failure = failure(
    403,
    "totp_enrolment_required",
    "the tenant enforces second factors: data has a fresh secret, the next login a code of it",
);
const NOT_A_PERSON: Failure = failure(409, "not_a_person", "second factors belong to people");
const WRONG_CODE: Failure = failure(409, "wrong_code", "the code is wrong, used or too old");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Auth,
        vec![
            post("/auth/token", Level::Public, session::login, "Log a human user in and set session cookie").fails(&[
                INVALID_CREDENTIALS,
                TENANT_REQUIRED,
                TOTP_REQUIRED,
                TOTP_ENROLMENT_REQUIRED,
            ]),
            post("/auth/agent/token", Level::Public, agent::login, "Exchange agent id and secret for an agent JWT")
                .fails(&[INVALID_CREDENTIALS]),
            post("/auth/refresh", Level::Public, session::refresh, "Rotate the presented token for a new one")
                .fails(&[failure(401, "invalid_token", "the refresh token is unknown, used, expired or revoked")]),
            post("/auth/logout", Level::Any, session::logout, "Revoke own token and clear the session cookie"),
            get("/auth/me", Level::Any, token::me, "Current user record for the bearer token"),
            post("/auth/introspect", Level::Any, token::introspect, "Report whether a token is active and its claims"),
            post(
                "/auth/revoke",
                Level::Write,
                token::revoke,
                "Force-revoke every token of another user or of an agent",
            )
            .fails(&[failure(404, "not_found", "the tenant has no such user or agent")]),
            post("/auth/totp", Level::Read, totp::enrol, "Begin to set up the own second factor")
                .creates()
                .fails(&[NOT_A_PERSON, failure(409, "totp_enrolled", "a second factor is in force already")]),
            post("/auth/totp/confirm", Level::Read, totp::confirm, "Put the own second factor in force").fails(&[
                NOT_A_PERSON,
                WRONG_CODE,
                failure(404, "not_found", "no second factor was set up"),
                failure(409, "totp_enrolled", "a second factor is in force already"),
            ]),
            post("/auth/totp/disable", Level::Read, totp::disable, "Remove the own second factor").fails(&[
                NOT_A_PERSON,
                WRONG_CODE,
                failure(404, "not_found", "there is no second factor"),
                failure(409, "mfa_enforced", "the tenant enforces second factors"),
            ]),
            post("/auth/users", Level::Admin, user::create, "Create a user account with a password")
                .creates()
                .fails(&[failure(409, "email_taken", "the tenant has a user with this address")]),
            post("/auth/credentials", Level::Write, credential::set, "Provision or rotate an agent's secret")
                .fails(&[failure(404, "not_found", "the tenant has no such agent")]),
            post("/auth/tenants", Level::Platform, tenant::put, "Create or overwrite a tenant's tier and quota"),
            get("/auth/tenants/{tenant_id}", Level::Read, tenant::get, "Tier, quota and status of one tenant")
                .fails(&[failure(404, "not_found", "there is no such tenant, or it is another's")]),
            get("/.well-known/jwks.json", Level::Public, key::jwks, "Public keys that verify access tokens")
                .plain("application/json", "A JWK set (RFC 7517)"),
        ],
    )
}
