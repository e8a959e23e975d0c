//! A sidecar that is started for one test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::agent::{AgentRecord, AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, ApiKeyId, AuditId, BootId, GrantId, OrgId, SourceId, TenantId};
use aegis_core::pattern::ToolPattern;
use aegis_core::principal::Scope;
use aegis_core::secret::Secret;
use aegis_core::snapshot::{ApiKeyRecord, Change, Item, KillSwitch, Snapshot};
use aegis_core::tenant::{DegradedModePolicy, Limits, SignalWeights, TenantRecord, TenantStatus, Tier};
use aegis_core::time::{Clock, SystemClock, Timestamp};
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::rows::{DecisionRow, Heartbeat, OutcomeRow};
use aegis_ledger::wire::SignedEntry;
use aegis_pipeline::counters::MemoryCounters;
use aegis_pipeline::pipeline::{Memory, Settings};
use aegis_pipeline::policy::PlatformBundle;
use aegis_pipeline::snapshot::DecisionSnapshot;
use aegis_pipeline::stages::output_filter::OutputFilter;
use aegis_proxy::admin::Admin;
use aegis_proxy::config::{self, Config, Environment};
use aegis_proxy::execute::Engine;
use aegis_proxy::gate_log::GateLog;
use aegis_proxy::idempotency::{self, IdempotencyKeys};
use aegis_proxy::identity::Identity;
use aegis_proxy::latency::DecisionLatency;
use aegis_proxy::metrics::Metrics;
use aegis_proxy::outbox::disk::Folder;
use aegis_proxy::outbox::{Author, Draft, Durability, Options, Outbox};
use aegis_proxy::server::{self, Running};
use aegis_proxy::snapshots::Snapshots;
use aegis_proxy::tools::{Tools, routes};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::upstream::Upstream;

pub(crate) const KEY: &str = "acp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OTHER_KEY: &str = "acp_BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) fn tenant() -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(1))
}

pub(crate) fn agent() -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(2))
}

/// An agent of another tenant, with its key.
pub(crate) fn stranger() -> (TenantId, AgentId, &'static str) {
    (TenantId::from_uuid(Uuid::from_u128(11)), AgentId::from_uuid(Uuid::from_u128(12)), OTHER_KEY)
}

/// A sidecar that serves, with its tool server.
pub(crate) struct Harness {
    pub(crate) engine: Arc<Engine>,
    pub(crate) upstream: Upstream,
    pub(crate) running: Option<Running>,
    pub(crate) base: String,
    pub(crate) admin: String,
    pub(crate) client: reqwest::Client,
    platform: Arc<PlatformBundle>,
    _folder: tempfile::TempDir,
}

/// An answer as tests look at it.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Self { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::configured("").await
    }

    /// With these lines of `proxy.toml`.
    pub(crate) async fn configured(toml: &str) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start().await;
        let mut config: Config = config::load(toml, &Environment::new()).unwrap();
        config.listen.address = "127.0.0.1:0".into();
        config.listen.admin = "127.0.0.1:0".parse().unwrap();
        let platform = Arc::new(PlatformBundle::embedded().unwrap());
        let data = Snapshot::default().with(items(), 1, now());
        let snapshots = Snapshots::new(DecisionSnapshot::build(data, "test", None, &platform));
        let identity = Arc::new(Identity::open(folder.path(), &SystemEntropy).unwrap());
        let engine = Arc::new(engine(&config, &folder, Arc::clone(&identity), &upstream, snapshots));
        let admin = Admin::start(config.listen.admin).await.unwrap();
        let running = server::start(&config, Arc::clone(&engine), identity, admin).await.unwrap();
        Self {
            base: format!("http://{}", running.address.unwrap()),
            admin: format!("http://{}", running.admin),
            engine,
            upstream,
            running: Some(running),
            client: reqwest::Client::new(),
            platform,
            _folder: folder,
        }
    }

    /// A request with the agent's headers.
    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {KEY}"))
            .header("x-tenant-id", tenant().to_string())
            .header("x-agent-id", agent().to_string())
    }

    pub(crate) async fn call(&self, tool: &str) -> Got {
        self.call_with(tool, &json!({"q": "hello"})).await
    }

    pub(crate) async fn call_with(&self, tool: &str, payload: &Value) -> Got {
        let body = json!({"tool_name": tool, "payload": payload});
        Got::of(self.post("/execute").json(&body).send().await.unwrap()).await
    }

    /// Puts a newer snapshot in force.
    pub(crate) fn set_kill_switch(&self, engaged: bool) {
        let version = self.engine.snapshots.load().data().version + 1;
        let switch = KillSwitch { engaged_at: now(), engaged_by: "user:1".into(), reason: "drill".into() };
        let item = engaged.then_some(Item::KillSwitch(switch));
        let change = Change { version, tenant_id: tenant(), key: "kill_switch".into(), item };
        let data = self.engine.snapshots.load().data().with([change], version, now());
        let next = DecisionSnapshot::build(data, "test", None, &self.platform);
        self.engine.snapshots.publish(Arc::new(next));
    }

    /// Puts items in force on top of what is, as a delta of the control plane does.
    pub(crate) fn set(&self, items: impl IntoIterator<Item = Item>) {
        let last = self.engine.snapshots.load();
        let version = last.data().version + 1;
        let items = items.into_iter();
        let changes = items.map(|item| Change { version, tenant_id: tenant(), key: item.key(), item: Some(item) });
        let data = last.data().with(changes, version, now());
        let next = DecisionSnapshot::build(data, "test", Some(&last), &self.platform);
        self.engine.snapshots.publish(Arc::new(next));
    }

    /// Every call's row that the outbox holds, after gate refusals are written.
    pub(crate) async fn rows(&self) -> (Vec<DecisionRow>, Vec<OutcomeRow>) {
        self.engine.gate_log.flush(1).await;
        self.sync().await;
        let (mut decisions, mut outcomes) = (Vec::new(), Vec::new());
        for entry in self.entries() {
            match entry.body {
                Body::Decision(row) => decisions.push(*row),
                Body::Outcome(row) => outcomes.push(row),
                _ => {}
            }
        }
        (decisions, outcomes)
    }

    /// Rows can be shipped once they are on disk; behind a strict one, all before it are.
    async fn sync(&self) {
        let body = Body::Heartbeat(Heartbeat { forwarded: 0, denied: 0, errored: 0, last_seq: 0 });
        let audit_id = AuditId::generate(now(), &SystemEntropy);
        let draft = Draft { tenant: tenant(), audit_id, body, salt: None, durability: Durability::Strict };
        self.engine.outbox.append(draft, self.engine.outbox.reserve().unwrap()).await.unwrap();
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let Some(batch) = self.engine.outbox.read_batch(10_000, 16 << 20).unwrap() else { return Vec::new() };
        let lines = batch.lines.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let signed: SignedEntry = serde_json::from_slice(line).unwrap();
                Entry::decode(signed.bytes()).unwrap()
            })
            .collect()
    }

    /// Rows are written a moment after an abandoned call: waits for them.
    pub(crate) async fn rows_when(
        &self,
        wanted: impl Fn(&[DecisionRow], &[OutcomeRow]) -> bool,
    ) -> (Vec<DecisionRow>, Vec<OutcomeRow>) {
        for _ in 0..500 {
            let (decisions, outcomes) = self.rows().await;
            if wanted(&decisions, &outcomes) {
                return (decisions, outcomes);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the rows did not come: {:?}", self.rows().await);
    }

    pub(crate) async fn get(&self, url: String) -> Got {
        Got::of(self.client.get(url).send().await.unwrap()).await
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

fn engine(
    config: &Config,
    folder: &tempfile::TempDir,
    identity: Arc<Identity>,
    upstream: &Upstream,
    snapshots: Snapshots,
) -> Engine {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy = Arc::new(SystemEntropy);
    let author = Author {
        identity,
        source: SourceId::from_uuid(Uuid::from_u128(21)),
        boot: BootId::from_uuid(Uuid::from_u128(22)),
        software: "test".into(),
    };
    let disk = Arc::new(Folder::open(&folder.path().join("outbox")).unwrap());
    let options = Options { segment_bytes: 1 << 20, max_bytes: 64 << 20, in_flight_max: 64 };
    let (outbox, _) = Outbox::open(disk, options, author, Arc::clone(&clock), entropy.clone()).unwrap();
    let outbox = Arc::new(outbox);
    let metrics = Arc::new(Metrics::new().unwrap());
    let tools =
        routes::parse(&tools_toml(upstream), &Environment::from([("T".into(), "tool-secret".into())]), 1_000_000)
            .unwrap();
    let limits = idempotency::Limits { ttl: Duration::from_mins(1), answers_max: 100, bytes_max: 1_000_000 };
    let gate_log = GateLog::new(Arc::clone(&outbox), Arc::clone(&metrics), Arc::clone(&clock), entropy.clone());
    Engine {
        snapshots: Arc::new(snapshots),
        memory: Memory::default(),
        counters: Arc::new(MemoryCounters::restored([], now())),
        settings: Settings::default(),
        tools: Arc::new(Tools::new(tools, &clock, config::millis(config.timeouts.connect_ms)).unwrap()),
        filter: OutputFilter::new(),
        gate_log: Arc::new(gate_log),
        outbox,
        keys: IdempotencyKeys::new(Arc::clone(&clock), limits),
        latency: DecisionLatency::new(Arc::clone(&clock)),
        metrics,
        clock,
        entropy,
    }
}

fn tools_toml(upstream: &Upstream) -> String {
    let address = upstream.address;
    format!(
        r#"
[[tool]]
name = "sample.*"
url = "http://{address}"
path = "/tools/{{tool_name}}"
timeout_ms = 1500
effect = "read"
credential = {{ header = "x-tool-key", env = "T" }}

[[tool]]
name = "sample.hang"
url = "http://{address}"
path = "/tools/hang"
timeout_ms = 200
effect = "read"

[[tool]]
name = "strict.write"
url = "http://{address}"
path = "/tools/strict"
audit_mode = "strict"
effect = "read"

[[tool]]
name = "narrow.gated"
url = "http://{address}"
path = "/tools/gated"
concurrency = 1
effect = "read"

[[tool]]
name = "broken.failing"
url = "http://{address}"
path = "/tools/failing"
effect = "read"

[[tool]]
name = "record.get"
url = "http://{address}"
path = "/tools/record/{{payload.id}}"
effect = "read"

[[tool]]
name = "away.tool"
url = "http://127.0.0.1:1"
effect = "read"

[[tool]]
name = "hidden.tool"
url = "http://{address}"
effect = "read"
"#
    )
}

fn items() -> Vec<Change> {
    let (other_tenant, other_agent, other_key) = stranger();
    [(tenant(), agent(), KEY), (other_tenant, other_agent, other_key)]
        .into_iter()
        .flat_map(|(tenant_id, agent_id, key)| {
            let items = [
                Item::Tenant(tenant_record(tenant_id)),
                Item::Agent(agent_record(agent_id)),
                Item::ApiKey(ApiKeyRecord {
                    id: ApiKeyId::from_uuid(Uuid::from_u128(31)),
                    sha256: hex::encode(Secret::new(key).digest()),
                    agent_id: Some(agent_id),
                    scopes: vec![Scope::Execute],
                    expires_at: None,
                }),
            ];
            items.map(|item| Change { version: 1, tenant_id, key: item.key(), item: Some(item) })
        })
        .collect()
}

fn tenant_record(id: TenantId) -> TenantRecord {
    TenantRecord {
        id,
        org_id: OrgId::from_uuid(id.as_uuid()),
        name: "t".into(),
        tier: Tier::Pro,
        rpm_limit: None,
        status: TenantStatus::Active,
        limits: Limits { requests_per_second: 1_000, burst: 1_000, ..Limits::default() },
        degraded_mode_policy: DegradedModePolicy::BlockHighRisk,
        weights: SignalWeights::default(),
        redact_pii: false,
        mfa_enforced: false,
    }
}

fn agent_record(id: AgentId) -> AgentRecord {
    let grant = |tool: &str, effect| Grant {
        id: GrantId::from_uuid(Uuid::nil()),
        tool: ToolPattern::parse(tool).unwrap(),
        effect,
        expires_at: None,
    };
    AgentRecord {
        id,
        org_id: OrgId::from_uuid(Uuid::nil()),
        name: "a".into(),
        status: AgentStatus::Active,
        risk_level: RiskLevel::Low,
        metadata: BTreeMap::new(),
        grants: vec![grant("*", GrantEffect::Allow), grant("hidden.*", GrantEffect::Deny)],
        requests_per_second: None,
        daily_cost_cap_micro_usd: None,
        parent: None,
    }
}
