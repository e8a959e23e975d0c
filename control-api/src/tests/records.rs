//! Every write leaves its entry in the tenant's ledger.

use std::collections::BTreeSet;

use aegis_core::principal::Role;
use aegis_store::ledger::Head;
use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Reply, World};
use crate::access::Level;
use crate::router::operations;

/// Operations that are no management writes, and why.
const OTHERWISE: &[(&str, &str, &str)] = &[
    ("POST", "/api-keys/validate", "reads"),
    ("POST", "/audit/logs/search", "reads"),
    ("POST", "/audit/logs/{audit_id}/notes", "needs a call's row: its own test sees the entry"),
    ("POST", "/auth/agent/token", "a sign-in: no state of the tenant changes"),
    ("POST", "/auth/introspect", "reads"),
    ("POST", "/auth/refresh", "goes on with a session"),
    ("POST", "/auth/token", "a sign-in: no state of the tenant changes"),
    ("POST", "/execute", "refused here: sidecars execute"),
    ("POST", "/execute/{tool_name}", "refused here: sidecars execute"),
    ("POST", "/policy/simulate", "reads"),
    ("POST", "/policy/test", "reads"),
    ("POST", "/receipts/verify", "reads"),
    ("POST", "/transparency/verify-root", "reads"),
    ("POST", "/transparency/compute", "signs what is in the ledger already"),
];

struct Script {
    world: World,
    admin: String,
    walked: BTreeSet<(String, String)>,
}

impl Script {
    async fn entries(&self) -> u64 {
        let mut db = self.world.store.store.read(self.world.tenant).await.unwrap();
        Head::read(&mut db, self.world.tenant).await.unwrap().size
    }

    /// Carries out one write of the operation with this path.
    async fn write(&mut self, method: Method, template: &str, path: &str, token: &str, body: Option<Value>) -> Reply {
        let before = self.entries().await;
        let reply = self.world.call(method.clone(), path, token, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", reply.body);
        assert!(self.entries().await > before, "{method} {path} left no entry");
        self.walked.insert((method.to_string(), template.to_owned()));
        reply
    }

    async fn post(&mut self, path: &str, body: Value) -> Reply {
        let admin = self.admin.clone();
        self.write(Method::POST, path, path, &admin, Some(body)).await
    }

    async fn at(&mut self, method: Method, template: &str, id: &Value, body: Option<Value>) -> Reply {
        let (start, rest) = template.split_once('{').unwrap();
        let end = rest.split_once('}').unwrap().1;
        let admin = self.admin.clone();
        self.write(method, template, &format!("{start}{}{end}", id.as_str().unwrap()), &admin, body).await
    }
}

#[tokio::test]
async fn every_write_leaves_an_entry() {
    let world = World::new().await;
    let admin = world.platform_token().await;
    let mut script = Script { world, admin, walked: BTreeSet::new() };
    people(&mut script).await;
    agents(&mut script).await;
    rules(&mut script).await;
    for operation in operations() {
        let internal = operation.gate.level == Level::Service || operation.path.starts_with("/internal/");
        if internal || operation.method == Method::GET {
            continue;
        }
        let is_otherwise =
            OTHERWISE.iter().any(|(method, path, _)| *method == operation.method && *path == operation.path);
        let is_walked = script.walked.contains(&(operation.method.to_string(), operation.path.to_owned()));
        assert!(is_walked != is_otherwise, "{} {}: walk it here, or say why not", operation.method, operation.path);
    }
}

async fn people(script: &mut Script) {
    let tenant = script.world.tenant;
    script.post("/auth/tenants", json!({ "tenant_id": tenant, "rpm_limit": 10_000 })).await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "tenant_id": tenant });
    let ada = script.post("/auth/users", body).await.data()["id"].clone();
    script.at(Method::PATCH, "/users/{user_id}", &ada, Some(json!({ "role": "SECURITY" }))).await;
    script.post("/auth/revoke", json!({ "user_id": ada })).await;
    script.at(Method::DELETE, "/users/{user_id}", &ada, None).await;
    let invited = script.post("/users/invite", json!({ "email": "bob@example.com", "role": "VIEWER" })).await;
    let body = json!({ "token": invited.data()["invite_token"], "password": PASSWORD });
    script.post("/users/invite/accept", body).await;
    second_factors(script).await;
    let leaver = script.world.token(Role::Viewer).await;
    script.write(Method::POST, "/auth/logout", "/auth/logout", &leaver, None).await;
}

async fn second_factors(script: &mut Script) {
    let user = script.world.user(script.world.tenant, Role::Viewer, None).await;
    let token = script.world.token_of(&user);
    for last in ["/auth/totp/disable", "/users/{user_id}/totp"] {
        let enrolment = script.write(Method::POST, "/auth/totp", "/auth/totp", &token, None).await;
        let secret = enrolment.data()["secret"].clone();
        let code = |script: &Script| json!({ "code": super::second_factor::code(&script.world, &secret) });
        let body = code(script);
        script.write(Method::POST, "/auth/totp/confirm", "/auth/totp/confirm", &token, Some(body)).await;
        script.world.store.clock.advance(std::time::Duration::from_mins(1));
        if last == "/auth/totp/disable" {
            let body = code(script);
            script.write(Method::POST, last, last, &token, Some(body)).await;
        } else {
            script.at(Method::DELETE, last, &json!(user.id), None).await;
        }
    }
}

async fn agents(script: &mut Script) {
    let body = json!({ "name": "worker", "description": "works for the tests" });
    let agent = script.post("/agents", body).await.data()["id"].clone();
    script.at(Method::PATCH, "/agents/{agent_id}", &agent, Some(json!({ "risk_level": "high" }))).await;
    script.post("/auth/credentials", json!({ "agent_id": agent, "secret": "a secret of an agent" })).await;
    let key = script.post("/api-keys", json!({ "name": "key", "agent_id": agent })).await.data()["id"].clone();
    script.at(Method::DELETE, "/api-keys/{key_id}", &key, None).await;
    let grant = json!({ "tool_name": "db.*", "action": "ALLOW" });
    let grant =
        script.at(Method::POST, "/agents/{agent_id}/permissions", &agent, Some(grant)).await.data()["id"].clone();
    let path = format!("/agents/{}/permissions/{}", agent.as_str().unwrap(), grant.as_str().unwrap());
    let (admin, template) = (script.admin.clone(), "/agents/{agent_id}/permissions/{permission_id}");
    script.write(Method::DELETE, template, &path, &admin, None).await;
    script.at(Method::DELETE, "/agents/{agent_id}", &agent, None).await;
}

async fn rules(script: &mut Script) {
    let tenant = json!(script.world.tenant);
    let switch = "/decision/kill-switch/{tenant_id}";
    script.at(Method::POST, switch, &tenant, Some(json!({ "reason": "drill" }))).await;
    script.at(Method::DELETE, switch, &tenant, None).await;
    let rego = "package aegis.decision\n\nimport rego.v1\n\ndeny contains {\"id\": \"own.deny.word\", \"severity\": \"high\"} \
                if {\n\tinput.payload.word == \"forbidden\"\n}\n";
    let name = json!("words");
    for _ in 0..2 {
        script.post("/policy/upload", json!({ "name": name, "rego": rego })).await;
    }
    script.at(Method::POST, "/policy/policies/{name}/activate", &name, Some(json!({ "version": 1 }))).await;
    script.at(Method::DELETE, "/policy/policies/{name}", &name, None).await;
    let (weights, admin) = ("/risk/signal-weights", script.admin.clone());
    let body = json!({ "inference": 0.2, "policy": 0.4, "behavior": 0.2, "autonomy": 0.1, "agent_risk_level": 0.1 });
    script.write(Method::PUT, weights, weights, &admin, Some(body)).await;
    script.post("/audit/export", json!({ "format": "csv" })).await;
}
