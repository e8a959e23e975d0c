//! A second factor holds wherever a session begins or goes on.

use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::TenantId;
use aegis_core::principal::Role;
use aegis_core::time::Clock as _;
use aegis_store::user::User;
use http::Method;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::{PASSWORD, Reply, World};

async fn login(world: &World, email: &str, code: Option<&str>) -> Reply {
    let body = json!({ "email": email, "password": PASSWORD, "totp": code });
    world.send(world.request(Method::POST, "/auth/token", None, Some(body))).await
}

/// The code of a secret at the world's time.
pub(super) fn code(world: &World, secret: &Value) -> String {
    let seed = Secret::try_from_base32(secret.as_str().unwrap()).unwrap();
    let totp = Builder::new().with_secret(seed).build().unwrap();
    totp.generate(u64::try_from(world.store.store.now().as_seconds()).unwrap()).to_string()
}

/// Not the code, whatever it is.
fn wrong(right: &str) -> String {
    let digit = if right.starts_with('0') { '1' } else { '0' };
    format!("{digit}{}", &right[1..])
}

async fn post(world: &World, token: &str, path: &str, code: &str) -> Reply {
    world.call(Method::POST, path, token, Some(json!({ "code": code }))).await
}

/// A user with a second factor in force, its token and its secret; the code's step is over.
async fn enrolled(world: &World) -> (User, String, Value) {
    let user = world.user(world.tenant, Role::Viewer, Some(PASSWORD)).await;
    let token = world.token_of(&user);
    let enrolment = world.call(Method::POST, "/auth/totp", &token, None).await.is(201, "");
    let secret = enrolment.data()["secret"].clone();
    let uri = enrolment.data()["otpauth_uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains(secret.as_str().unwrap()), "{uri}");
    post(world, &token, "/auth/totp/confirm", &code(world, &secret)).await.is(200, "");
    world.store.clock.advance(Duration::from_mins(1));
    (user, token, secret)
}

#[tokio::test]
async fn a_factor_is_asked_for_once_it_is_confirmed_and_each_code_works_once() {
    let world = World::new().await;
    let user = world.user(world.tenant, Role::Viewer, Some(PASSWORD)).await;
    let token = world.token_of(&user);
    post(&world, &token, "/auth/totp/confirm", "123456").await.is(404, "not_found");
    let first = world.call(Method::POST, "/auth/totp", &token, None).await.is(201, "");
    // Not confirmed, not in force; begun again, the first secret is void.
    login(&world, &user.email, None).await.is(200, "");
    let second = world.call(Method::POST, "/auth/totp", &token, None).await.is(201, "");
    let (stale, good) = (code(&world, &first.data()["secret"]), code(&world, &second.data()["secret"]));
    if stale != good {
        post(&world, &token, "/auth/totp/confirm", &stale).await.is(409, "wrong_code");
    }
    post(&world, &token, "/auth/totp/confirm", "12345").await.is(422, "validation_failed");
    post(&world, &token, "/auth/totp/confirm", &good).await.is(200, "");
    world.call(Method::POST, "/auth/totp", &token, None).await.is(409, "totp_enrolled");

    login(&world, &user.email, None).await.is(401, "totp_required");
    login(&world, &user.email, Some(&good)).await.is(401, "invalid_credentials");
    world.store.clock.advance(Duration::from_mins(1));
    let next = code(&world, &second.data()["secret"]);
    login(&world, &user.email, Some(&wrong(&next))).await.is(401, "invalid_credentials");
    login(&world, &user.email, Some(&next)).await.is(200, "");
    login(&world, &user.email, Some(&next)).await.is(401, "invalid_credentials");
    let listed = world.call(Method::GET, "/users?role=viewer", &world.token(Role::Auditor).await, None).await;
    assert_eq!(listed.data()[0]["mfa_enabled"], json!(true));
}

#[tokio::test]
async fn codes_are_guessed_at_as_slowly_as_passwords() {
    let world = World::new().await;
    let (user, _, secret) = enrolled(&world).await;
    let good = code(&world, &secret);
    for _ in 0..6 {
        login(&world, &user.email, Some(&wrong(&good))).await.is(401, "invalid_credentials");
    }
    login(&world, &user.email, Some(&good)).await.is(429, "rate_limited");
}

#[tokio::test]
async fn of_two_logins_with_one_code_one_comes_in() {
    let world = World::new().await;
    let (user, _, secret) = enrolled(&world).await;
    let good = code(&world, &secret);
    let (one, two) = tokio::join!(login(&world, &user.email, Some(&good)), login(&world, &user.email, Some(&good)));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn a_tenant_that_enforces_factors_lets_nobody_in_or_go_on_without() {
    let world = World::new().await;
    let platform = world.platform_token().await;
    let user = world.user(world.tenant, Role::Viewer, Some(PASSWORD)).await;
    let before = login(&world, &user.email, None).await.is(200, "");
    let body = json!({ "tenant_id": world.tenant, "mfa_enforced": true, "rpm_limit": 1000 });
    world.call(Method::POST, "/auth/tenants", &platform, Some(body)).await.is(200, "");
    let path = format!("/auth/tenants/{}", world.tenant);
    let seen = world.call(Method::GET, &path, &platform, None).await.is(200, "");
    assert_eq!(seen.data()["mfa_enforced"], json!(true));
    let body = json!({ "refresh_token": before.data()["refresh_token"] });
    world.send(world.request(Method::POST, "/auth/refresh", None, Some(body))).await.is(401, "invalid_token");

    let demanded = login(&world, &user.email, None).await.is(403, "totp_enrolment_required");
    let again = login(&world, &user.email, None).await.is(403, "totp_enrolment_required");
    assert_ne!(demanded.data()["secret"], again.data()["secret"]);
    let good = code(&world, &again.data()["secret"]);
    login(&world, &user.email, Some(&wrong(&good))).await.is(401, "invalid_credentials");
    let session = login(&world, &user.email, Some(&good)).await.is(200, "");
    let token = session.data()["access_token"].as_str().unwrap();
    let body = json!({ "refresh_token": session.data()["refresh_token"] });
    world.send(world.request(Method::POST, "/auth/refresh", None, Some(body))).await.is(200, "");
    world.store.clock.advance(Duration::from_mins(1));
    login(&world, &user.email, None).await.is(401, "totp_required");
    let next = code(&world, &again.data()["secret"]);
    post(&world, token, "/auth/totp/disable", &next).await.is(409, "mfa_enforced");
}

#[tokio::test]
async fn what_protects_a_tenant_is_kept_when_its_settings_are_written_without_it() {
    let world = World::new().await;
    let platform = world.platform_token().await;
    let id = TenantId::generate(world.store.clock.now(), &SystemEntropy);
    let path = format!("/auth/tenants/{id}");
    for body in [
        json!({ "tenant_id": id, "mfa_enforced": true, "status": "suspended" }),
        json!({ "tenant_id": id, "tier": "pro" }),
    ] {
        world.call(Method::POST, "/auth/tenants", &platform, Some(body)).await.is(200, "");
        let seen = world.call(Method::GET, &path, &platform, None).await.is(200, "");
        assert_eq!((&seen.data()["mfa_enforced"], &seen.data()["status"]), (&json!(true), &json!("suspended")));
    }
}

#[tokio::test]
async fn a_factor_goes_with_a_code_or_by_an_admin() {
    let world = World::new().await;
    let (user, token, secret) = enrolled(&world).await;
    let good = code(&world, &secret);
    post(&world, &token, "/auth/totp/disable", &wrong(&good)).await.is(409, "wrong_code");
    post(&world, &token, "/auth/totp/disable", &good).await.is(200, "");
    post(&world, &token, "/auth/totp/disable", &good).await.is(404, "not_found");
    login(&world, &user.email, None).await.is(200, "");

    let (user, token, _) = enrolled(&world).await;
    let admin = world.token(Role::Admin).await;
    let path = format!("/users/{}/totp", user.id);
    let reset = world.call(Method::DELETE, &path, &admin, None).await.is(200, "");
    assert_eq!(reset.data()["mfa_enabled"], json!(false));
    world.call(Method::GET, "/auth/me", &token, None).await.is(401, "invalid_token");
    world.call(Method::DELETE, &path, &admin, None).await.is(404, "not_found");
    login(&world, &user.email, None).await.is(200, "");
}

#[tokio::test]
async fn the_secret_is_stored_sealed() {
    let world = World::new().await;
    let (_, _, secret) = enrolled(&world).await;
    let seed = Secret::try_from_base32(secret.as_str().unwrap()).unwrap();
    let path = world.store.url.strip_prefix("sqlite:").unwrap().split('?').next().unwrap().to_owned();
    let held = [path.clone(), format!("{path}-wal")].into_iter().filter_map(|p| std::fs::read(p).ok()).any(|bytes| {
        bytes.windows(20).any(|part| part == seed.as_ref())
            || bytes.windows(32).any(|p| p == secret.as_str().unwrap().as_bytes())
    });
    assert!(std::path::Path::new(&path).exists() && !held);
}
