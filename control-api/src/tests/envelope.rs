//! The envelope on every JSON answer, whatever goes wrong.

use aegis_core::principal::Role;
use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use super::World;

#[tokio::test]
async fn unknown_paths_and_methods_wear_the_envelope_at_both_mounts() {
    let world = World::new().await;
    for prefix in ["", "/v1"] {
        let nothing =
            world.send(world.request(Method::GET, &format!("{prefix}/nothing"), None, None)).await.is(404, "not_found");
        assert_eq!(nothing.body["success"], json!(false));
        assert_eq!(nothing.body["meta"]["code"], json!(404));
        world
            .send(world.request(Method::DELETE, &format!("{prefix}/auth/token"), None, None))
            .await
            .is(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn ids_are_echoed_or_made_and_problem_details_are_given_on_request() {
    let world = World::new().await;
    let request =
        Request::get("/nothing").header("x-request-id", "mine-1").header("accept", "application/problem+json");
    let reply = world
        .send(
            request
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.headers["x-request-id"], "mine-1");
    assert_eq!(reply.headers["x-trace-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&reply.body["status"], &reply.body["error"]), (&json!(404), &json!("not_found")));

    let made =
        world.send(Request::get("/health").header("x-request-id", "not plain!").body(Body::empty()).unwrap()).await;
    let id = made.headers["x-request-id"].to_str().unwrap();
    assert_ne!(id, "not plain!");
    assert_eq!(made.body["meta"]["request_id"], json!(id));
}

#[tokio::test]
async fn bad_bodies_are_refused_by_kind() {
    let world = World::new().await;
    let token = world.token(Role::Admin).await;
    let send = |kind: &str, body: Vec<u8>| {
        let request = Request::post("/auth/revoke").header("authorization", format!("Bearer {token}"));
        let request = request.header("x-tenant-id", world.tenant.to_string()).header("content-type", kind);
        world.send(request.body(Body::from(body)).unwrap())
    };
    send("text/plain", b"{}".to_vec()).await.is(415, "unsupported_media_type");
    send("application/json", vec![b' '; 1024 * 1024 + 1]).await.is(413, "payload_too_large");
    for malformed in ["{", "[1,]", r#"{"user_id":null,"user_id":null}"#, "\u{7f}"] {
        send("application/json", malformed.into()).await.is(400, "malformed_body");
    }
    send("application/json", [&b"{\"a\":\""[..], &[0xff], b"\"}"].concat()).await.is(400, "malformed_body");
    let deep = "[".repeat(10_000);
    send("application/json", deep.into_bytes()).await.is(400, "malformed_body");

    let unknown = send("application/json", br#"{"colour":"red"}"#.to_vec()).await.is(422, "validation_failed");
    assert_eq!(unknown.body["meta"]["details"][0]["type"], json!("extra_forbidden"));
    assert_eq!(unknown.body["meta"]["details"][0]["loc"], json!(["body", "colour"]));
    let wrong = send("application/json", br#"{"user_id":"x"}"#.to_vec()).await.is(422, "validation_failed");
    assert_eq!(wrong.body["meta"]["details"][0]["loc"], json!(["body", "user_id"]));
    assert_eq!(wrong.body["meta"]["details"][0]["input"], json!("x"));
}

#[tokio::test]
async fn authors_are_never_believed_and_secrets_never_shown_back() {
    let world = World::new().await;
    let token = world.token(Role::Admin).await;
    let body = json!({ "user_id": null, "agent_id": world.tenant, "actor": "user:somebody-else" });
    let reply = world.call(Method::POST, "/auth/revoke", &token, Some(body)).await.is(422, "validation_failed");
    assert_eq!(reply.body["meta"]["details"][0]["type"], json!("author_mismatch"));
    let body = json!({ "email": "a@b.c", "password": ["hunter2hunter2"], "tenant_id": world.tenant });
    let reply = world.call(Method::POST, "/auth/users", &token, Some(body)).await.is(422, "validation_failed");
    assert!(!reply.body.to_string().contains("hunter2"), "{}", reply.body);
}
