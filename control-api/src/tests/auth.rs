//! Signing in, staying in, and being put out.

use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::AgentId;
use aegis_core::principal::Role;
use aegis_store::user::User;
use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use super::{PASSWORD, Reply, World};

async fn login(world: &World, email: &str, password: &str) -> Reply {
    let body = json!({ "email": email, "password": password });
    world.send(world.request(Method::POST, "/auth/token", None, Some(body))).await
}

async fn signed_in(world: &World, role: Role) -> (User, Reply) {
    let user = world.user(world.tenant, role, Some(PASSWORD)).await;
    let reply = login(world, &user.email, PASSWORD).await.is(200, "");
    (user, reply)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_login_opens_a_session() {
    let world = World::new().await;
    let (user, session) = signed_in(&world, Role::Auditor).await;
    assert_eq!(session.data()["expires_in"], json!(900));
    assert_eq!(session.data()["role"], json!("AUDITOR"));
    let cookies: Vec<_> = session.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
    for name in ["acp_token", "acp_refresh"] {
        let cookie = cookies.iter().find(|c| c.starts_with(name)).unwrap();
        assert!(["HttpOnly", "SameSite=Strict", "Secure", "Path=/"].iter().all(|a| cookie.contains(a)), "{cookie}");
    }
    let me = world.call(Method::GET, "/auth/me", &text(&session.data()["access_token"]), None).await.is(200, "");
    assert_eq!(me.data()["id"], json!(user.id));
    assert_eq!(me.data()["email"], json!(user.email));
}

#[tokio::test]
async fn every_failed_login_gets_the_same_answer() {
    let world = World::new().await;
    let user = world.user(world.tenant, Role::Admin, Some(PASSWORD)).await;
    let stranger = world.user(world.other, Role::Admin, Some(PASSWORD)).await;
    let mut bodies = Vec::new();
    for (email, password) in
        [(user.email.as_str(), "wrong horse battery"), ("nobody@example.com", PASSWORD), (&stranger.email, PASSWORD)]
    {
        let mut reply = login(&world, email, password).await.is(401, "invalid_credentials");
        reply.body["meta"]["request_id"] = Value::Null;
        bodies.push(reply.body);
    }
    let mut unknown_tenant =
        world.request(Method::POST, "/auth/token", None, Some(json!({ "email": user.email, "password": PASSWORD })));
    unknown_tenant.headers_mut().insert("x-tenant-id", "00000000-0000-4000-8000-000000000000".parse().unwrap());
    let mut reply = world.send(unknown_tenant).await.is(401, "invalid_credentials");
    reply.body["meta"]["request_id"] = Value::Null;
    bodies.push(reply.body);
    bodies.dedup();
    assert_eq!(bodies.len(), 1);

    let mut no_tenant =
        world.request(Method::POST, "/auth/token", None, Some(json!({ "email": user.email, "password": PASSWORD })));
    no_tenant.headers_mut().remove("x-tenant-id");
    world.send(no_tenant).await.is(400, "tenant_header_required");
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_session() {
    let world = World::new().await;
    let (_, first) = signed_in(&world, Role::Viewer).await;
    let refresh = |token: &Value| {
        world.send(world.request(Method::POST, "/auth/refresh", None, Some(json!({ "refresh_token": token }))))
    };
    let second = refresh(&first.data()["refresh_token"]).await.is(200, "");
    let access = text(&second.data()["access_token"]);
    world.call(Method::GET, "/auth/me", &access, None).await.is(200, "");
    refresh(&first.data()["refresh_token"]).await.is(401, "invalid_token");
    refresh(&second.data()["refresh_token"]).await.is(401, "invalid_token");
    world.call(Method::GET, "/auth/me", &access, None).await.is(401, "invalid_token");
    refresh(&json!("acr_unknown")).await.is(401, "invalid_token");
}

#[tokio::test]
async fn logging_out_ends_token_and_session() {
    let world = World::new().await;
    let (_, session) = signed_in(&world, Role::Viewer).await;
    let token = text(&session.data()["access_token"]);
    let out = world.call(Method::POST, "/auth/logout", &token, None).await.is(200, "");
    assert_eq!(out.data()["revoked"], json!(true));
    world.call(Method::GET, "/auth/me", &token, None).await.is(401, "invalid_token");
    let body = json!({ "refresh_token": session.data()["refresh_token"] });
    world.send(world.request(Method::POST, "/auth/refresh", None, Some(body))).await.is(401, "invalid_token");
}

#[tokio::test]
async fn revoking_a_user_voids_what_was_issued_and_nothing_later() {
    let world = World::new().await;
    let (admin, user) = (world.token(Role::Admin).await, world.user(world.tenant, Role::Viewer, None).await);
    let token = world.token_of(&user);
    world.call(Method::GET, "/auth/me", &token, None).await.is(200, "");
    let revoked =
        world.call(Method::POST, "/auth/revoke", &admin, Some(json!({ "user_id": user.id }))).await.is(200, "");
    assert_eq!(revoked.data()["revoked"], json!(true));
    world.call(Method::GET, "/auth/me", &token, None).await.is(401, "invalid_token");
    world.store.clock.advance(Duration::from_secs(1));
    world.call(Method::GET, "/auth/me", &world.token_of(&user), None).await.is(200, "");
    let nobody = json!({ "user_id": world.user(world.other, Role::Viewer, None).await.id });
    world.call(Method::POST, "/auth/revoke", &admin, Some(nobody)).await.is(404, "not_found");
    world.call(Method::POST, "/auth/revoke", &admin, Some(json!({}))).await.is(422, "validation_failed");
}

#[tokio::test]
async fn tokens_end_with_their_time_and_foreign_ones_never_begin() {
    let world = World::new().await;
    let token = world.token(Role::Admin).await;
    let stranger = crate::token::TokenSigner::from_seed(&[9; 32], "local");
    let user = world.user(world.tenant, Role::Admin, None).await;
    let org = aegis_core::id::OrgId::from_uuid(world.tenant.as_uuid());
    let forged = stranger.for_user(&user, org, world.store.store.now(), &SystemEntropy).unwrap();
    world.call(Method::GET, "/auth/me", forged.text.expose(), None).await.is(401, "invalid_token");
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
    world.call(Method::GET, "/auth/me", &unsigned, None).await.is(401, "invalid_token");
    world.call(Method::GET, "/auth/me", &token, None).await.is(200, "");
    world.store.clock.advance(Duration::from_secs(901));
    world.call(Method::GET, "/auth/me", &token, None).await.is(401, "invalid_token");
}

#[tokio::test]
async fn cookies_read_freely_and_write_only_with_the_csrf_header() {
    let world = World::new().await;
    let (_, session) = signed_in(&world, Role::Admin).await;
    let cookie = |name: &str| {
        let all = session.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap().to_owned());
        let found = all.into_iter().find_map(|c| c.strip_prefix(&format!("{name}=")).map(str::to_owned)).unwrap();
        found.split(';').next().unwrap().to_owned()
    };
    let cookies = format!(
        "acp_token={}; acp_csrf={}; acp_refresh={}",
        cookie("acp_token"),
        cookie("acp_csrf"),
        cookie("acp_refresh")
    );
    let request = |method: Method, path: &str, csrf: Option<&str>| {
        let request = Request::builder().method(method).uri(path).header("cookie", &cookies);
        let request = request.header("x-tenant-id", world.tenant.to_string());
        let request = if let Some(csrf) = csrf { request.header("x-csrf-token", csrf) } else { request };
        world.send(request.body(Body::empty()).unwrap())
    };
    request(Method::GET, "/auth/me", None).await.is(200, "");
    request(Method::POST, "/auth/logout", None).await.is(403, "csrf_token_required");
    request(Method::POST, "/auth/logout", Some("guess")).await.is(403, "csrf_token_required");
    request(Method::POST, "/auth/refresh", None).await.is(403, "csrf_token_required");
    request(Method::POST, "/auth/refresh", Some(&cookie("acp_csrf"))).await.is(200, "");
    request(Method::POST, "/auth/logout", Some(&cookie("acp_csrf"))).await.is(200, "");
    request(Method::GET, "/auth/me", None).await.is(401, "invalid_token");
}

#[tokio::test]
async fn introspection_tells_of_the_tenants_own_tokens_only() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let look = |token: String| world.call(Method::POST, "/auth/introspect", &admin, Some(json!({ "token": token })));
    let own = look(admin.clone()).await.is(200, "");
    assert_eq!((&own.data()["active"], &own.data()["role"]), (&json!(true), &json!("ADMIN")));
    assert_eq!(own.data()["exp"].as_i64().unwrap() - own.data()["iat"].as_i64().unwrap(), 900);
    let foreign = world.user(world.other, Role::Admin, None).await;
    for token in [world.token_of(&foreign), "nonsense".to_owned(), "acp_nonsense".to_owned()] {
        let reply = look(token).await.is(200, "");
        assert_eq!((&reply.data()["active"], &reply.data()["role"]), (&json!(false), &Value::Null));
    }
}

#[tokio::test]
async fn an_agent_signs_in_with_its_secret() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let made = world
        .call(Method::POST, "/agents", &admin, Some(json!({ "name": "worker", "description": "works for the tests" })))
        .await;
    let agent = made.data()["id"].clone();
    let secret = "a secret of an agent";
    let body = json!({ "agent_id": agent, "secret": secret });
    world.call(Method::POST, "/auth/credentials", &admin, Some(body.clone())).await.is(200, "");
    let token = world.send(world.request(Method::POST, "/auth/agent/token", None, Some(body))).await.is(200, "");
    assert_eq!(token.data()["role"], json!("AGENT"));
    let me = world.call(Method::GET, "/auth/me", &text(&token.data()["access_token"]), None).await.is(200, "");
    assert_eq!((&me.data()["id"], &me.data()["full_name"]), (&agent, &json!("worker")));

    let wrong = json!({ "agent_id": agent, "secret": "another secret of it" });
    world
        .send(world.request(Method::POST, "/auth/agent/token", None, Some(wrong)))
        .await
        .is(401, "invalid_credentials");
    let mut elsewhere =
        world.request(Method::POST, "/auth/agent/token", None, Some(json!({ "agent_id": agent, "secret": secret })));
    elsewhere.headers_mut().insert("x-tenant-id", world.other.to_string().parse().unwrap());
    world.send(elsewhere).await.is(401, "invalid_credentials");
    let unknown = json!({ "agent_id": AgentId::generate(world.store.store.now(), &SystemEntropy), "secret": secret });
    world.call(Method::POST, "/auth/credentials", &admin, Some(unknown)).await.is(404, "not_found");
}

#[tokio::test]
async fn new_users_need_a_real_password_a_free_address_and_a_persons_role() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let make = |email: &str, password: &str, role: &str| {
        let body = json!({ "email": email, "password": password, "tenant_id": world.tenant, "role": role });
        world.call(Method::POST, "/auth/users", &admin, Some(body))
    };
    make("ada@example.com", "short", "VIEWER").await.is(422, "validation_failed");
    make("ada.lovelace@example.com", "ADA.lovelace@example.com", "VIEWER").await.is(422, "validation_failed");
    make("ada@example.com", PASSWORD, "AGENT").await.is(422, "validation_failed");
    make("no address", PASSWORD, "VIEWER").await.is(422, "validation_failed");
    let ada = make("Ada@Example.com", PASSWORD, "SECURITY").await.is(201, "");
    assert_eq!((&ada.data()["email"], &ada.data()["role"]), (&json!("ada@example.com"), &json!("SECURITY")));
    make("ada@example.com", PASSWORD, "VIEWER").await.is(409, "email_taken");
    let elsewhere = json!({ "email": "b@example.com", "password": PASSWORD, "tenant_id": world.other });
    world.call(Method::POST, "/auth/users", &admin, Some(elsewhere)).await.is(422, "validation_failed");
    login(&world, "ADA@example.com", PASSWORD).await.is(200, "");
}
