//! The registry and an agent's activity on both databases.

use aegis_core::agent::GrantEffect;
use aegis_core::decision::Level;
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, BootId, SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolPattern;
use aegis_core::sidecar::{AuditMode, Effect, Heartbeat, LatencySummary, ToolAnnouncement};
use aegis_core::time::{MICROS_PER_DAY, MICROS_PER_HOUR};
use aegis_ledger::signing::PrivateKey;

use crate::sql::Sql;
use crate::testing::START;
use crate::{Store, agent_activity, both, registry, source};

fn tool(name: &str, cost: u64) -> ToolAnnouncement {
    ToolAnnouncement {
        tool: ToolPattern::parse(name).unwrap(),
        effect: Effect::Read,
        cost_micro_usd: MicroUsd::from_micros(cost),
        audit_mode: AuditMode::Bounded,
    }
}

async fn sidecar(store: &Store, tenant: TenantId) -> SourceId {
    let source = SourceId::generate(START, &SystemEntropy);
    let mut tx = store.upkeep().await.unwrap();
    let sql = Sql::new(
        "INSERT INTO sources (source_id, kind, name, identity_key, identity_key_id, status, version, public_url, \
         enrolled_at) VALUES ($1, 'sidecar', 'one', $2, '', 'active', '', '', 0)",
    );
    let identity = PrivateKey::generate(&SystemEntropy).public().to_base64();
    tx.execute(sql.bind(source).bind(identity)).await.unwrap();
    let sql = Sql::new("INSERT INTO source_tenants (source_id, tenant_id) VALUES ($1, $2)");
    tx.execute(sql.bind(source).bind(tenant)).await.unwrap();
    tx.commit().await.unwrap();
    source
}

async fn beat(store: &Store, source: SourceId, tools: Option<Vec<ToolAnnouncement>>) {
    let beat = Heartbeat {
        boot: BootId::generate(START, &SystemEntropy),
        version: "1".into(),
        public_url: "http://localhost:8000".into(),
        snapshot_version: 0,
        snapshot_applied_at: START,
        outbox_rows: 0,
        outbox_age_ms: 0,
        level: Level::Signed,
        tools,
        counters: Vec::new(),
        decision_us: LatencySummary::default(),
        checkpoints: Vec::new(),
    };
    let mut tx = store.upkeep().await.unwrap();
    let known = source::get(&mut tx, source).await.unwrap().unwrap();
    source::heartbeat(&mut tx, &known, &beat, START).await.unwrap();
    tx.commit().await.unwrap();
}

/// `calls` calls in one hour, of which `not_executed` never reached the tool.
async fn count(
    store: &Store,
    tenant: TenantId,
    agent: AgentId,
    (hour, decision): (i64, &str),
    calls: u64,
    stopped: u64,
) {
    let mut tx = store.upkeep().await.unwrap();
    let sql = Sql::new(
        "INSERT INTO rollup_hourly (tenant_id, hour, agent_id, tool, decision, calls, risk_sum, risk_low, risk_medium, \
         risk_high, risk_critical, cost_micro_usd, pending, executed, not_executed, failed, unknown) \
         VALUES ($1, $2, $3, 'db.query', $4, $5, $6, 0, 0, 0, 0, 0, 0, 0, $7, 0, 0)",
    );
    let sql = sql.bind(tenant).bind(hour).bind(agent).bind(decision).bind(calls).bind(calls * 10).bind(stopped);
    tx.execute(sql).await.unwrap();
    tx.commit().await.unwrap();
}

both! {
    async fn announcements_are_replaced_and_stay_in_their_tenant(t: TestStore) {
        let (tenant, other) = (t.tenant().await, t.tenant().await);
        let source = sidecar(&t.store, tenant).await;
        beat(&t.store, source, Some(vec![tool("b.*", 2), tool("a", 1)])).await;
        beat(&t.store, source, None).await;
        let mut tx = t.store.read(tenant).await.unwrap();
        assert_eq!(registry::announced(&mut tx, tenant).await.unwrap().len(), 2, "they stand until told anew");
        drop(tx);
        beat(&t.store, source, Some(vec![tool("c", 5)])).await;
        let mut tx = t.store.read(tenant).await.unwrap();
        assert_eq!(registry::announced(&mut tx, tenant).await.unwrap(), [tool("c", 5)]);
        assert!(registry::announced(&mut tx, other).await.unwrap().is_empty());
    }

    async fn calls_are_counted_by_tool_and_by_day(t: TestStore) {
        let tenant = t.tenant().await;
        let agent = AgentId::generate(START, &SystemEntropy);
        let now = START.as_micros();
        count(&t.store, tenant, agent, (now, "ALLOW"), 6, 0).await;
        count(&t.store, tenant, agent, (now, "ESCALATE"), 3, 2).await;
        count(&t.store, tenant, agent, (now - MICROS_PER_HOUR, "KILL"), 1, 1).await;
        count(&t.store, tenant, agent, (now - 6 * MICROS_PER_DAY, "THROTTLE"), 4, 4).await;
        count(&t.store, tenant, agent, (now - 20 * MICROS_PER_DAY, "REFUSED"), 9, 9).await;
        let mut tx = t.store.read(tenant).await.unwrap();
        let seen = registry::seen(&mut tx, tenant, START).await.unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].calls, seen[0].denied, seen[0].last_used_at), (23, 3, None));
        let activity = agent_activity::of_agent(&mut tx, tenant, agent, START).await.unwrap();
        assert_eq!(activity.days.map(|day| day.calls), [4, 0, 0, 0, 0, 1, 9]);
        let today = activity.days[6];
        assert_eq!((today.allowed, today.denied, today.risk_sum), (7, 2, 90));
        assert_eq!((activity.days[0].throttled, activity.days[5].denied), (4, 1));
        assert_eq!(activity.top_tools, [("db.query".to_owned(), 14)]);
    }

    async fn grants_in_force_name_tools_of_living_agents(t: TestStore) {
        let tenant = t.tenant().await;
        let mut tx = t.store.upkeep().await.unwrap();
        for (agent, tool, end, deleted) in
            [("a", "db.*", None, None), ("b", "mail.send", Some(START), None), ("c", "fs.read", None, Some(START))]
        {
            let sql = Sql::new(
                "INSERT INTO agents (tenant_id, agent_id, org_id, name, description, owner_id, status, risk_level, \
                 metadata, created_at, updated_at, deleted_at) VALUES ($1, $2, '', $2, '', '', 'ACTIVE', 'low', '{}', 0, 0, $3)",
            );
            tx.execute(sql.bind(tenant).bind(agent).bind(deleted)).await.unwrap();
            let sql = Sql::new(
                "INSERT INTO grants (tenant_id, grant_id, agent_id, tool, effect, granted_by, granted_at, expires_at) \
                 VALUES ($1, $2, $2, $3, $4, '', 0, $5)",
            );
            let sql = sql.bind(tenant).bind(agent).bind(tool).bind(GrantEffect::Allow.as_str()).bind(end);
            tx.execute(sql).await.unwrap();
        }
        let granted = registry::granted(&mut tx, tenant, START).await.unwrap();
        assert_eq!(granted, [ToolPattern::parse("db.*").unwrap()]);
    }
}
