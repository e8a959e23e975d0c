//! People come by invite, change and go.

use std::time::Duration;

use aegis_core::principal::Role;
use aegis_store::user::User;
use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Reply, World};

async fn invite(world: &World, token: &str, email: &str, role: &str) -> Reply {
    let body = json!({ "email": email, "role": role });
    world.call(Method::POST, "/users/invite", token, Some(body)).await
}

async fn accept(world: &World, token: &Value, password: &str) -> Reply {
    let body = json!({ "token": token, "password": password });
    world.send(world.request(Method::POST, "/users/invite/accept", None, Some(body))).await
}

async fn login(world: &World, email: &str) -> Reply {
    let body = json!({ "email": email, "password": PASSWORD });
    world.send(world.request(Method::POST, "/auth/token", None, Some(body))).await
}

#[tokio::test]
async fn an_invite_is_taken_up_once_and_opens_the_door() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let invited = invite(&world, &admin, "Ada@Example.com", "AUDITOR").await.is(201, "");
    assert_eq!((&invited.data()["is_active"], &invited.data()["is_pending"]), (&json!(false), &json!(true)));
    assert_eq!((&invited.data()["email"], &invited.data()["delivery"]), (&json!("ada@example.com"), &json!("token")));
    login(&world, "ada@example.com").await.is(401, "invalid_credentials");
    let token = &invited.data()["invite_token"];
    accept(&world, token, "short").await.is(422, "validation_failed");
    accept(&world, token, "ADA@example.com").await.is(422, "validation_failed");
    let accepted = accept(&world, token, PASSWORD).await.is(200, "");
    assert_eq!(accepted.data()["tenant_id"], json!(world.tenant));
    assert_eq!(accepted.data()["user"]["is_active"], json!(true));
    accept(&world, token, PASSWORD).await.is(404, "not_found");
    let session = login(&world, "ada@example.com").await.is(200, "");
    assert_eq!(session.data()["role"], json!("AUDITOR"));
    invite(&world, &admin, "ada@example.com", "ADMIN").await.is(409, "email_taken");
}

#[tokio::test]
async fn an_invite_ends_when_it_is_replaced_withdrawn_or_a_day_old() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let first = invite(&world, &admin, "ada@example.com", "VIEWER").await.is(201, "");
    let second = invite(&world, &admin, "ada@example.com", "SECURITY").await.is(201, "");
    assert_eq!((&first.data()["id"], &second.data()["role"]), (&second.data()["id"], &json!("SECURITY")));
    accept(&world, &first.data()["invite_token"], PASSWORD).await.is(404, "not_found");
    let path = format!("/users/{}", second.data()["id"].as_str().unwrap());
    let early = json!({ "is_active": true });
    world.call(Method::PATCH, &path, &admin, Some(early)).await.is(409, "invite_pending");
    world.call(Method::DELETE, &path, &admin, None).await.is(200, "");
    accept(&world, &second.data()["invite_token"], PASSWORD).await.is(404, "not_found");
    let third = invite(&world, &admin, "ada@example.com", "VIEWER").await.is(201, "");
    world.store.clock.advance(Duration::from_hours(24));
    accept(&world, &third.data()["invite_token"], PASSWORD).await.is(404, "not_found");
}

#[tokio::test]
async fn invites_are_for_people_with_an_address() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    invite(&world, &admin, "ada@example.com", "AGENT").await.is(422, "validation_failed");
    invite(&world, &admin, "ada@example.com", "SERVICE").await.is(422, "validation_failed");
    invite(&world, &admin, "nowhere", "VIEWER").await.is(422, "validation_failed");
}

#[tokio::test]
async fn a_role_change_voids_tokens_and_a_departure_ends_sessions() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let user = world.user(world.tenant, Role::Security, Some(PASSWORD)).await;
    let session = login(&world, &user.email).await.is(200, "");
    let token = session.data()["access_token"].as_str().unwrap();
    world.call(Method::GET, "/agents", token, None).await.is(200, "");
    let path = format!("/users/{}", user.id);
    let changed = world.call(Method::PATCH, &path, &admin, Some(json!({ "role": "VIEWER" }))).await.is(200, "");
    assert_eq!(changed.data()["role"], json!("VIEWER"));
    world.call(Method::GET, "/agents", token, None).await.is(401, "invalid_token");
    // The session lives on, with the new role.
    world.store.clock.advance(Duration::from_secs(1));
    let body = json!({ "refresh_token": session.data()["refresh_token"] });
    let refreshed = world.send(world.request(Method::POST, "/auth/refresh", None, Some(body))).await.is(200, "");
    assert_eq!(refreshed.data()["role"], json!("VIEWER"));
    let gone = world.call(Method::DELETE, &path, &admin, None).await.is(200, "");
    assert_eq!(gone.data()["is_active"], json!(false));
    let token = refreshed.data()["access_token"].as_str().unwrap();
    world.call(Method::GET, "/agents", token, None).await.is(401, "invalid_token");
    let body = json!({ "refresh_token": refreshed.data()["refresh_token"] });
    world.send(world.request(Method::POST, "/auth/refresh", None, Some(body))).await.is(401, "invalid_token");
    login(&world, &user.email).await.is(401, "invalid_credentials");
    let back = world.call(Method::PATCH, &path, &admin, Some(json!({ "is_active": true }))).await.is(200, "");
    assert_eq!(back.data()["is_active"], json!(true));
    login(&world, &user.email).await.is(200, "");
}

#[tokio::test]
async fn the_last_admin_stays() {
    let world = World::new().await;
    let user = world.user(world.tenant, Role::Admin, None).await;
    let (token, path) = (world.token_of(&user), format!("/users/{}", user.id));
    for body in [json!({ "role": "VIEWER" }), json!({ "is_active": false })] {
        world.call(Method::PATCH, &path, &token, Some(body)).await.is(409, "last_admin");
    }
    world.call(Method::DELETE, &path, &token, None).await.is(409, "last_admin");
    world.user(world.tenant, Role::Admin, None).await;
    world.call(Method::DELETE, &path, &token, None).await.is(200, "");
}

#[tokio::test]
async fn platform_administrators_are_made_and_unmade_by_their_like() {
    let world = World::new().await;
    let (admin, platform) = (world.token(Role::Admin).await, world.platform_token().await);
    let user = world.user(world.tenant, Role::Admin, None).await;
    let path = format!("/users/{}", user.id);
    let rise = json!({ "platform_admin": true });
    world.call(Method::PATCH, &path, &admin, Some(rise.clone())).await.is(403, "insufficient_role");
    let risen = world.call(Method::PATCH, &path, &platform, Some(rise)).await.is(200, "");
    assert_eq!(risen.data()["platform_admin"], json!(true));
    world.store.clock.advance(Duration::from_secs(1));
    let token = world.token_of(&User { platform_admin: true, ..user });
    world.call(Method::GET, "/admin/tenants", &token, None).await.is(200, "");
    world.call(Method::PATCH, &path, &admin, Some(json!({ "role": "VIEWER" }))).await.is(403, "insufficient_role");
    world.call(Method::DELETE, &path, &admin, None).await.is(403, "insufficient_role");
    world.call(Method::DELETE, &path, &token, None).await.is(409, "last_platform_admin");
}

#[tokio::test]
async fn the_list_narrows_pages_and_stays_in_its_tenant() {
    let world = World::new().await;
    let auditor = world.token(Role::Auditor).await;
    for role in [Role::Viewer, Role::Viewer, Role::Admin] {
        world.user(world.tenant, role, None).await;
    }
    let foreign = world.user(world.other, Role::Viewer, None).await;
    let list = |query: &'static str| world.call(Method::GET, query, &auditor, None);
    let all = list("/users").await.is(200, "");
    assert_eq!((all.data().as_array().unwrap().len(), &all.body["meta"]["total"]), (4, &json!(4)));
    assert!(!all.body.to_string().contains(&foreign.id.to_string()));
    assert_eq!(list("/users?role=viewer&is_active=true").await.is(200, "").body["meta"]["total"], json!(2));
    let page = list("/users?limit=1&offset=1").await.is(200, "");
    assert_eq!(page.data()[0], all.data()[1]);
    for bad in ["/users?role=king", "/users?limit=0", "/users?limit=1001", "/users?offset=1000001", "/users?colour=1"] {
        list(bad).await.is(422, "validation_failed");
    }
    let admin = world.token(Role::Admin).await;
    let path = format!("/users/{}", foreign.id);
    world.call(Method::PATCH, &path, &admin, Some(json!({ "role": "ADMIN" }))).await.is(404, "not_found");
    world.call(Method::DELETE, &path, &admin, None).await.is(404, "not_found");
}
