//! The snapshot: everything a sidecar needs to decide without asking anyone, immutable once built.
//!
//! It is a set of items, each under one key. The control plane keeps the same items with the number of the
//! change that last touched them; a delta is the items with a higher number. So a snapshot, a delta, the
//! local cache and a restart are all "apply these changes".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::AgentRecord;
use crate::id::{AgentId, ApiKeyId, TenantId, TokenId, UserId};
use crate::policy::PolicyFile;
use crate::principal::Scope;
use crate::tenant::TenantRecord;
use crate::time::Timestamp;

/// An engaged kill switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillSwitch {
    /// Since when.
    pub engaged_at: Timestamp,
    /// Who, as a principal label.
    pub engaged_by: String,
    /// Why.
    pub reason: String,
}

/// An API key as the sidecar knows it: its hash, never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// The key's id.
    pub id: ApiKeyId,
    /// SHA-256 of the key, hex.
    pub sha256: String,
    /// The agent it is, if it may execute.
    pub agent_id: Option<AgentId>,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Ends then; never if absent.
    pub expires_at: Option<Timestamp>,
}

/// What has been revoked before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Revocation {
    /// One token.
    Token {
        /// The token.
        jti: TokenId,
        /// When it would have ended: the revocation is forgotten then.
        expires_at: Timestamp,
    },
    /// All of a user's tokens issued until a moment.
    User {
        /// The user.
        user_id: UserId,
        /// Tokens issued at or before this are void.
        issued_until: Timestamp,
    },
    /// All of an agent's tokens issued until a moment.
    Agent {
        /// The agent.
        agent_id: AgentId,
        /// Tokens issued at or before this are void.
        issued_until: Timestamp,
    },
}

/// A public key that verifies access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// The key's id (`kid`).
    pub kid: String,
    /// The Ed25519 public key, base64url without padding (`x` of the JWK, RFC 8037).
    pub x: String,
    /// Tokens of this key are accepted until then; no end if absent.
    pub not_after: Option<Timestamp>,
}

/// One thing the snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Item {
    /// The tenant itself.
    Tenant(TenantRecord),
    /// The tenant's kill switch, present while engaged.
    KillSwitch(KillSwitch),
    /// An agent with its grants.
    Agent(AgentRecord),
    /// An API key.
    ApiKey(ApiKeyRecord),
    /// A revocation.
    Revocation(Revocation),
    /// An active file of the tenant's policy overlay.
    Policy(PolicyFile),
    /// A version that is judged beside the active one of its name and recorded, never enforced.
    ShadowPolicy(PolicyFile),
    /// A key that verifies access tokens; the same for every tenant of a deployment.
    TokenKey(TokenKey),
}

impl Item {
    /// The item's key, unique in its tenant: `<kind>/<id>`.
    pub fn key(&self) -> String {
        match self {
            Self::Tenant(_) => "tenant".into(),
            Self::KillSwitch(_) => "kill_switch".into(),
            Self::Agent(a) => format!("agent/{}", a.id),
            Self::ApiKey(k) => format!("api_key/{}", k.id),
            Self::Revocation(Revocation::Token { jti, .. }) => format!("revocation/token/{jti}"),
            Self::Revocation(Revocation::User { user_id, .. }) => format!("revocation/user/{user_id}"),
            Self::Revocation(Revocation::Agent { agent_id, .. }) => format!("revocation/agent/{agent_id}"),
            Self::Policy(p) => format!("policy/{}", p.name),
            Self::ShadowPolicy(p) => format!("shadow_policy/{}", p.name),
            Self::TokenKey(k) => format!("token_key/{}", k.kid),
        }
    }
}

/// A numbered change of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The change's number in the deployment; grows by every change.
    pub version: u64,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The item's key.
    pub key: String,
    /// The item now; absent when it was removed.
    pub item: Option<Item>,
}

/// One tenant's part of the snapshot.
#[derive(Debug, Clone, Default)]
pub struct TenantSnapshot {
    /// The tenant's settings. Without them nothing of the tenant is served.
    pub tenant: Option<Arc<TenantRecord>>,
    /// The kill switch, if engaged.
    pub kill_switch: Option<Arc<KillSwitch>>,
    /// Agents by id.
    pub agents: HashMap<AgentId, Arc<AgentRecord>>,
    /// API keys by SHA-256 (hex).
    pub api_keys: HashMap<String, Arc<ApiKeyRecord>>,
    /// Revoked tokens and their natural end.
    pub revoked_tokens: HashMap<TokenId, Timestamp>,
    /// Users whose older tokens are void.
    pub revoked_users: HashMap<UserId, Timestamp>,
    /// Agents whose older tokens are void.
    pub revoked_agents: HashMap<AgentId, Timestamp>,
    /// Active policy files by name.
    pub policies: BTreeMap<String, Arc<PolicyFile>>,
    /// Shadow versions by name.
    pub shadow_policies: BTreeMap<String, Arc<PolicyFile>>,
    /// Token keys by `kid`.
    pub token_keys: HashMap<String, Arc<TokenKey>>,
}

impl TenantSnapshot {
    fn set(&mut self, item: Item) {
        match item {
            Item::Tenant(t) => self.tenant = Some(Arc::new(t)),
            Item::KillSwitch(k) => self.kill_switch = Some(Arc::new(k)),
            Item::Agent(a) => drop(self.agents.insert(a.id, Arc::new(a))),
            Item::ApiKey(k) => {
                self.api_keys.retain(|_, old| old.id != k.id);
                self.api_keys.insert(k.sha256.clone(), Arc::new(k));
            }
            Item::Revocation(Revocation::Token { jti, expires_at }) => {
                self.revoked_tokens.insert(jti, expires_at);
            }
            Item::Revocation(Revocation::User { user_id, issued_until }) => {
                self.revoked_users.insert(user_id, issued_until);
            }
            Item::Revocation(Revocation::Agent { agent_id, issued_until }) => {
                self.revoked_agents.insert(agent_id, issued_until);
            }
            Item::Policy(p) => drop(self.policies.insert(p.name.clone(), Arc::new(p))),
            Item::ShadowPolicy(p) => drop(self.shadow_policies.insert(p.name.clone(), Arc::new(p))),
            Item::TokenKey(k) => drop(self.token_keys.insert(k.kid.clone(), Arc::new(k))),
        }
    }

    fn remove(&mut self, key: &str) {
        let (kind, id) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            "tenant" => self.tenant = None,
            "kill_switch" => self.kill_switch = None,
            "agent" => drop(id.parse().ok().and_then(|id: AgentId| self.agents.remove(&id))),
            "api_key" => {
                if let Ok(id) = id.parse::<ApiKeyId>() {
                    self.api_keys.retain(|_, k| k.id != id);
                }
            }
            "revocation" => match id.split_once('/') {
                Some(("token", id)) => drop(id.parse().ok().and_then(|id: TokenId| self.revoked_tokens.remove(&id))),
                Some(("user", id)) => drop(id.parse().ok().and_then(|id: UserId| self.revoked_users.remove(&id))),
                Some(("agent", id)) => drop(id.parse().ok().and_then(|id: AgentId| self.revoked_agents.remove(&id))),
                _ => {}
            },
            "policy" => drop(self.policies.remove(id)),
            "shadow_policy" => drop(self.shadow_policies.remove(id)),
            "token_key" => drop(self.token_keys.remove(id)),
            _ => {}
        }
    }
}

/// The whole snapshot of one sidecar. Cheap to clone: tenants are shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The number of the last change in it.
    pub version: u64,
    /// When the control plane last confirmed it, by this machine's clock.
    pub confirmed_at: Timestamp,
    tenants: HashMap<TenantId, Arc<TenantSnapshot>>,
}

impl Snapshot {
    /// The tenant's part, if the sidecar serves it and has its settings.
    pub fn tenant(&self, id: TenantId) -> Option<&Arc<TenantSnapshot>> {
        self.tenants.get(&id).filter(|t| t.tenant.is_some())
    }

    /// Every tenant in it.
    pub fn tenants(&self) -> impl Iterator<Item = (TenantId, &Arc<TenantSnapshot>)> {
        self.tenants.iter().map(|(id, t)| (*id, t))
    }

    /// A new snapshot with the changes applied in order; `self` stays as it is.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>, version: u64, confirmed_at: Timestamp) -> Self {
        let mut tenants = self.tenants.clone();
        for change in changes {
            let tenant = Arc::make_mut(tenants.entry(change.tenant_id).or_default());
            match change.item {
                Some(item) => tenant.set(item),
                None => tenant.remove(&change.key),
            }
        }
        Self { version, confirmed_at, tenants }
    }
}
