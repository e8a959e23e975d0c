//! A whole control plane on a throw-away SQLite, for tests that go through the router.

use std::sync::Arc;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{OrgId, TenantId, UserId};
use aegis_core::principal::Role;
use aegis_store::ledger::Head;
use aegis_store::testing::TestStore;
use aegis_store::user::User;
use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::caller::TENANT_HEADER;
use crate::config::{Config, Data};
use crate::router::router;
use crate::state::{App, AppState};
use crate::token::TokenSigner;

/// Bytes an answer has at most.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// The control plane with two tenants.
pub(crate) struct TestApi {
    pub(crate) app: App,
    pub(crate) tenant: TenantId,
    pub(crate) other: TenantId,
    pub(crate) store: TestStore,
    router: Router,
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    token: String,
}

impl TestApi {
    pub(crate) async fn start() -> Self {
        let store = TestStore::sqlite().await;
        let (tenant, other) = (store.tenant().await, store.tenant().await);
        let data = Data { dir: store.folder().to_owned() };
        let config = Config { data, ..Config::default() };
        let signer = TokenSigner::from_seed(&[7; 32], &config.deployment);
        let clock = Arc::clone(&store.clock);
        let app = AppState::new(config, store.store.clone(), signer, clock, Arc::new(SystemEntropy)).await.unwrap();
        let app = Arc::new(app);
        tokio::spawn(Arc::clone(&app.directory).follow());
        Self { router: router(&app), app, tenant, other, store }
    }

    /// A user of the first tenant.
    pub(crate) fn user(&self, role: Role) -> Asker {
        self.user_of(self.tenant, role)
    }

    /// A user of a tenant.
    pub(crate) fn user_of(&self, tenant: TenantId, role: Role) -> Asker {
        let now = self.app.clock.now();
        let user = User {
            id: UserId::generate(now, &SystemEntropy),
            tenant_id: tenant,
            email: "ada@example.com".into(),
            full_name: None,
            role,
            platform_admin: false,
            is_active: true,
            password_hash: String::new(),
            created_at: now,
            updated_at: now,
        };
        let org = OrgId::from_uuid(tenant.as_uuid());
        let token = self.app.signer.for_user(&user, org, now, &SystemEntropy).unwrap();
        Asker { tenant, user: user.id, token: token.text.expose().to_owned() }
    }

    /// Sends a request; status and envelope of the answer.
    pub(crate) async fn call(
        &self,
        who: &Asker,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let (head, bytes) = self.bytes(who, method, path, body).await;
        (head.status, serde_json::from_slice(&bytes).unwrap())
    }

    /// Sends a request; head and body of the answer.
    pub(crate) async fn bytes(
        &self,
        who: &Asker,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (http::response::Parts, axum::body::Bytes) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(TENANT_HEADER, who.tenant.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", who.token));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or(Body::empty(), |value| Body::from(value.to_string()));
        let answer = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        (head, axum::body::to_bytes(body, ANSWER_MAX).await.unwrap())
    }

    /// The answer's bytes, without envelope; asked by nobody or somebody, who names no tenant.
    pub(crate) async fn fetch(&self, who: Option<&Asker>, path: &str) -> (StatusCode, Vec<u8>) {
        let mut request = Request::builder().uri(path);
        if let Some(who) = who {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", who.token));
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        (status, axum::body::to_bytes(answer.into_body(), ANSWER_MAX).await.unwrap().to_vec())
    }

    pub(crate) async fn get(&self, who: &Asker, path: &str) -> (StatusCode, Value) {
        self.call(who, Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, who: &Asker, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(who, Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, who: &Asker, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(who, Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, who: &Asker, path: &str) -> (StatusCode, Value) {
        self.call(who, Method::DELETE, path, None).await
    }

    /// Entries in the first tenant's ledger.
    pub(crate) async fn entries(&self) -> u64 {
        let mut tx = self.store.store.read(self.tenant).await.unwrap();
        Head::read(&mut tx, self.tenant).await.unwrap().size
    }
}

/// The refusal's fields, as `body.name`.
pub(crate) fn wrong_fields(answer: &Value) -> Vec<String> {
    let loc = |detail: &Value| {
        let parts = detail["loc"].as_array().unwrap().iter().map(|part| part.as_str().unwrap().to_owned());
        parts.collect::<Vec<_>>().join(".")
    };
    answer["meta"]["details"].as_array().unwrap().iter().map(loc).collect()
}
