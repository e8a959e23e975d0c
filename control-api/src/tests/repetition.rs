//! Writes that come twice, and writes of what has changed meanwhile.

use aegis_core::principal::Role;
use http::{Method, Request};
use serde_json::{Value, json};

use super::{Reply, World};

fn keyed(world: &World, token: &str, path: &str, key: &str, body: Value) -> Request<axum::body::Body> {
    let mut request = world.request(Method::POST, path, Some(token), Some(body));
    request.headers_mut().insert("x-idempotency-key", key.parse().unwrap());
    request
}

fn worker(name: &str) -> Value {
    json!({ "name": name, "description": "works for the tests" })
}

#[tokio::test]
async fn a_repeated_write_happens_once_and_gets_the_first_answer() {
    let world = World::new().await;
    let user = world.user(world.tenant, Role::Admin, None).await;
    let token = world.token_of(&user);
    let send = |path: &'static str, key: &'static str, body: Value| world.send(keyed(&world, &token, path, key, body));
    let first = send("/agents", "k1", worker("one")).await.is(201, "");
    assert!(!first.headers.contains_key("x-idempotent-replayed"));
    let again = send("/v1/agents", "k1", worker("one")).await.is(201, "");
    assert_eq!((again.data(), &again.headers["x-idempotent-replayed"]), (first.data(), &"true".parse().unwrap()));
    assert_eq!(again.headers["etag"], first.headers["etag"]);
    assert_ne!(again.body["meta"]["request_id"], first.body["meta"]["request_id"]);
    send("/agents", "k1", worker("two")).await.is(422, "idempotency_key_reused");
    // A refusal changed nothing: the key is free for a better request.
    send("/agents", "k2", worker("one")).await.is(409, "name_taken");
    send("/agents", "k2", worker("two")).await.is(201, "");
    // A key belongs to its principal.
    let other = world.token(Role::Admin).await;
    world.send(keyed(&world, &other, "/agents", "k1", worker("three"))).await.is(201, "");
    let listed = world.call(Method::GET, "/agents", &token, None).await.is(200, "");
    assert_eq!(listed.data()["total"], json!(3));
    for bad in ["", "two words", &"k".repeat(129)] {
        world.send(keyed(&world, &token, "/agents", bad, worker("x"))).await.is(422, "validation_failed");
    }
}

#[tokio::test]
async fn of_many_that_come_together_one_writes() {
    let world = World::new().await;
    let token = world.token(Role::Admin).await;
    let sent = (0..8).map(|_| world.send(keyed(&world, &token, "/agents", "k", worker("one"))));
    let replies: Vec<Reply> = futures::future::join_all(sent).await;
    for reply in &replies {
        let fits = matches!((reply.status.as_u16(), reply.error()), (201, "") | (409, "idempotency_in_progress"));
        assert!(fits, "{}", reply.body);
    }
    let made = replies.iter().filter(|r| r.status == 201 && !r.headers.contains_key("x-idempotent-replayed"));
    assert_eq!(made.count(), 1);
}

#[tokio::test]
async fn a_write_of_another_state_than_the_named_one_is_refused() {
    let world = World::new().await;
    let token = world.token(Role::Security).await;
    let made = world.call(Method::POST, "/agents", &token, Some(worker("one"))).await.is(201, "");
    let path = format!("/agents/{}", made.data()["id"].as_str().unwrap());
    let tag = made.headers["etag"].clone();
    assert_eq!(world.call(Method::GET, &path, &token, None).await.is(200, "").headers["etag"], tag);
    let write = |method: Method, tag: &http::HeaderValue, body: Option<Value>| {
        let mut request = world.request(method, &path, Some(&token), body);
        request.headers_mut().insert("if-match", tag.clone());
        world.send(request)
    };
    let changed = write(Method::PATCH, &tag, Some(json!({ "risk_level": "high" }))).await.is(200, "");
    write(Method::PATCH, &tag, Some(json!({ "risk_level": "low" }))).await.is(412, "precondition_failed");
    write(Method::DELETE, &tag, None).await.is(412, "precondition_failed");
    write(Method::DELETE, &changed.headers["etag"], None).await.is(200, "");
}
