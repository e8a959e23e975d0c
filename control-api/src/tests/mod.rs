//! Tests through the router, on a database of their own and with a clock that is moved by hand.

mod access;
mod api_keys;
mod auth;
mod document;
mod envelope;
mod events;
mod lockout;
mod records;
mod repetition;
mod second_factor;
mod sidecar;
mod tenants;
mod users;

use std::sync::Arc;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, OrgId, TenantId, UserId};
use aegis_core::principal::Role;
use aegis_store::testing::TestStore;
use aegis_store::user::{self, User};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::config::{Config, Data};
use crate::router::router;
use crate::state::{App, AppState};
use crate::token::TokenSigner;

/// A password that is good enough.
const PASSWORD: &str = "correct horse battery";

/// A control plane with two tenants.
struct World {
    store: TestStore,
    app: App,
    router: Router,
    tenant: TenantId,
    other: TenantId,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// An answer, read to its end.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    fn data(&self) -> &Value {
        &self.body["data"]
    }

    #[track_caller]
    fn is(self, status: u16, error: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.error()), (status, error), "{}", self.body);
        self
    }
}

impl World {
    async fn new() -> Self {
        let store = TestStore::sqlite().await;
        let (tenant, other) = (store.tenant().await, store.tenant().await);
        let data = Data { dir: store.folder().to_owned() };
        let config = Config { data, ..Config::default() };
        let signer = TokenSigner::from_seed(&[7; 32], &config.deployment);
        let app =
            AppState::new(config, store.store.clone(), signer, store.clock.clone(), Arc::new(SystemEntropy)).await;
        let app = Arc::new(app.unwrap());
        let tasks = vec![tokio::spawn(Arc::clone(&app.directory).follow())];
        Self { router: router(&app), store, app, tenant, other, tasks }
    }

    /// A user, with the password [`PASSWORD`] hashed only if asked for: that is slow on purpose.
    async fn user(&self, tenant: TenantId, role: Role, password: Option<&str>) -> User {
        let id = UserId::generate(self.store.store.now(), &SystemEntropy);
        let password_hash = match password {
            Some(password) => self.app.passwords.hash(aegis_core::secret::Secret::new(password)).await.unwrap(),
            None => String::new(),
        };
        let now = self.store.store.now();
        let user = User {
            id,
            tenant_id: tenant,
            email: format!("{id}@example.com"),
            full_name: None,
            role,
            platform_admin: false,
            is_active: true,
            password_hash,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.store.store.write(tenant).await.unwrap();
        user::create(&mut tx, &user).await.unwrap();
        tx.record(aegis_store::testing::admin("user.create", "user")).await.unwrap().commit().await.unwrap();
        user
    }

    /// A fresh token of a new user.
    async fn token(&self, role: Role) -> String {
        let user = self.user(self.tenant, role, None).await;
        self.token_of(&user)
    }

    fn token_of(&self, user: &User) -> String {
        let org = OrgId::from_uuid(user.tenant_id.as_uuid());
        let issued = self.app.signer.for_user(user, org, self.store.store.now(), &SystemEntropy).unwrap();
        issued.text.expose().to_owned()
    }

    async fn platform_token(&self) -> String {
        let user = self.user(self.tenant, Role::Admin, None).await;
        self.token_of(&User { platform_admin: true, ..user })
    }

    fn agent_token(&self, agent: AgentId) -> String {
        let org = OrgId::from_uuid(self.tenant.as_uuid());
        let now = self.store.store.now();
        self.app.signer.for_agent(agent, self.tenant, org, now, &SystemEntropy).unwrap().text.expose().to_owned()
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 16 * 1024 * 1024).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// Only the status and headers: for answers that never end.
    async fn open(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// A request of the tenant with a token and a JSON body.
    async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Reply {
        self.send(self.request(method, path, Some(token), body)).await
    }

    fn request(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).header("x-tenant-id", self.tenant.to_string());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        }
        .unwrap()
    }
}
