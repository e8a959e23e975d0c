//! API keys: what they open, and that they end.

use std::time::Duration;

use aegis_core::principal::Role;
use http::Method;
use serde_json::{Value, json};

use super::{Reply, World};

async fn make(world: &World, token: &str, body: Value) -> Reply {
    world.call(Method::POST, "/api-keys", token, Some(body)).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_reaches_what_its_scopes_say_until_it_is_revoked() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let made = make(&world, &admin, json!({ "name": "report", "scopes": ["read"] })).await.is(201, "");
    let (key, id) = (text(&made.data()["api_key"]), text(&made.data()["id"]));
    assert!(key.starts_with(&text(&made.data()["key_prefix"])) && key.len() > 40);
    world.call(Method::GET, "/agents", &key, None).await.is(200, "");
    let agent = json!({ "name": "worker", "description": "works for the tests" });
    world.call(Method::POST, "/agents", &key, Some(agent)).await.is(403, "insufficient_role");
    world.call(Method::GET, "/users", &key, None).await.is(403, "insufficient_role");
    world.call(Method::GET, "/api-keys", &key, None).await.is(403, "insufficient_role");

    let listed = world.call(Method::GET, "/api-keys", &admin, None).await.is(200, "");
    assert_eq!((listed.data()[0]["id"].as_str(), listed.body["meta"]["total"].as_u64()), (Some(id.as_str()), Some(1)));
    assert!(!listed.body.to_string().contains(&key));
    let gone = world.call(Method::DELETE, &format!("/api-keys/{id}"), &admin, None).await.is(200, "");
    assert_eq!(gone.data()["is_active"], json!(false));
    world.call(Method::GET, "/agents", &key, None).await.is(401, "invalid_token");
    world.call(Method::DELETE, &format!("/api-keys/{id}"), &admin, None).await.is(404, "not_found");
    assert_eq!(*world.call(Method::GET, "/api-keys", &admin, None).await.is(200, "").data(), json!([]));
}

#[tokio::test]
async fn a_key_ends_with_its_time() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let end = world.store.store.now().plus(Duration::from_mins(10));
    let body = json!({ "name": "short", "scopes": ["audit"], "expires_at": end.to_string() });
    let key = text(&make(&world, &admin, body).await.is(201, "").data()["api_key"]);
    world.call(Method::GET, "/users", &key, None).await.is(200, "");
    world.store.clock.advance(Duration::from_mins(10));
    world.call(Method::GET, "/users", &key, None).await.is(401, "invalid_token");
    let late = json!({ "name": "late", "scopes": ["read"], "expires_at": end.to_string() });
    make(&world, &admin, late).await.is(422, "validation_failed");
}

#[tokio::test]
async fn a_key_that_executes_is_an_agent_and_a_key_that_does_not_is_none() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let agent = json!({ "name": "worker", "description": "works for the tests" });
    let agent = world.call(Method::POST, "/agents", &admin, Some(agent)).await.is(201, "").data()["id"].clone();
    make(&world, &admin, json!({ "name": "k" })).await.is(422, "validation_failed");
    make(&world, &admin, json!({ "name": "k", "scopes": ["read"], "agent_id": agent }))
        .await
        .is(422, "validation_failed");
    make(&world, &admin, json!({ "name": "k", "scopes": [] })).await.is(422, "validation_failed");
    make(&world, &admin, json!({ "name": " ", "scopes": ["read"] })).await.is(422, "validation_failed");
    make(&world, &admin, json!({ "name": "k", "scopes": ["admin"] })).await.is(422, "validation_failed");
    let nobody = json!({ "name": "k", "agent_id": "00000000-0000-4000-8000-000000000000" });
    make(&world, &admin, nobody).await.is(404, "not_found");
    let made = make(&world, &admin, json!({ "name": "k", "agent_id": agent })).await.is(201, "");
    assert_eq!(made.data()["scopes"], json!(["execute"]));
    let key = text(&made.data()["api_key"]);
    let own = world.call(Method::POST, "/api-keys/validate", &key, Some(json!({ "api_key": key }))).await.is(200, "");
    assert_eq!(own.data()["id"], made.data()["id"]);
}

#[tokio::test]
async fn validation_knows_the_tenants_own_keys_and_shows_agents_theirs_only() {
    let world = World::new().await;
    let (admin, viewer) = (world.token(Role::Admin).await, world.token(Role::Viewer).await);
    let made = make(&world, &admin, json!({ "name": "report", "scopes": ["read"] })).await.is(201, "");
    let look = async |token: &str, key: &str| {
        world.call(Method::POST, "/api-keys/validate", token, Some(json!({ "api_key": key }))).await
    };
    let key = text(&made.data()["api_key"]);
    let seen = look(&viewer, &key).await.is(200, "");
    assert_eq!((&seen.data()["name"], &seen.data()["is_active"]), (&json!("report"), &json!(true)));
    assert!(!seen.body.to_string().contains(&key));
    let agent = json!({ "name": "worker", "description": "works for the tests" });
    let agent = world.call(Method::POST, "/agents", &admin, Some(agent)).await.is(201, "");
    let agent = world.agent_token(text(&agent.data()["id"]).parse().unwrap());
    look(&agent, &key).await.is(404, "not_found");
    for unknown in ["acp_nonsense", "nonsense", ""] {
        look(&viewer, unknown).await.is(404, "not_found");
    }
    let stranger = world.user(world.other, Role::Admin, None).await;
    let mut foreign = world.request(
        Method::POST,
        "/api-keys/validate",
        Some(&world.token_of(&stranger)),
        Some(json!({ "api_key": key })),
    );
    foreign.headers_mut().insert("x-tenant-id", world.other.to_string().parse().unwrap());
    world.send(foreign).await.is(404, "not_found");
}

#[tokio::test]
async fn its_last_use_is_noted_to_the_minute() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let made = make(&world, &admin, json!({ "name": "report", "scopes": ["read"] })).await.is(201, "");
    assert_eq!(made.data()["last_used_at"], Value::Null);
    let key = text(&made.data()["api_key"]);
    world.call(Method::GET, "/agents", &key, None).await.is(200, "");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let listed = world.call(Method::GET, "/api-keys", &admin, None).await.is(200, "");
        if listed.data()[0]["last_used_at"] == json!(world.store.store.now()) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", listed.body);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
