//! A tenant with one agent, and calls as agents really make them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use aegis_core::agent::{AgentRecord, AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, ApiKeyId, GrantId, OrgId, RequestId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolPattern;
use aegis_core::principal::Scope;
use aegis_core::secret::Secret;
use aegis_core::sidecar::{AuditMode, Effect};
use aegis_core::snapshot::{ApiKeyRecord, Change, Item, Snapshot};
use aegis_core::tenant::{DegradedModePolicy, Limits, SignalWeights, TenantRecord, TenantStatus, Tier};
use aegis_core::time::{Clock, ManualClock, SystemClock};
use aegis_pipeline::counters::MemoryCounters;
use aegis_pipeline::credential::api_key_digest;
use aegis_pipeline::facts::{Credential, RequestFacts, ToolFacts};
use aegis_pipeline::pipeline::{Memory, Pipeline, Settings};
use aegis_pipeline::policy::PlatformBundle;
use aegis_pipeline::snapshot::DecisionSnapshot;

/// Calls as agents make them: name, and the whole request body.
pub const CALLS: [(&str, &str); 4] = [
    ("small", r#"{"tool_name":"fs.list","payload":{"path":"reports"}}"#),
    (
        "sql",
        r#"{"tool_name":"db.query","payload":{"query":"SELECT o.id, o.status, o.total_cents, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.placed_at >= '2026-01-01' AND o.status IN ('paid', 'shipped') ORDER BY o.placed_at DESC LIMIT 50"}}"#,
    ),
    (
        "mail",
        r#"{"tool_name":"mail.send","payload":{"to":["ada@example.com"],"subject":"Your order 1042","body":"Dear Ada,\n\nthank you for your order. It left our house this morning and should reach you by Thursday. If you have any questions, please reply to this message, or look at https://shop.example/orders/1042 for the current state of the delivery.\n\nKind regards\nYour shop"}}"#,
    ),
    (
        "attack",
        r#"{"tool_name":"db.query","payload":{"query":"SELECT id FROM orders WHERE id = 1 OR 1=1; DROP TABLE customers; --"}}"#,
    ),
];

const API_KEY: &str = "acp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Everything that a decision reads.
pub struct World {
    snapshot: DecisionSnapshot,
    memory: Memory,
    counters: MemoryCounters,
    clock: ManualClock,
    settings: Settings,
    tenant_id: TenantId,
    agent_id: AgentId,
}

impl World {
    /// A fresh one.
    ///
    /// # Panics
    /// If the platform's policies do not compile.
    #[expect(clippy::expect_used, reason = "a benchmark that cannot be set up must fail loudly")]
    pub fn new() -> Self {
        let now = SystemClock::new().now();
        let tenant_id = TenantId::generate(now, &SystemEntropy);
        let agent_id = AgentId::generate(now, &SystemEntropy);
        let items =
            [Item::Tenant(tenant(tenant_id)), Item::Agent(agent(agent_id, tenant_id)), Item::ApiKey(api_key(agent_id))];
        let changes = items.into_iter().map(|item| Change { version: 1, tenant_id, key: item.key(), item: Some(item) });
        let data = Snapshot::default().with(changes, 1, now);
        let platform = Arc::new(PlatformBundle::embedded().expect("the platform's policies compile"));
        let snapshot = DecisionSnapshot::build(data, "bench", None, &platform);
        Self {
            snapshot,
            memory: Memory::default(),
            counters: MemoryCounters::default(),
            clock: ManualClock::at(now),
            settings: Settings::default(),
            tenant_id,
            agent_id,
        }
    }

    /// A second later: what follows is a call at an unsuspicious pace, below every limit.
    pub fn tick(&self) {
        self.clock.advance(Duration::from_secs(1));
    }

    /// The pipeline over it.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline {
            snapshot: &self.snapshot,
            memory: &self.memory,
            counters: &self.counters,
            clock: &self.clock,
            settings: &self.settings,
        }
    }

    /// The headers of a call.
    pub fn request(&self) -> RequestFacts {
        RequestFacts {
            tenant_header: Some(self.tenant_id.to_string()),
            agent_header: Some(self.agent_id.to_string()),
            credential: Some(Credential::ApiKey(Secret::new(API_KEY))),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            request_id: RequestId::generate(self.clock.now(), &SystemEntropy),
            client_request_id: None,
            session_id: None,
            approval_id: None,
        }
    }

    /// The route of every tool.
    pub fn tool(&self) -> ToolFacts {
        ToolFacts {
            effect: Effect::Read,
            cost: MicroUsd::from_micros(10),
            audit_mode: AuditMode::Bounded,
            hints: Arc::default(),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn tenant(id: TenantId) -> TenantRecord {
    TenantRecord {
        id,
        org_id: OrgId::from_uuid(id.as_uuid()),
        name: "Bench".into(),
        tier: Tier::Enterprise,
        rpm_limit: None,
        status: TenantStatus::Active,
        limits: Limits {
            requests_per_second: 100_000_000,
            burst: 100_000_000,
            daily_request_cap: u64::MAX >> 12,
            ..Limits::default()
        },
        degraded_mode_policy: DegradedModePolicy::AllowWithAudit,
        weights: SignalWeights::default(),
        redact_pii: false,
        mfa_enforced: false,
    }
}

fn agent(id: AgentId, tenant_id: TenantId) -> AgentRecord {
    AgentRecord {
        id,
        org_id: OrgId::from_uuid(tenant_id.as_uuid()),
        name: "bench".into(),
        status: AgentStatus::Active,
        risk_level: RiskLevel::Low,
        metadata: BTreeMap::new(),
        grants: vec![Grant {
            id: GrantId::from_uuid(id.as_uuid()),
            tool: ToolPattern::Any,
            effect: GrantEffect::Allow,
            expires_at: None,
        }],
        requests_per_second: None,
        daily_cost_cap_micro_usd: None,
        parent: None,
    }
}

fn api_key(agent_id: AgentId) -> ApiKeyRecord {
    ApiKeyRecord {
        id: ApiKeyId::from_uuid(agent_id.as_uuid()),
        sha256: api_key_digest(&Secret::new(API_KEY)).unwrap_or_default(),
        agent_id: Some(agent_id),
        scopes: vec![Scope::Execute],
        expires_at: None,
    }
}
