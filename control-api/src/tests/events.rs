//! The event stream: live, replayed, and for the right eyes only.

use aegis_core::principal::Role;
use axum::body::Body;
use futures::StreamExt as _;
use http::{Method, Request};
use serde_json::{Value, json};

use super::World;

/// How long an event may take before the test fails.
const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(10);

type Stream = std::pin::Pin<Box<dyn futures::Stream<Item = String> + Send>>;

async fn listen(world: &World, token: &str, last: Option<u64>) -> Stream {
    let mut request = Request::get(format!("/events/stream?token={token}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = world.open(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Box::pin(response.into_body().into_data_stream().map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap()))
}

/// The next event: its id and its data.
async fn next(stream: &mut Stream) -> (Option<u64>, Value) {
    let text =
        tokio::time::timeout(WAIT_MAX, stream.next()).await.expect("an event in time").expect("the stream ended");
    let line = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    (line("id:").map(|id| id.parse().unwrap()), serde_json::from_str(line("data:").unwrap()).unwrap())
}

async fn make_agent(world: &World, admin: &str, name: &str) -> Value {
    let made = world
        .call(Method::POST, "/agents", admin, Some(json!({ "name": name, "description": "works for the tests" })))
        .await;
    assert_eq!(made.body["success"], json!(true), "{}", made.body);
    made.data()["id"].clone()
}

#[tokio::test]
async fn what_happens_is_told_and_told_again_to_who_missed_it() {
    let world = World::new().await;
    let (admin, viewer) = (world.token(Role::Admin).await, world.token(Role::Viewer).await);
    let mut live = listen(&world, &viewer, None).await;
    let (_, connected) = next(&mut live).await;
    assert_eq!(connected["status"], json!("connected"));
    let first = make_agent(&world, &admin, "first").await;
    let (id, event) = next(&mut live).await;
    assert_eq!((&event["type"], &event["data"]["agent_id"]), (&json!("agent_created"), &first));
    let second = make_agent(&world, &admin, "second").await;
    assert_eq!(next(&mut live).await.1["data"]["agent_id"], second);

    let mut late = listen(&world, &viewer, id).await;
    next(&mut late).await;
    let (later, event) = next(&mut late).await;
    assert!(later > id);
    assert_eq!(event["data"]["agent_id"], second);
}

#[tokio::test]
async fn agents_hear_of_themselves_only() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let (own, other) = (make_agent(&world, &admin, "own").await, make_agent(&world, &admin, "other").await);
    let token = world.agent_token(own.as_str().unwrap().parse().unwrap());
    let mut stream = listen(&world, &token, Some(0)).await;
    assert_eq!(next(&mut stream).await.1["agent_id"], own);
    assert_eq!(next(&mut stream).await.1["data"]["agent_id"], own);
    for (agent, text) in [(&other, "another description"), (&own, "a new description")] {
        let path = format!("/agents/{}", agent.as_str().unwrap());
        let reply = world.call(Method::PATCH, &path, &admin, Some(json!({ "description": text }))).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let (_, event) = next(&mut stream).await;
    assert_eq!((&event["type"], &event["data"]["agent_id"]), (&json!("agent_updated"), &own));
    let path = format!("/events/stream?agent_id={}", other.as_str().unwrap());
    world.call(Method::GET, &path, &token, None).await.is(403, "agent_mismatch");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked() {
    let world = World::new().await;
    let (admin, user) = (world.token(Role::Admin).await, world.user(world.tenant, Role::Viewer, None).await);
    let mut stream = listen(&world, &world.token_of(&user), None).await;
    next(&mut stream).await;
    world.call(Method::POST, "/auth/revoke", &admin, Some(json!({ "user_id": user.id }))).await.is(200, "");
    assert_eq!(stream.next().await, None);
}
