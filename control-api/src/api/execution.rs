//! Tag `execution`: documented here, served by sidecars. The control plane never executes.

use std::collections::BTreeMap;

use aegis_core::decision::{Decision, Level as Durability};
use aegis_core::id::{AgentId, AuditId, ExecutionId};
use aegis_store::source;
use axum::body::Body as HttpBody;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::Level;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::operation::{Failure, Operation, failure, post, tagged};
use crate::sidecar::is_connected;
use crate::state::App;
use crate::tag::Tag;

/// What a sidecar answers beside the usual; the control plane itself answers 421 only.
const REFUSALS: [Failure; 14] = [
    failure(403, "agent_not_active", "the agent may not act now"),
    failure(403, "approval_required", "a human must agree first; data holds the facts of the decision"),
    failure(403, "kill_switch_engaged", "the tenant's kill switch is engaged"),
    failure(403, "policy_denied", "a rule or finding refuses; data holds the facts of the decision"),
    failure(404, "unknown_tool", "no route leads to the tool"),
    failure(413, "payload_too_large", "the body is longer than 1 MiB"),
    failure(415, "unsupported_media_type", "the body is not application/json"),
    failure(421, "use_sidecar", "asked of the control plane: data.sidecars lists who serves it"),
    failure(422, "validation_failed", "a field is missing, unknown or out of range"),
    failure(429, "rate_limited", "a limit is reached; data names it and when it starts anew"),
    failure(502, "upstream_error", "the tool failed"),
    failure(503, "audit_unavailable", "the call cannot be recorded, so it is not made"),
    failure(503, "circuit_open", "the tool failed too often lately"),
    failure(504, "upstream_timeout", "the tool did not answer in time"),
];

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let summary = "Govern a tool call and record it";
    tagged(
        Tag::Execution,
        vec![
            post("/execute", Level::Execute, execute, summary).documents::<ToolCall, ExecutionView>().fails(&REFUSALS),
            post("/execute/{tool_name}", Level::Execute, execute_named, "Same, tool name taken from the path")
                .documents::<NamedToolCall, ExecutionView>()
                .fails(&REFUSALS),
        ],
    )
}

/// A tool call.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "sidecars read it; here it documents")]
struct ToolCall {
    /// The tool.
    #[schema(examples("db.query"))]
    tool_name: String,
    /// What the tool gets; also as `arguments`, `parameters` or `input`.
    #[schema(value_type = Object, examples(json!({"sql": "SELECT id, name FROM products LIMIT 3"})))]
    payload: Value,
    /// The agent's own name for a run of calls.
    #[schema(examples("run-1"))]
    session_id: Option<String>,
    /// The agents on whose behalf the call is made, the first cause first.
    delegation_chain: Option<Vec<AgentId>>,
    /// What the caller expects the call to cost.
    #[schema(examples(0.01))]
    cost_estimate_usd: Option<f64>,
}

/// A tool call whose tool stands in the path.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "sidecars read it; here it documents")]
struct NamedToolCall {
    /// The tool; the same as in the path, if given.
    #[schema(examples("db.query"))]
    tool_name: Option<String>,
    /// What the tool gets; also as `arguments`, `parameters` or `input`.
    #[schema(value_type = Object, examples(json!({"sql": "SELECT id, name FROM products LIMIT 3"})))]
    payload: Value,
    /// The agent's own name for a run of calls.
    #[schema(examples("run-1"))]
    session_id: Option<String>,
    /// The agents on whose behalf the call is made, the first cause first.
    delegation_chain: Option<Vec<AgentId>>,
    /// What the caller expects the call to cost.
    #[schema(examples(0.01))]
    cost_estimate_usd: Option<f64>,
}

/// A call that was made.
#[derive(Debug, Serialize, ToSchema)]
struct ExecutionView {
    /// `ALLOW` or `MONITOR`.
    action: Decision,
    /// The tool.
    #[schema(examples("db.query"))]
    tool_name: String,
    /// The call.
    execution_id: ExecutionId,
    /// Its row.
    audit_id: AuditId,
    /// 0–100.
    #[schema(examples(12))]
    risk_score: u8,
    /// 0–1.
    #[schema(examples(0.12))]
    score: f64,
    /// What was seen.
    #[schema(examples(json!([])))]
    findings: Vec<String>,
    /// How much was redacted from the answer.
    #[schema(examples(0))]
    redactions: u64,
    /// The same by kind.
    #[schema(examples(json!({})))]
    redactions_by_kind: BTreeMap<String, u64>,
    /// The tool's answer.
    #[schema(value_type = Object, examples(json!({"rows": [{"id": 1, "name": "Lamp"}]})))]
    result: Value,
    /// The signed row.
    receipt: CallReceipt,
}

/// The signed row, as evidence that stands alone.
#[derive(Debug, Serialize, ToSchema)]
struct CallReceipt {
    /// The entry; its canonical encoding (RFC 8785) is what was signed.
    #[schema(value_type = Object)]
    entry: BTreeMap<String, Value>,
    /// Ed25519, base64.
    signature: String,
    /// The key that signed.
    key_id: String,
    /// `ed25519`.
    #[schema(examples("ed25519"))]
    algorithm: String,
    /// The durability reached before the tool was called.
    level: Durability,
    /// The salt of the entry's commitments, base64.
    input_salt: Option<String>,
}

async fn execute(State(app): State<App>, caller: Caller, _: HttpBody) -> Result<Answer<()>, ApiError> {
    refer(&app, &caller).await
}

async fn execute_named(State(app): State<App>, caller: Caller, _: HttpBody) -> Result<Answer<()>, ApiError> {
    refer(&app, &caller).await
}

/// Who serves calls of the tenant: its connected sidecars.
async fn refer(app: &App, caller: &Caller) -> Result<Answer<()>, ApiError> {
    let (tenant, now) = (caller.tenant_id(), app.clock.now());
    let sources = source::list(&mut *app.store.read(tenant).await?, tenant).await?;
    let connected = sources.into_iter().filter(|source| is_connected(source, now) && !source.public_url.is_empty());
    Err(ApiError::UseSidecar { sidecars: connected.map(|source| source.public_url).collect() })
}
