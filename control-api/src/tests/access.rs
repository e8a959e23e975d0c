//! Every operation × every role and scope × no token, other tenant, no tenant: one table, walked.

use std::collections::BTreeMap;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, SourceId};
use aegis_core::principal::{Role, Scope};
use aegis_store::user::User;
use http::{Method, Request};
use serde_json::json;

use super::World;
use crate::access::Level;
use crate::operation::Operation;
use crate::router::operations;

/// The level of each operation the product promises: method, path, level.
const PROMISED: &str = include_str!("levels.txt");

/// Operations beyond those.
const OWN: [(&str, &str, Level); 13] = [
    ("POST", "/auth/totp", Level::Read),
    ("POST", "/auth/totp/confirm", Level::Read),
    ("POST", "/auth/totp/disable", Level::Read),
    ("DELETE", "/users/{user_id}/totp", Level::Admin),
    ("POST", "/internal/sidecar/enroll", Level::Public),
    ("POST", "/internal/sidecar/renew", Level::Public),
    ("GET", "/internal/sidecar/watch", Level::Service),
    ("POST", "/internal/sidecar/heartbeat", Level::Service),
    ("POST", "/internal/audit/entries", Level::Service),
    ("GET", "/internal/sidecars", Level::ServiceOrAdmin),
    ("GET", "/transparency/log/{tenant_id}/checkpoint", Level::Public),
    ("GET", "/transparency/log/{tenant_id}/tile/{level}/{*path}", Level::Public),
    ("GET", "/transparency/log/{tenant_id}/tile/entries/{*path}", Level::Audit),
];

/// An id that nobody has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn promised() -> BTreeMap<(String, String), Level> {
    let shape =
        |path: &str| path.split('/').map(|p| if p.starts_with('{') { "{}" } else { p }).collect::<Vec<_>>().join("/");
    let promised = PROMISED.lines().map(|line| {
        let parts: Vec<_> = line.split(' ').collect();
        ((parts[0].to_owned(), shape(parts[1])), Level::parse(parts[2]).unwrap())
    });
    let own = OWN.iter().map(|(method, path, level)| (((*method).to_owned(), shape(path)), *level));
    promised.chain(own).collect()
}

fn place(operation: &Operation) -> (String, String) {
    let path =
        operation.path.split('/').map(|p| if p.starts_with('{') { "{}" } else { p }).collect::<Vec<_>>().join("/");
    (operation.method.to_string(), path)
}

#[test]
fn every_operation_has_the_promised_level() {
    let promised = promised();
    for operation in operations() {
        let level = promised.get(&place(&operation));
        assert_eq!(level, Some(&operation.gate.level), "{} {}", operation.method, operation.path);
    }
}

/// Some path of the operation: ids that nobody has.
fn concrete(operation: &Operation) -> String {
    let part = |part: &str| match part.strip_prefix('{') {
        None => part.to_owned(),
        Some(name) if name.starts_with("id") || name.ends_with("_id}") => NOBODY.to_owned(),
        Some(name) if name.starts_with("version") => "1".to_owned(),
        Some(_) => "nothing".to_owned(),
    };
    operation.path.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn request(
    world: &World,
    operation: &Operation,
    token: Option<&str>,
    tenant: Option<&str>,
) -> Request<axum::body::Body> {
    let body = (operation.method != Method::GET).then(|| json!({}));
    let mut request = world.request(operation.method.clone(), &concrete(operation), token, body);
    match tenant {
        Some(tenant) => drop(request.headers_mut().insert("x-tenant-id", tenant.parse().unwrap())),
        None => drop(request.headers_mut().remove("x-tenant-id")),
    }
    request
}

async fn token(world: &World, role: Role) -> String {
    match role {
        Role::Agent => world.agent_token(AgentId::generate(world.store.store.now(), &SystemEntropy)),
        Role::Service => {
            let (source, now) = (SourceId::generate(world.store.store.now(), &SystemEntropy), world.store.store.now());
            let issued = world.app.signer.for_sidecar(source, vec![world.tenant], now, &SystemEntropy).unwrap();
            issued.text.expose().to_owned()
        }
        person => world.token(person).await,
    }
}

#[tokio::test]
async fn each_role_reaches_its_levels_and_no_more() {
    let world = World::new().await;
    let tenant = world.tenant.to_string();
    for operation in operations().iter().filter(|o| o.gate.level != Level::Public) {
        let name = format!("{} {}", operation.method, operation.path);
        for role in Role::ALL {
            // A token of its own for each: some operations end it.
            let token = token(&world, *role).await;
            let reply = world.open(request(&world, operation, Some(&token), Some(&tenant))).await;
            let enveloped = world.send(request(&world, operation, Some(&token), Some(&tenant)));
            let admitted = operation.gate.level.admits_role(*role);
            if admitted {
                assert!(!matches!(reply.status().as_u16(), 401 | 403), "{name} refuses {role}: {}", reply.status());
            } else {
                drop(reply);
                enveloped.await.is(403, "insufficient_role");
            }
        }
    }
}

#[tokio::test]
async fn without_token_or_with_another_tenant_nobody_comes_in() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant.to_string(), world.other.to_string());
    let admin = world.platform_token().await;
    for operation in operations().iter().filter(|o| o.gate.level != Level::Public) {
        world.send(request(&world, operation, None, Some(&tenant))).await.is(401, "invalid_token");
        world.send(request(&world, operation, None, None)).await.is(401, "invalid_token");
        world.send(request(&world, operation, Some("acp_nonsense"), Some(&tenant))).await.is(401, "invalid_token");
        world.send(request(&world, operation, Some(&admin), Some(&other))).await.is(403, "tenant_mismatch");
        world.send(request(&world, operation, Some(&admin), Some("x"))).await.is(400, "invalid_tenant_id");
        if !operation.gate.tenant_optional {
            world.send(request(&world, operation, Some(&admin), None)).await.is(400, "tenant_header_required");
        }
        // The address has guessed enough for one test.
        world.app.wrong_credentials.clear(&std::net::IpAddr::from([0, 0, 0, 0]));
    }
}

#[tokio::test]
async fn only_platform_administrators_reach_the_platform() {
    let world = World::new().await;
    let (admin, platform) = (world.token(Role::Admin).await, world.platform_token().await);
    let body = json!({ "tenant_id": world.other, "tier": "pro", "daily_inference_cost_cap_usd": 2.5 });
    world.call(Method::POST, "/auth/tenants", &admin, Some(body)).await.is(403, "insufficient_role");
    let body = json!({ "tenant_id": world.tenant, "tier": "pro" });
    world.call(Method::POST, "/auth/tenants", &admin, Some(body)).await.is(403, "insufficient_role");
    let body = json!({ "tenant_id": world.other, "tier": "pro", "daily_inference_cost_cap_usd": 2.5 });
    let put = world.call(Method::POST, "/auth/tenants", &platform, Some(body)).await.is(200, "");
    assert_eq!((&put.data()["tier"], &put.data()["rpm_limit"]), (&json!("pro"), &json!(300)));
    assert_eq!(put.data()["daily_inference_cost_cap_usd"], json!("2.500000"));
    let path = format!("/auth/tenants/{}", world.other);
    world.call(Method::GET, &path, &admin, None).await.is(404, "not_found");
    let seen = world.call(Method::GET, &path, &platform, None).await.is(200, "");
    assert_eq!(seen.data()["tier"], json!("pro"));
}

#[tokio::test]
async fn a_suspended_tenant_is_served_to_platform_administrators_only() {
    let world = World::new().await;
    let (admin, platform) = (world.token(Role::Admin).await, world.platform_token().await);
    let body = json!({ "tenant_id": world.tenant, "status": "suspended", "rpm_limit": 1000 });
    world.call(Method::POST, "/auth/tenants", &platform, Some(body)).await.is(200, "");
    world.call(Method::GET, "/auth/me", &admin, None).await.is(403, "tenant_suspended");
    world.call(Method::GET, "/auth/me", &platform, None).await.is(200, "");
}

/// Whether a key with this scope alone reaches a level, written out once more.
const fn scope_reaches(scope: Scope, level: Level) -> bool {
    match level {
        Level::Public | Level::Any => true,
        Level::Read => matches!(scope, Scope::Read | Scope::Audit | Scope::Write),
        Level::Audit => matches!(scope, Scope::Audit | Scope::Write),
        Level::Write => matches!(scope, Scope::Write),
        Level::Execute => matches!(scope, Scope::Execute),
        Level::Admin | Level::Service | Level::ServiceOrAdmin | Level::Platform => false,
    }
}

#[tokio::test]
async fn each_scope_of_an_api_key_reaches_its_levels_and_no_more() {
    let world = World::new().await;
    let (admin, tenant) = (world.token(Role::Admin).await, world.tenant.to_string());
    let agent = json!({ "name": "worker", "description": "works for the tests" });
    let agent = world.call(Method::POST, "/agents", &admin, Some(agent)).await.is(201, "").data()["id"].clone();
    for scope in Scope::ALL {
        let agent_id = (*scope == Scope::Execute).then_some(&agent);
        let body = json!({ "name": "key", "scopes": [scope], "agent_id": agent_id });
        let made = world.call(Method::POST, "/api-keys", &admin, Some(body)).await.is(201, "");
        let key = made.data()["api_key"].as_str().unwrap();
        for operation in operations().iter().filter(|o| o.gate.level != Level::Public) {
            let name = format!("{} {} with {scope}", operation.method, operation.path);
            let reply = world.open(request(&world, operation, Some(key), Some(&tenant))).await;
            let refused = matches!(reply.status().as_u16(), 401 | 403);
            assert_eq!(refused, !scope_reaches(*scope, operation.gate.level), "{name}: {}", reply.status());
        }
    }
}

#[tokio::test]
async fn a_platform_administrator_reaches_the_platform_and_its_roles_levels() {
    let world = World::new().await;
    let tenant = world.tenant.to_string();
    for role in [Role::Viewer, Role::Admin] {
        for operation in operations().iter().filter(|o| o.gate.level != Level::Public) {
            let user = world.user(world.tenant, role, None).await;
            let token = world.token_of(&User { platform_admin: true, ..user });
            let reply = world.open(request(&world, operation, Some(&token), Some(&tenant))).await;
            let level = operation.gate.level;
            let admitted = level == Level::Platform || level.admits_role(role);
            let refused = matches!(reply.status().as_u16(), 401 | 403);
            assert_eq!(refused, !admitted, "{} {} as {role}: {}", operation.method, operation.path, reply.status());
        }
    }
}

/// What another tenant has, by the name of the path's parameter.
async fn foreign(world: &World) -> BTreeMap<&'static str, String> {
    let stranger = world.user(world.other, Role::Admin, None).await;
    let token = world.token_of(&stranger);
    let send = async |path: &str, body: serde_json::Value| {
        let mut request = world.request(Method::POST, path, Some(&token), Some(body));
        request.headers_mut().insert("x-tenant-id", world.other.to_string().parse().unwrap());
        world.send(request).await.is(201, "").data()["id"].as_str().unwrap().to_owned()
    };
    let agent = send("/agents", json!({ "name": "stranger", "description": "of another tenant" })).await;
    let grant = json!({ "tool_name": "db.*", "action": "ALLOW" });
    let grant = send(&format!("/agents/{agent}/permissions"), grant).await;
    let key = send("/api-keys", json!({ "name": "stranger", "agent_id": agent })).await;
    BTreeMap::from([
        ("{agent_id}", agent),
        ("{permission_id}", grant),
        ("{key_id}", key),
        ("{user_id}", stranger.id.to_string()),
        ("{tenant_id}", world.other.to_string()),
    ])
}

#[tokio::test]
async fn what_another_tenant_has_looks_like_what_nobody_has() {
    let world = World::new().await;
    let (foreign, tenant) = (foreign(&world).await, world.tenant.to_string());
    let mut compared = 0;
    for operation in operations().iter().filter(|o| o.path.contains('{') && o.gate.level != Level::Public) {
        let part = |part: &str| foreign.get(part).cloned().unwrap_or_else(|| part.to_owned());
        let theirs = operation.path.split('/').map(part).collect::<Vec<_>>().join("/");
        if theirs.contains('{') || operation.gate.level == Level::Platform {
            continue;
        }
        let name = format!("{} {theirs}", operation.method);
        let token = world.token(if operation.gate.level == Level::Service { Role::Viewer } else { Role::Admin }).await;
        let mut replies = Vec::new();
        for path in [theirs.clone(), concrete(operation)] {
            let mut request = request(&world, operation, Some(&token), Some(&tenant));
            *request.uri_mut() = path.parse().unwrap();
            let reply = world.send(request).await;
            let mut text = reply.body;
            text["meta"]["request_id"] = serde_json::Value::Null;
            let text = foreign.values().fold(text.to_string(), |text, id| text.replace(id, NOBODY));
            replies.push((reply.status, text));
        }
        assert_eq!(replies[0], replies[1], "{name}");
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}
