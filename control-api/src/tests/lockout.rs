//! Guessing is made slow.

use std::net::IpAddr;
use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::SourceId;
use aegis_core::principal::Role;
use aegis_core::sidecar::{FORWARD_SKEW_MAX_S, FORWARDED_BY, forward_statement};
use aegis_ledger::signing::PrivateKey;
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

#[tokio::test]
async fn a_clients_address_is_believed_of_a_connected_sidecar_that_proves_it_and_of_no_one_else() {
    let world = World::new().await;
    let (key, other) = (PrivateKey::generate(&SystemEntropy), PrivateKey::generate(&SystemEntropy));
    let now = world.store.store.now();
    let (source, unknown) = (SourceId::generate(now, &SystemEntropy), SourceId::generate(now, &SystemEntropy));
    world.app.sidecar_keys.insert(source, key.public());
    let proof = |key: &PrivateKey, source: SourceId, at: i64, client: IpAddr, id: &str| {
        format!("{source} {at} {}", key.sign(&forward_statement(source, at, client, id)))
    };
    let guess = async |client: IpAddr, id: &str, proof: String| {
        let mut request = world.request(Method::GET, "/auth/me", Some("wrong"), None);
        let headers = [("x-forwarded-for", client.to_string()), (FORWARDED_BY, proof), ("x-request-id", id.to_owned())];
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        world.send(request).await
    };
    let address = |n: u8| IpAddr::from([203, 0, 113, n]);
    let at = now.as_seconds();
    let long_ago = at - i64::try_from(FORWARD_SKEW_MAX_S).unwrap() - 1;
    // Every guess from an address of its own: no address has many.
    for n in 0..40 {
        guess(address(n), "r-1", proof(&key, source, at, address(n), "r-1")).await.is(401, "invalid_token");
    }
    // Proofs that are none: all of these are guesses of the connection's own address.
    for n in 0..5 {
        let (client, elsewhere) = (address(n), address(n + 100));
        for proof in [
            proof(&other, source, at, client, "r-1"),
            proof(&key, unknown, at, client, "r-1"),
            proof(&key, source, long_ago, client, "r-1"),
            proof(&key, source, at, elsewhere, "r-1"),
            proof(&key, source, at, client, "r-2"),
        ] {
            guess(client, "r-1", proof).await.is(401, "invalid_token");
        }
    }
    let limited = guess(address(50), "r-1", "nonsense".into()).await.is(429, "rate_limited");
    assert_eq!(limited.data()["limit_type"], json!("ip_auth_failures"));
    guess(address(50), "r-1", proof(&key, source, at, address(50), "r-1")).await.is(401, "invalid_token");
}
