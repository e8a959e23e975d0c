//! Who is asking: roles, scopes, token claims, principals.

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, ApiKeyId, OrgId, SourceId, TenantId, TokenId, UserId};
use crate::time::Timestamp;
use crate::words;

words! {
    /// What a principal may do in its tenant.
    pub enum Role {
        /// Everything in the tenant.
        Admin = "ADMIN",
        /// Reads everything, changes agents, policies, responses.
        Security = "SECURITY",
        /// Reads everything, evidence included.
        Auditor = "AUDITOR",
        /// Reads dashboards.
        Viewer = "VIEWER",
        /// An agent: acts as itself only.
        Agent = "AGENT",
        /// A sidecar or internal service.
        Service = "SERVICE",
    }
}

words! {
    /// What an API key may be used for.
    pub enum Scope {
        /// Call tools as the key's agent.
        Execute = "execute",
        /// As VIEWER.
        Read = "read",
        /// As AUDITOR.
        Audit = "audit",
        /// As SECURITY.
        Write = "write",
    }
}

words! {
    /// What a token is for.
    pub enum TokenType {
        /// Access of a user or an agent.
        Access = "ACP_ACCESS",
        /// The short-lived credential of an enrolled sidecar.
        Sidecar = "ACP_SIDECAR",
    }
}

/// The claims of a token signed by the control plane (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: the deployment's name.
    pub iss: String,
    /// Audience: always `aegis`.
    pub aud: String,
    /// Subject: the user, agent or source id.
    pub sub: String,
    /// The token.
    pub jti: TokenId,
    /// Purpose.
    pub typ: TokenType,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// Expires at, seconds since the epoch.
    pub exp: i64,
    /// The tenant; for a sidecar, the first it speaks for.
    pub tenant_id: TenantId,
    /// The tenant's organisation.
    pub org_id: OrgId,
    /// The role.
    pub role: Role,
    /// The user, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The agent, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The tenants a sidecar speaks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantId>,
    /// Whether the user is a platform administrator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub platform_admin: bool,
}

/// The audience of every token.
pub const TOKEN_AUDIENCE: &str = "aegis";
/// Lifetime of an access token, seconds.
pub const ACCESS_TOKEN_TTL_S: i64 = 900;
/// Clock skew that is tolerated between the planes, seconds.
pub const CLOCK_SKEW_MAX_S: i64 = 30;
/// What API keys begin with.
pub const API_KEY_PREFIX: &str = "acp_";

/// Who stands behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A person.
    User(UserId),
    /// An agent with its token.
    Agent(AgentId),
    /// An API key, bound to an agent if it may execute.
    ApiKey {
        /// The key.
        id: ApiKeyId,
        /// The agent it is.
        agent: Option<AgentId>,
    },
    /// A sidecar.
    Sidecar(SourceId),
}

/// An authenticated principal. Made by credential verification only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Who it is.
    pub subject: Subject,
    /// Its role.
    pub role: Role,
    /// For API keys: what the key may be used for.
    pub scopes: Option<Vec<Scope>>,
    /// Whether it administers the platform.
    pub platform_admin: bool,
    /// Its token and the token's end, if it came with one.
    pub token: Option<(TokenId, Timestamp)>,
}

impl Principal {
    /// The name that rows carry: `user:<id>`, `agent:<id>`, `api_key:<id>` or `sidecar:<id>`.
    pub fn label(&self) -> String {
        match &self.subject {
            Subject::User(id) => format!("user:{id}"),
            Subject::Agent(id) => format!("agent:{id}"),
            Subject::ApiKey { id, .. } => format!("api_key:{id}"),
            Subject::Sidecar(id) => format!("sidecar:{id}"),
        }
    }

    /// The agent this principal is, if it is one.
    pub fn agent(&self) -> Option<AgentId> {
        match &self.subject {
            Subject::Agent(id) => Some(*id),
            Subject::ApiKey { agent, .. } => *agent,
            Subject::User(_) | Subject::Sidecar(_) => None,
        }
    }
}
