//! Answers: the envelope, the headers that every answer carries, and the one mapping from refusals to HTTP.

use std::collections::BTreeMap;

use aegis_core::decision::Decision;
use aegis_core::finding::Finding;
use aegis_core::id::{AuditId, ExecutionId, RequestId};
use aegis_core::score::BasisPoints;
use aegis_ledger::wire::Receipt;
use aegis_pipeline::counters::LimitView;
use aegis_pipeline::refusal::{Denial, DenialKind, LimitReached, Refusal};
use aegis_pipeline::timeline::Timeline;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
const DECISION: HeaderName = HeaderName::from_static("x-aegis-decision");
const AUDIT_ID: HeaderName = HeaderName::from_static("x-aegis-audit-id");
const EXECUTION_ID: HeaderName = HeaderName::from_static("x-aegis-execution-id");
const RISK: HeaderName = HeaderName::from_static("x-aegis-risk");
const REPLAYED: HeaderName = HeaderName::from_static("x-aegis-idempotent-replay");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const ALLOW: HeaderName = HeaderName::from_static("allow");

/// An answer, ready to be written.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Its headers, `Content-Length` aside.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

/// What every answer tells about its request.
#[derive(Debug, Clone)]
pub struct About {
    /// Our id of the request, or the client's, which is echoed.
    pub request_id: RequestId,
    /// The trace.
    pub trace_id: String,
    /// Limits and what is left of them.
    pub limits: Vec<LimitView>,
    /// The verdict, if there was one; gates say REFUSED.
    pub decision: Decision,
    /// The score.
    pub score: BasisPoints,
    /// The call, once it has an id.
    pub execution_id: Option<ExecutionId>,
    /// The row, if one was written.
    pub audit_id: Option<AuditId>,
    /// The stages, if the client asked for them.
    pub stages: Option<Timeline>,
    /// The tool, for failures that name it.
    pub tool_name: Option<String>,
}

/// A call that went through.
#[derive(Debug)]
pub struct Executed<'a> {
    /// What was seen.
    pub findings: &'a [Finding],
    /// Redactions by kind.
    pub redactions: &'a BTreeMap<String, u64>,
    /// The tool's answer after redaction, as [`released`].
    pub result: &'a RawValue,
    /// The tool's status.
    pub status: u16,
    /// The tool's content type.
    pub content_type: Option<&'a str>,
    /// The proof.
    pub receipt: Receipt,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    success: bool,
    data: T,
    error: Option<&'a str>,
    meta: Value,
}

#[derive(Serialize)]
struct ExecutedData<'a> {
    action: Decision,
    tool_name: Option<&'a str>,
    execution_id: Option<String>,
    audit_id: Option<String>,
    risk_score: u8,
    score: f64,
    findings: Vec<&'static str>,
    redactions: u64,
    redactions_by_kind: &'a BTreeMap<String, u64>,
    result: &'a RawValue,
    upstream: UpstreamData<'a>,
    receipt: &'a Receipt,
}

#[derive(Serialize)]
struct UpstreamData<'a> {
    status: u16,
    content_type: Option<&'a str>,
}

impl Reply {
    /// A bare JSON answer.
    pub fn raw(status: u16, body: Bytes) -> Self {
        Self { status, headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body }
    }

    /// What it costs to keep.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        self.body.len() + headers
    }

    /// A call that went through.
    pub fn executed(about: &About, done: &Executed<'_>) -> Self {
        let data = ExecutedData {
            action: about.decision,
            tool_name: about.tool_name.as_deref(),
            execution_id: about.execution_id.map(|id| id.to_string()),
            audit_id: about.audit_id.map(|id| id.to_string()),
            risk_score: about.score.as_percent(),
            score: about.score.as_fraction(),
            findings: done.findings.iter().map(|f| f.id.as_str()).collect(),
            redactions: done.redactions.values().sum(),
            redactions_by_kind: done.redactions,
            // The tool's own text: nothing re-encodes it.
            result: done.result,
            upstream: UpstreamData { status: done.status, content_type: done.content_type },
            receipt: &done.receipt,
        };
        let envelope = Envelope { success: true, data, error: None, meta: meta(about, 200, None) };
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        Self::with_headers(200, body.into(), about)
    }

    /// A refused call.
    pub fn refused(about: &About, refusal: &Refusal) -> Self {
        let (identifier, status, message) = refusal.answer();
        let data = refusal_data(about, refusal);
        let meta = meta(about, status, Some((message, refusal)));
        let body = serde_json::to_vec(&Envelope { success: false, data, error: Some(identifier), meta });
        let mut reply = Self::with_headers(status, body.unwrap_or_default().into(), about);
        if let Refusal::RateLimited(limit) = refusal {
            reply.push(RETRY_AFTER, &retry_after_s(limit).to_string());
        }
        if matches!(refusal, Refusal::CircuitOpen | Refusal::ToolBusy | Refusal::Overloaded | Refusal::AuditUnavailable)
        {
            reply.push(RETRY_AFTER, "1");
        }
        if matches!(refusal, Refusal::MethodNotAllowed) {
            reply.push(ALLOW, "POST");
        }
        reply
    }

    /// The header of a streamed answer; its body follows piece by piece.
    pub fn stream_head(about: &About, content_type: &str) -> Self {
        let mut reply = Self::with_headers(200, Bytes::new(), about);
        reply.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        reply.push(CONTENT_TYPE, content_type);
        reply.push(http::header::CACHE_CONTROL, "no-store");
        reply
    }

    /// The same answer, for a repeated idempotency key.
    #[must_use]
    pub fn replayed(&self, about: &About) -> Self {
        let mut reply = self.clone();
        reply
            .headers
            .retain(|(name, _)| *name != REQUEST_ID && *name != TRACE_ID && !name.as_str().starts_with("ratelimit-"));
        reply.push(REQUEST_ID, about.request_id.as_str());
        reply.push(TRACE_ID, &about.trace_id);
        reply.push_limits(&about.limits);
        reply.push(REPLAYED, "true");
        reply
    }

    fn with_headers(status: u16, body: Bytes, about: &About) -> Self {
        let mut reply = Self::raw(status, body);
        reply.push(REQUEST_ID, about.request_id.as_str());
        reply.push(TRACE_ID, &about.trace_id);
        reply.push(DECISION, about.decision.as_str());
        reply.push(RISK, &about.score.as_percent().to_string());
        if let Some(id) = about.audit_id {
            reply.push(AUDIT_ID, &id.to_string());
        }
        if let Some(id) = about.execution_id {
            reply.push(EXECUTION_ID, &id.to_string());
        }
        reply.push_limits(&about.limits);
        reply
    }

    /// `RateLimit-*`: the tightest limit in the three plain headers, all of them in the policy.
    fn push_limits(&mut self, limits: &[LimitView]) {
        let share = |view: &&LimitView| (view.remaining.saturating_mul(1_000_000) / view.limit.max(1), view.limit);
        let Some(tightest) = limits.iter().min_by_key(share) else { return };
        self.push(LIMIT, &tightest.limit.to_string());
        self.push(REMAINING, &tightest.remaining.to_string());
        self.push(RESET, &seconds_up(tightest.reset_after).to_string());
        let all: Vec<String> = limits
            .iter()
            .map(|v| format!("\"{}\";q={};r={};t={}", v.limit_type, v.limit, v.remaining, seconds_up(v.reset_after)))
            .collect();
        self.push(POLICY, &all.join(", "));
    }

    fn push(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
    }
}

/// The exact text that is released as `data.result`: the tool's JSON, else its text as a JSON string.
pub fn released(answer: &[u8]) -> Box<RawValue> {
    let as_json = serde_json::from_slice::<Box<RawValue>>(answer);
    as_json.unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(answer);
        serde_json::value::to_raw_value(text.as_ref()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    })
}

fn meta(about: &About, status: u16, refused: Option<(&str, &Refusal)>) -> Value {
    let mut meta = Map::new();
    meta.insert("code".into(), status.into());
    meta.insert("request_id".into(), about.request_id.as_str().into());
    if let Some((message, refusal)) = refused {
        let detail =
            if let Refusal::MalformedBody { detail } = refusal { format!(": {detail}") } else { String::new() };
        meta.insert("message".into(), format!("{message}{detail}").into());
        if let Refusal::ValidationFailed(problems) = refusal {
            let details: Vec<_> =
                problems.iter().map(|p| json!({"type": p.kind, "loc": p.loc, "msg": p.msg, "input": null})).collect();
            meta.insert("details".into(), details.into());
        }
    } else {
        meta.insert("message".into(), "ok".into());
    }
    if let Some(timeline) = &about.stages {
        let steps: Vec<_> = timeline
            .steps()
            .iter()
            .map(|s| json!({"n": s.stage.number(), "stage": s.stage.as_str(), "outcome": s.outcome.as_str(), "us": s.micros}))
            .collect();
        meta.insert("stages".into(), steps.into());
    }
    Value::Object(meta)
}

/// The facts that each refusal tells, as the table of answers says.
fn refusal_data(about: &About, refusal: &Refusal) -> Value {
    match refusal {
        Refusal::TenantHeaderRequired
        | Refusal::InvalidTenantId
        | Refusal::AgentHeaderRequired
        | Refusal::InvalidAgentId
        | Refusal::MalformedBody { .. }
        | Refusal::ToolNameRequired
        | Refusal::InvalidToken
        | Refusal::TenantMismatch
        | Refusal::AgentMismatch
        | Refusal::UnknownAgent
        | Refusal::AgentNotActive
        | Refusal::InsufficientRole
        | Refusal::UnknownTool
        | Refusal::MethodNotAllowed
        | Refusal::RequestTimeout
        | Refusal::UnsupportedMediaType
        | Refusal::ValidationFailed(_)
        | Refusal::IdempotencyKeyReused
        | Refusal::Internal => Value::Null,
        Refusal::KillSwitchEngaged(switch) => {
            json!({"engaged_at": switch.engaged_at, "engaged_by": switch.engaged_by, "reason": switch.reason})
        }
        Refusal::Denied(denial) => denial_data(about, denial),
        Refusal::PolicyError { rule_id, detail } => json!({"rule_id": rule_id, "detail": detail}),
        Refusal::OutcomeUnknown { execution_id } => json!({"execution_id": execution_id.to_string()}),
        Refusal::PayloadTooLarge { limit_bytes } => json!({"limit_bytes": limit_bytes}),
        Refusal::RateLimited(limit) => {
            json!({"limit_type": limit.limit_type, "limit": limit.limit, "reset_at": limit.reset_at})
        }
        Refusal::UpstreamUnreachable
        | Refusal::UpstreamError
        | Refusal::ToolBusy
        | Refusal::CircuitOpen
        | Refusal::AuditUnavailable
        | Refusal::Overloaded
        | Refusal::NoSnapshot
        | Refusal::UpstreamTimeout
        | Refusal::DecisionTimeout => json!({"tool_name": about.tool_name}),
    }
}

fn denial_data(about: &About, denial: &Denial) -> Value {
    let signals: Map<String, Value> = denial
        .signals
        .iter()
        .map(|(name, s)| {
            let view = json!({"score": s.score.as_fraction(), "threshold": s.threshold.as_fraction(), "triggered": s.triggered()});
            ((*name).to_owned(), view)
        })
        .collect();
    let mitre = denial.leading_finding.map(|id| {
        let (category, _, technique) = id.registry();
        let tactic = category.tactic();
        json!({
            "tactic_id": tactic.map(|t| t.0),
            "tactic_name": tactic.map(|t| t.1),
            "technique_id": (!technique.is_empty()).then_some(technique),
        })
    });
    let execution_id = about.execution_id.map(|id| id.to_string());
    let mut data = json!({
        "action": denial.action.as_str(),
        "tool_name": about.tool_name,
        "rule_id": denial.rule_id,
        "rule_ids": denial.rule_ids,
        "findings": findings(&denial.findings),
        "score": denial.score.as_fraction(),
        "risk_score": denial.score.as_percent(),
        "signals_evaluated": signals,
        "explanation": denial.explanation,
        "mitre": mitre,
        "audit_id": about.audit_id.map(|id| id.to_string()),
        "execution_id": execution_id,
        "receipt_url": execution_id.map(|id| format!("/receipts/{id}")),
    });
    if let (DenialKind::ApprovalRequired { approval_id, approver_role, expires_at }, Some(data)) =
        (&denial.kind, data.as_object_mut())
    {
        let id = approval_id.map(|id| id.to_string());
        data.insert("inbox_url".into(), id.as_ref().map(|id| format!("/approvals/{id}")).into());
        data.insert("approval_id".into(), id.into());
        data.insert("approver_role".into(), approver_role.as_str().into());
        data.insert("expires_at".into(), expires_at.map(|t| t.to_string()).into());
    }
    data
}

fn findings(findings: &[Finding]) -> Vec<Value> {
    findings
        .iter()
        .map(|f| {
            let (category, _, technique) = f.id.registry();
            json!({
                "id": f.id, "category": category, "severity": f.severity(), "score": f.score,
                "pointer": f.pointer, "technique": (!technique.is_empty()).then_some(technique),
            })
        })
        .collect()
}

fn retry_after_s(limit: &LimitReached) -> u64 {
    seconds_up(limit.retry_after).max(1)
}

fn seconds_up(duration: std::time::Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
