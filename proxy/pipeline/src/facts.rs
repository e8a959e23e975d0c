//! What the pipeline is told about a call besides the call itself.

use std::net::IpAddr;
use std::sync::Arc;

use aegis_core::id::{ApprovalId, RequestId, SessionId};
use aegis_core::money::MicroUsd;
use aegis_core::secret::Secret;
use aegis_core::sidecar::{AuditMode, Effect};

use crate::detect::ToolHints;

/// A credential as it came in, unverified.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A JSON Web Token, from `Authorization: Bearer` or the session cookie with its CSRF header.
    Token(Secret),
    /// An API key (`acp_…`), from `Authorization: Bearer` or `X-API-Key`.
    ApiKey(Secret),
}

/// A request's headers, as far as decisions read them.
#[derive(Debug, Clone)]
pub struct RequestFacts {
    /// `X-Tenant-ID`, raw.
    pub tenant_header: Option<String>,
    /// `X-Agent-ID`, raw.
    pub agent_header: Option<String>,
    /// The credential, if any.
    pub credential: Option<Credential>,
    /// The client's address.
    pub address: IpAddr,
    /// Our id of the request.
    pub request_id: RequestId,
    /// The client's id of it: informational.
    pub client_request_id: Option<RequestId>,
    /// `X-Session-ID`, if valid.
    pub session_id: Option<SessionId>,
    /// `X-Aegis-Approval-ID`, if valid.
    pub approval_id: Option<ApprovalId>,
}

/// What a tool's route says, as far as decisions read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFacts {
    /// What the tool does to the world.
    pub effect: Effect,
    /// What one call costs.
    pub cost: MicroUsd,
    /// How its rows are kept.
    pub audit_mode: AuditMode,
    /// What the operator says about its parameters, for stage 3.
    pub hints: Arc<ToolHints>,
}
