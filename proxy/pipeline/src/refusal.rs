//! Every way a call can be refused, each with its stable identifier and status.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::decision::{Decision, Stage};
use aegis_core::finding::{Finding, FindingId};
use aegis_core::id::{ApprovalId, ExecutionId};
use aegis_core::score::BasisPoints;
use aegis_core::snapshot::KillSwitch;
use aegis_core::time::Timestamp;
use aegis_core::words;

words! {
    /// Which limit was reached.
    pub enum LimitType {
        /// The tenant's calls per second.
        TenantRps = "tenant_rps",
        /// The agent's calls per second.
        AgentRps = "agent_rps",
        /// The tenant's calls per UTC day.
        TenantDailyRequest = "tenant_daily_request",
        /// The tenant's calls per UTC month.
        TenantMonthlyRequest = "tenant_monthly_request",
        /// The agent's money per UTC day.
        AgentCost = "agent_cost",
        /// The tenant's money per UTC day.
        TenantCost = "tenant_cost",
        /// Wrong credentials from one address.
        IpAuthFailures = "ip_auth_failures",
        /// The verdict THROTTLE and its cool-down.
        Throttled = "throttled",
    }
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// Which.
    pub limit_type: LimitType,
    /// Its value, in the limit's own unit (calls, or micro-USD).
    pub limit: u64,
    /// When it starts anew.
    pub reset_at: Timestamp,
    /// How long to wait; told in whole seconds, rounded up, at least 1.
    pub retry_after: Duration,
}

/// Who says no when a verdict refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialKind {
    /// The autonomy contract.
    Autonomy,
    /// A policy rule or a finding alone.
    Policy,
    /// Behaviour.
    Behavior,
    /// A human must agree first.
    ApprovalRequired {
        /// The ticket; absent where tickets are not issued.
        approval_id: Option<ApprovalId>,
        /// Who may approve: a role.
        approver_role: String,
        /// The ticket's end.
        expires_at: Option<Timestamp>,
    },
}

/// One signal that was evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalView {
    /// Its value.
    pub score: BasisPoints,
    /// The value from which it counts as triggered.
    pub threshold: BasisPoints,
}

impl SignalView {
    /// Whether it was triggered.
    pub fn triggered(&self) -> bool {
        self.score >= self.threshold && self.score > BasisPoints::ZERO
    }
}

/// A refusal by verdict: the facts of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who says no.
    pub kind: DenialKind,
    /// The verdict.
    pub action: Decision,
    /// The deciding rule: of highest severity, then alphabetical.
    pub rule_id: String,
    /// All rules that spoke, the deciding one first.
    pub rule_ids: Vec<String>,
    /// What was seen.
    pub findings: Vec<Finding>,
    /// The score.
    pub score: BasisPoints,
    /// What it was computed from.
    pub signals: BTreeMap<&'static str, SignalView>,
    /// One sentence for people.
    pub explanation: String,
    /// The finding that weighs most, for the technique shown.
    pub leading_finding: Option<FindingId>,
}

/// One problem of a request, for `meta.details[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `body`, then the field.
    pub loc: Vec<String>,
    /// What kind: `missing`, `type_error`, `value_error`, `extra_forbidden`.
    pub kind: &'static str,
    /// What is wrong.
    pub msg: String,
}

/// Why a call is refused. Refusal, fault and bug are three things; only [`Refusal::Internal`] is a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No `X-Tenant-ID`.
    TenantHeaderRequired,
    /// `X-Tenant-ID` is not a UUID.
    InvalidTenantId,
    /// No `X-Agent-ID`.
    AgentHeaderRequired,
    /// `X-Agent-ID` is not a UUID.
    InvalidAgentId,
    /// The body is not JSON with one reading.
    MalformedBody {
        /// What is wrong, for the client.
        detail: String,
    },
    /// No tool is named.
    ToolNameRequired,
    /// No credential, or one that is expired, forged, revoked: one text for all.
    InvalidToken,
    /// The principal belongs to another tenant.
    TenantMismatch,
    /// The principal is another agent.
    AgentMismatch,
    /// The tenant has no such agent.
    UnknownAgent,
    /// The agent may not act now.
    AgentNotActive,
    /// The role or scope does not allow calls.
    InsufficientRole,
    /// The kill switch is engaged.
    KillSwitchEngaged(KillSwitch),
    /// A verdict.
    Denied(Box<Denial>),
    /// A policy could not be evaluated.
    PolicyError {
        /// The rule, if known.
        rule_id: Option<String>,
        /// What happened, without payload text.
        detail: String,
    },
    /// No route for the tool.
    UnknownTool,
    /// Another HTTP method.
    MethodNotAllowed,
    /// The client took too long to send.
    RequestTimeout,
    /// A crash hid the answer of the same idempotency key.
    OutcomeUnknown {
        /// The call whose answer is lost.
        execution_id: ExecutionId,
    },
    /// Not `application/json`.
    UnsupportedMediaType,
    /// The body is too long.
    PayloadTooLarge {
        /// Bytes allowed.
        limit_bytes: u64,
    },
    /// A field has the wrong type or value.
    ValidationFailed(Vec<Problem>),
    /// The same idempotency key came with another body.
    IdempotencyKeyReused,
    /// A limit is reached.
    RateLimited(LimitReached),
    /// A bug; nothing was executed.
    Internal,
    /// The tool cannot be reached.
    UpstreamUnreachable,
    /// The tool answered with an error, or with what cannot be passed on.
    UpstreamError,
    /// Too many calls of this tool are under way.
    ToolBusy,
    /// The tool failed too often of late.
    CircuitOpen,
    /// The row cannot be kept; nothing was executed.
    AuditUnavailable,
    /// Too many calls are under way.
    Overloaded,
    /// There is no snapshot to decide on.
    NoSnapshot,
    /// The tool took too long.
    UpstreamTimeout,
    /// The decision took too long.
    DecisionTimeout,
}

impl Refusal {
    /// The stable identifier, the HTTP status, and a text for the client.
    pub fn answer(&self) -> (&'static str, u16, &'static str) {
        match self {
            Self::TenantHeaderRequired => ("tenant_header_required", 400, "the X-Tenant-ID header is required"),
            Self::InvalidTenantId => ("invalid_tenant_id", 400, "the X-Tenant-ID header is not a UUID"),
            Self::AgentHeaderRequired => ("agent_header_required", 400, "the X-Agent-ID header is required"),
            Self::InvalidAgentId => ("invalid_agent_id", 400, "the X-Agent-ID header is not a UUID"),
            Self::MalformedBody { .. } => ("malformed_body", 400, "the body is not a JSON object with one reading"),
            Self::ToolNameRequired => ("tool_name_required", 400, "tool_name is required"),
            Self::InvalidToken => ("invalid_token", 401, "the credential is missing or not valid"),
            Self::TenantMismatch => ("tenant_mismatch", 403, "the credential belongs to another tenant"),
            Self::AgentMismatch => ("agent_mismatch", 403, "an agent may act as itself only"),
            Self::UnknownAgent => ("unknown_agent", 403, "the tenant has no such agent"),
            Self::AgentNotActive => ("agent_not_active", 403, "the agent is not active"),
            Self::InsufficientRole => ("insufficient_role", 403, "this credential may not call tools"),
            Self::KillSwitchEngaged(_) => ("kill_switch_engaged", 403, "the tenant's kill switch is engaged"),
            Self::Denied(denial) => denial.answer(),
            Self::PolicyError { .. } => {
                ("policy_error", 403, "a policy could not be evaluated, so the call is refused")
            }
            Self::UnknownTool => ("unknown_tool", 404, "no route is configured for this tool"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "tools are called with POST"),
            Self::RequestTimeout => ("request_timeout", 408, "the request was not sent in time"),
            Self::OutcomeUnknown { .. } => {
                ("outcome_unknown", 409, "the answer of this idempotency key was lost; the tool may have acted")
            }
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "the body must be application/json"),
            Self::PayloadTooLarge { .. } => ("payload_too_large", 413, "the body is too long"),
            Self::ValidationFailed(_) => ("validation_failed", 422, "the request has invalid fields"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", 422, "this idempotency key was used with another body")
            }
            Self::RateLimited(_) => ("rate_limited", 429, "a limit is reached"),
            Self::Internal => ("internal_error", 500, "an internal error; the tool was not called"),
            Self::UpstreamUnreachable => ("upstream_unreachable", 502, "the tool cannot be reached"),
            Self::UpstreamError => ("upstream_error", 502, "the tool answered with an error"),
            Self::ToolBusy => ("tool_busy", 503, "too many calls of this tool are under way"),
            Self::CircuitOpen => ("circuit_open", 503, "the tool failed too often and is given a rest"),
            Self::AuditUnavailable => {
                ("audit_unavailable", 503, "the record cannot be kept, so the tool was not called")
            }
            Self::Overloaded => ("overloaded", 503, "too many calls are under way"),
            Self::NoSnapshot => ("no_snapshot", 503, "the sidecar has not yet learned what it may allow"),
            Self::UpstreamTimeout => ("upstream_timeout", 504, "the tool took too long"),
            Self::DecisionTimeout => ("decision_timeout", 504, "the decision took too long"),
        }
    }

    /// The stable identifier alone.
    pub fn identifier(&self) -> &'static str {
        self.answer().0
    }
}

impl Denial {
    fn answer(&self) -> (&'static str, u16, &'static str) {
        match &self.kind {
            DenialKind::ApprovalRequired { .. } => ("approval_required", 403, "a human must approve this call"),
            DenialKind::Autonomy => ("autonomy_denied", 403, "the agent's contract does not allow this call"),
            DenialKind::Policy => ("policy_denied", 403, "policy does not allow this call"),
            DenialKind::Behavior => ("behavior_denied", 403, "the agent's behaviour does not allow this call"),
        }
    }
}

/// A refusal with the stage that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// Where.
    pub stage: Stage,
}
