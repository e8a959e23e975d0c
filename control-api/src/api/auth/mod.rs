//! Tag `auth`: tokens, agent secrets, users, tenants.

mod agent;
mod credential;
mod key;
mod session;
mod tenant;
mod token;
mod user;

pub(crate) use session::{check_account, check_email};

use crate::access::Level;
use crate::operation::{Failure, Operation, failure, get, post, tagged};
use crate::tag::Tag;

const INVALID_CREDENTIALS: Failure =
    failure(401, "invalid_credentials", "the credentials are not valid; one answer for every reason");
const TENANT_REQUIRED: Failure = failure(400, "tenant_header_required", "X-Tenant-ID is absent");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Auth,
        vec![
            post("/auth/token", Level::Public, session::login, "Log a human user in and set session cookie")
                .fails(&[INVALID_CREDENTIALS, TENANT_REQUIRED]),
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
