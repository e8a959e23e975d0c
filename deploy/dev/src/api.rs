//! A small client of the API, as an administrator or as an agent.

use reqwest::Method;
use serde_json::{Value, json};

use crate::credentials::{Admin, Agent};
use crate::fault::Fault;

/// Someone logged in.
#[derive(Clone)]
pub struct Session {
    http: reqwest::Client,
    base: String,
    tenant_id: String,
    token: String,
}

impl Session {
    /// Logs an administrator in.
    ///
    /// # Errors
    /// If the API refuses or can't be reached.
    pub async fn of_admin(http: &reqwest::Client, base: &str, tenant_id: &str, admin: &Admin) -> Result<Self, Fault> {
        let body = json!({ "email": admin.email, "password": admin.password });
        Self::log_in(http, base, tenant_id, "/auth/token", body).await
    }

    /// Logs an agent in.
    ///
    /// # Errors
    /// If the API refuses or can't be reached.
    pub async fn of_agent(http: &reqwest::Client, base: &str, tenant_id: &str, agent: &Agent) -> Result<Self, Fault> {
        let body = json!({ "agent_id": agent.id, "secret": agent.secret });
        Self::log_in(http, base, tenant_id, "/auth/agent/token", body).await
    }

    async fn log_in(
        http: &reqwest::Client,
        base: &str,
        tenant_id: &str,
        path: &str,
        body: Value,
    ) -> Result<Self, Fault> {
        let anonymous =
            Self { http: http.clone(), base: base.into(), tenant_id: tenant_id.into(), token: String::new() };
        let data = anonymous.send(Method::POST, path, Some(body)).await?;
        let token = data["access_token"].as_str().unwrap_or_default().to_owned();
        Ok(Self { token, ..anonymous })
    }

    /// The access token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// `GET`: the envelope's data.
    ///
    /// # Errors
    /// If the API refuses or can't be reached.
    pub async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.send(Method::GET, path, None).await
    }

    /// `POST`: the envelope's data.
    ///
    /// # Errors
    /// If the API refuses or can't be reached.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, Fault> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// `PATCH`: the envelope's data.
    ///
    /// # Errors
    /// If the API refuses or can't be reached.
    pub async fn patch(&self, path: &str, body: Value) -> Result<Value, Fault> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Fault> {
        let call = format!("{method} {path}");
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).header("x-tenant-id", &self.tenant_id);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let fault = |problem: String| Fault::Api { call: call.clone(), problem };
        let answer = request.send().await.map_err(|e| fault(e.to_string()))?;
        let status = answer.status();
        let mut envelope: Value = answer.json().await.map_err(|e| fault(format!("{status}, and {e}")))?;
        if status.is_success() {
            Ok(envelope["data"].take())
        } else {
            let (error, meta) = (envelope["error"].as_str().unwrap_or_default(), &envelope["meta"]);
            Err(fault(format!(
                "{status} {error}: {} {}",
                meta["message"].as_str().unwrap_or_default(),
                meta["details"]
            )))
        }
    }
}
