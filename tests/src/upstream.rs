//! The tools under test: a server that remembers every call it executed, however the sidecar dies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

/// One executed call, as it arrived.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The tool's name.
    pub tool: String,
    /// `X-Aegis-Execution-ID`.
    pub execution_id: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The payload.
    pub payload: Value,
}

/// The server; ends when dropped.
pub struct Upstream {
    /// Where it listens.
    pub port: u16,
    executed: Arc<Mutex<Vec<Executed>>>,
    _server: tokio::task::JoinHandle<()>,
}

type Record = Arc<Mutex<Vec<Executed>>>;

impl Upstream {
    /// Starts it.
    ///
    /// - `test.echo` answers its payload,
    /// - `test.slow` answers after `payload.ms` milliseconds,
    /// - `test.leak` answers a row with [`leaked_key`],
    /// - `test.fail` answers 500.
    ///
    /// Other names under `test.` echo too.
    pub async fn start() -> Self {
        let executed = Record::default();
        let app = Router::new().route("/tools/{name}", post(execute)).with_state(Arc::clone(&executed));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the tools serve") });
        Self { port, executed, _server: server }
    }

    /// Every call executed so far.
    pub fn executed(&self) -> Vec<Executed> {
        self.executed.lock().unwrap().clone()
    }

    /// How many calls of the tool were executed.
    pub fn count(&self, tool: &str) -> usize {
        self.executed.lock().unwrap().iter().filter(|call| call.tool == tool).count()
    }
}

async fn execute(
    State(record): State<Record>,
    Path(tool): Path<String>,
    headers: HeaderMap,
    Json(payload): Json<Value>,
) -> (axum::http::StatusCode, Json<Value>) {
    let execution_id = headers.get("x-aegis-execution-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    record.lock().unwrap().push(Executed { tool: tool.clone(), execution_id, headers, payload: payload.clone() });
    match tool.as_str() {
        "test.slow" => {
            tokio::time::sleep(Duration::from_millis(payload["ms"].as_u64().unwrap_or(0))).await;
            (axum::http::StatusCode::OK, Json(json!({ "slept": payload["ms"] })))
        }
        "test.leak" => {
            (axum::http::StatusCode::OK, Json(json!({ "service": "warehouse", "credential": leaked_key() })))
        }
        "test.fail" => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "internal": "detail" }))),
        _ => (axum::http::StatusCode::OK, Json(payload)),
    }
}

/// What looks like a cloud provider's access key.
pub fn leaked_key() -> String {
    ["AKIA", "QRSTUVWXYZ234567"].concat()
}
