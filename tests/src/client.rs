//! Clients of the deployment: an administrator, and agents that call tools.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body; null if it was no JSON.
    pub body: Value,
}

impl Answer {
    /// Sends and reads; `None` if the connection failed.
    pub async fn of(request: RequestBuilder) -> Option<Self> {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.ok()?;
        Some(Self { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// The stable identifier of a refusal, or nothing.
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    /// The envelope's data; fails unless the answer is a success.
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert!(self.status < 300, "{} {}", self.status, self.body);
        &self.body["data"]
    }

    /// Fails unless the answer is this refusal.
    #[track_caller]
    pub fn expect(&self, status: u16, error: &str) {
        assert_eq!((self.status, self.error()), (status, error), "{}", self.body);
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// A client for one test: short connects, no proxies.
pub fn http() -> reqwest::Client {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_mins(1))
        .build()
        .expect("a client")
}

/// An administrator who is logged in.
#[derive(Clone)]
pub struct Admin {
    /// The HTTP client.
    pub http: reqwest::Client,
    /// The control plane's address.
    pub base: String,
    /// The tenant.
    pub tenant_id: String,
    /// The access token.
    pub token: String,
}

impl Admin {
    /// One request; fails if nothing answers.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.http.request(method.clone(), format!("{}{path}", self.base));
        let mut request = request.bearer_auth(&self.token).header("x-tenant-id", &self.tenant_id);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request).await.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// `GET`, which must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        assert!(answer.status < 300, "GET {path}: {} {}", answer.status, answer.body);
        answer.body["data"].clone()
    }

    /// `POST`, which must succeed.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask(Method::POST, path, Some(body)).await;
        assert!(answer.status < 300, "POST {path}: {} {}", answer.status, answer.body);
        answer.body["data"].clone()
    }

    /// Makes an active agent with these grants, a secret and a token.
    pub async fn agent(&self, name: &str, tools: &[&str]) -> Agent {
        let body = json!({ "name": name, "description": "An agent of the tests", "risk_level": "low" });
        let made = self.post("/agents", body).await;
        let id = made["id"].as_str().expect("an id").to_owned();
        if made["status"] != "ACTIVE" {
            let answer = self.ask(Method::PATCH, &format!("/agents/{id}"), Some(json!({ "status": "ACTIVE" }))).await;
            answer.data();
        }
        for tool in tools {
            self.grant(&id, tool).await;
        }
        let secret = format!("secret-of-{name}-{id}");
        self.post("/auth/credentials", json!({ "agent_id": id, "secret": secret })).await;
        let token = self.post("/auth/agent/token", json!({ "agent_id": id, "secret": secret })).await;
        let token = token["access_token"].as_str().expect("a token").to_owned();
        Agent { http: self.http.clone(), tenant_id: self.tenant_id.clone(), id, secret, token }
    }

    /// Grants a tool; the grant's id.
    pub async fn grant(&self, agent_id: &str, tool: &str) -> String {
        let grant = self
            .post(&format!("/agents/{agent_id}/permissions"), json!({ "tool_name": tool, "action": "ALLOW" }))
            .await;
        grant["id"].as_str().expect("an id").to_owned()
    }

    /// All rows of tool calls of the tenant, oldest first.
    pub async fn call_rows(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        loop {
            let page = self.get(&format!("/audit/logs?limit=500&action=execute&offset={}", rows.len())).await;
            let items = page["items"].as_array().expect("items").clone();
            if items.is_empty() {
                rows.reverse();
                return rows;
            }
            rows.extend(items);
        }
    }

    /// The check of the whole chain.
    pub async fn verify(&self) -> Value {
        self.get("/audit/logs/verify").await
    }
}

/// An agent that is logged in.
#[derive(Clone)]
pub struct Agent {
    /// The HTTP client.
    pub http: reqwest::Client,
    /// The tenant.
    pub tenant_id: String,
    /// The agent.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Its access token.
    pub token: String,
}

impl Agent {
    /// A call, not sent yet.
    pub fn request(&self, sidecar: &str, tool: &str, payload: &Value) -> RequestBuilder {
        self.http
            .post(format!("{sidecar}/execute"))
            .bearer_auth(&self.token)
            .header("x-tenant-id", &self.tenant_id)
            .header("x-agent-id", &self.id)
            .json(&json!({ "tool_name": tool, "payload": payload }))
    }

    /// A call; `None` if the connection failed before the whole answer was there.
    pub async fn try_call(&self, sidecar: &str, tool: &str, payload: &Value) -> Option<Answer> {
        Answer::of(self.request(sidecar, tool, payload)).await
    }

    /// A call that must be answered.
    pub async fn call(&self, sidecar: &str, tool: &str, payload: &Value) -> Answer {
        self.try_call(sidecar, tool, payload).await.unwrap_or_else(|| panic!("{tool}: no answer"))
    }
}

/// Whether the address answers 2xx.
pub async fn is_up(http: &reqwest::Client, url: &str) -> bool {
    http.get(url)
        .timeout(Duration::from_secs(2))
        .send()
        .await
        .is_ok_and(|a: reqwest::Response| a.status() == StatusCode::OK)
}
