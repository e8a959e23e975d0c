//! What tests share: one tenant, its agents, keys and tokens, and a pipeline over them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use aegis_core::agent::{AgentRecord, AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::id::{AgentId, ApiKeyId, GrantId, OrgId, RequestId, TenantId, UserId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolPattern;
use aegis_core::principal::Scope;
use aegis_core::secret::Secret;
use aegis_core::sidecar::{AuditMode, Effect};
use aegis_core::snapshot::{ApiKeyRecord, Change, Item, Snapshot, TokenKey};
use aegis_core::tenant::{DegradedModePolicy, Limits, SignalWeights, TenantRecord, TenantStatus, Tier};
use aegis_core::time::{Clock, ManualClock, Timestamp};
use aegis_core::tool_call::ToolCall;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::counters::MemoryCounters;
use crate::detect::ToolHints;
use crate::facts::{Credential, RequestFacts, ToolFacts};
use crate::pipeline::{Denied, Judged, Memory, Metered, Permit, Pipeline, Settings};
use crate::policy::PlatformBundle;
use crate::record::Stopped;
use crate::snapshot::DecisionSnapshot;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
pub(crate) const DEPLOYMENT: &str = "test";

pub(crate) fn tenant_id() -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(0x7e))
}

pub(crate) fn agent_id(n: u128) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(0xa0 + n))
}

pub(crate) fn tenant() -> TenantRecord {
    TenantRecord {
        id: tenant_id(),
        org_id: OrgId::from_uuid(tenant_id().as_uuid()),
        name: "acme".into(),
        tier: Tier::Pro,
        status: TenantStatus::Active,
        limits: Limits::default(),
        degraded_mode_policy: DegradedModePolicy::BlockHighRisk,
        weights: SignalWeights::default(),
        redact_pii: false,
        mfa_enforced: false,
        rpm_limit: None,
    }
}

/// An active agent of low risk with every tool granted.
pub(crate) fn agent(n: u128) -> AgentRecord {
    let grant = Grant {
        id: GrantId::from_uuid(Uuid::from_u128(1)),
        tool: ToolPattern::Any,
        effect: GrantEffect::Allow,
        expires_at: None,
    };
    AgentRecord {
        id: agent_id(n),
        org_id: OrgId::from_uuid(tenant_id().as_uuid()),
        name: format!("agent-{n}"),
        status: AgentStatus::Active,
        risk_level: RiskLevel::Low,
        metadata: BTreeMap::new(),
        grants: vec![grant],
        requests_per_second: None,
        daily_cost_cap_micro_usd: None,
        parent: None,
    }
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn token(change: impl FnOnce(&mut Value)) -> Credential {
    let user = UserId::from_uuid(Uuid::from_u128(1));
    let mut claims = json!({
        "iss": DEPLOYMENT, "aud": "aegis", "sub": user, "jti": Uuid::from_u128(2), "typ": "ACP_ACCESS",
        "iat": NOW.as_seconds(), "exp": NOW.as_seconds() + 900, "tenant_id": tenant_id(),
        "org_id": tenant_id(), "role": "ADMIN", "user_id": user,
    });
    change(&mut claims);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k1"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(signer().sign(signed.as_bytes()).to_bytes());
    Credential::Token(Secret::new(format!("{signed}.{signature}")))
}

pub(crate) fn agent_token(n: u128) -> Credential {
    token(|claims| {
        claims["sub"] = json!(agent_id(n));
        claims["agent_id"] = json!(agent_id(n));
        claims["role"] = "AGENT".into();
        claims.as_object_mut().unwrap().remove("user_id");
    })
}

pub(crate) fn api_key(seed: u8) -> Secret {
    Secret::new(format!("acp_{}", URL_SAFE_NO_PAD.encode([seed; 32])))
}

pub(crate) fn api_key_record(seed: u8, agent: Option<AgentId>, scopes: &[Scope]) -> ApiKeyRecord {
    ApiKeyRecord {
        id: ApiKeyId::from_uuid(Uuid::from_u128(u128::from(seed))),
        sha256: hex::encode(api_key(seed).digest()),
        agent_id: agent,
        scopes: scopes.to_vec(),
        expires_at: None,
    }
}

/// A world of one tenant that tests change item by item.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) counters: MemoryCounters,
    pub(crate) memory: Memory,
    pub(crate) settings: Settings,
    pub(crate) snapshot: DecisionSnapshot,
    version: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let platform = Arc::new(PlatformBundle::embedded().unwrap());
        let snapshot = DecisionSnapshot::build(Snapshot::default(), DEPLOYMENT, None, &platform);
        let mut world = Self {
            clock: ManualClock::at(NOW),
            counters: MemoryCounters::default(),
            memory: Memory::default(),
            settings: Settings::default(),
            snapshot,
            version: 0,
        };
        let x = URL_SAFE_NO_PAD.encode(signer().verifying_key().as_bytes());
        world.set([
            Item::Tenant(tenant()),
            Item::Agent(agent(1)),
            Item::Agent(agent(2)),
            Item::TokenKey(TokenKey { kid: "k1".into(), x, not_after: None }),
            Item::ApiKey(api_key_record(1, Some(agent_id(1)), &[Scope::Execute])),
        ]);
        world
    }

    pub(crate) fn set(&mut self, items: impl IntoIterator<Item = Item>) {
        self.change(tenant_id(), items.into_iter().map(|item| (item.key(), Some(item))));
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.change(tenant_id(), [(key.to_owned(), None)]);
    }

    pub(crate) fn change(&mut self, tenant_id: TenantId, items: impl IntoIterator<Item = (String, Option<Item>)>) {
        self.version += 1;
        let version = self.version;
        let changes = items.into_iter().map(|(key, item)| Change { version, tenant_id, key, item });
        let data = self.snapshot.data().with(changes, version, self.clock.now());
        self.snapshot = DecisionSnapshot::build(data, DEPLOYMENT, Some(&self.snapshot), self.snapshot.platform());
    }

    pub(crate) fn pipeline(&self) -> Pipeline<'_> {
        Pipeline {
            snapshot: &self.snapshot,
            memory: &self.memory,
            counters: &self.counters,
            clock: &self.clock,
            settings: &self.settings,
        }
    }

    /// Stages 0 to 2.
    pub(crate) fn meter(
        &self,
        request: &RequestFacts,
        call: ToolCall,
        tool: ToolFacts,
    ) -> Result<Metered, Box<Stopped>> {
        let pipeline = self.pipeline();
        pipeline.limit(pipeline.admit(request)?, call, tool)
    }

    /// Stages 0 to 6.
    pub(crate) fn judge(&self, call: ToolCall) -> Judged {
        self.pipeline().judge(self.meter(&request(), call, tool()).unwrap())
    }

    /// Stages 0 to 7.
    pub(crate) fn decide(&self, call: ToolCall) -> Result<Permit, Box<Denied>> {
        self.pipeline().enforce(self.judge(call))
    }
}

/// A request of agent 1 with its API key.
pub(crate) fn request() -> RequestFacts {
    RequestFacts {
        tenant_header: Some(tenant_id().to_string()),
        agent_header: Some(agent_id(1).to_string()),
        credential: Some(Credential::ApiKey(api_key(1))),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request_id: RequestId::parse("r-1").unwrap(),
        client_request_id: None,
        session_id: None,
        approval_id: None,
    }
}

pub(crate) fn tool() -> ToolFacts {
    ToolFacts {
        effect: Effect::Read,
        cost: MicroUsd::ZERO,
        audit_mode: AuditMode::Bounded,
        hints: Arc::new(ToolHints::default()),
    }
}

pub(crate) fn call(tool: &str, payload: &Value) -> ToolCall {
    ToolCall::parse(json!({ "tool_name": tool, "payload": payload }).to_string().as_bytes(), None).unwrap()
}
