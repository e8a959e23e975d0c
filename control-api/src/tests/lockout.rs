//! Guessing is made slow.

use std::time::Duration;

use aegis_core::principal::Role;
use http::Method;
use serde_json::json;

use super::{PASSWORD, World};

#[tokio::test]
async fn an_account_that_is_guessed_at_must_wait_even_with_the_right_password() {
    let world = World::new().await;
    let user = world.user(world.tenant, Role::Admin, Some(PASSWORD)).await;
    for email in [user.email.as_str(), "nobody@example.com"] {
        let login = |password: &str| {
            let body = json!({ "email": email, "password": password });
            world.send(world.request(Method::POST, "/auth/token", None, Some(body)))
        };
        for _ in 0..6 {
            login("wrong horse battery").await.is(401, "invalid_credentials");
        }
        let locked = login(PASSWORD).await.is(429, "rate_limited");
        assert_eq!(locked.data()["limit_type"], json!("login_locked"));
        assert_eq!(locked.headers["retry-after"], "30");
    }
    world.store.clock.advance(Duration::from_secs(30));
    let body = json!({ "email": user.email, "password": PASSWORD });
    world.send(world.request(Method::POST, "/auth/token", None, Some(body))).await.is(200, "");
}

#[tokio::test]
async fn an_address_with_many_wrong_tokens_is_told_to_wait_but_a_right_one_passes() {
    let world = World::new().await;
    let token = world.token(Role::Viewer).await;
    let guess = || world.call(Method::GET, "/auth/me", "wrong", None);
    for _ in 0..25 {
        guess().await.is(401, "invalid_token");
    }
    let limited = guess().await.is(429, "rate_limited");
    assert_eq!(limited.data()["limit_type"], json!("ip_auth_failures"));
    world.call(Method::GET, "/auth/me", &token, None).await.is(200, "");
    // Absent credentials are no guesses.
    world.send(world.request(Method::GET, "/auth/me", None, None)).await.is(401, "invalid_token");
}
