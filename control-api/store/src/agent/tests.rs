//! Agents and grants on both databases.

use std::collections::BTreeMap;

use aegis_core::agent::{AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, GrantId, OrgId, TenantId};
use aegis_core::pattern::ToolPattern;
use aegis_core::snapshot::Item;
use aegis_core::time::Timestamp;

use super::{Agent, AgentFilter};
use crate::error::StoreError;
use crate::grant::{self, AgentGrant};
use crate::testing::{START, admin};
use crate::{Store, agent, both, item};

fn draft(name: &str) -> Agent {
    Agent {
        id: AgentId::generate(START, &SystemEntropy),
        org_id: OrgId::generate(START, &SystemEntropy),
        name: name.into(),
        description: "reads orders".into(),
        owner_id: "user:1".into(),
        status: AgentStatus::Active,
        risk_level: RiskLevel::Low,
        metadata: BTreeMap::from([("team".into(), "shop".into())]),
        requests_per_second: Some(7),
        daily_cost_cap: None,
        parent: None,
        created_at: START,
        updated_at: START,
        deleted_at: None,
    }
}

async fn add(store: &Store, tenant: TenantId, draft: &Agent) -> Result<Agent, StoreError> {
    let mut tx = store.write(tenant).await?;
    let made = agent::create(&mut tx, tenant, draft).await?;
    tx.record(admin("agent.create", "agent")).await?.commit().await?;
    Ok(made)
}

async fn change(store: &Store, tenant: TenantId, to: &Agent) -> Result<Agent, StoreError> {
    let mut tx = store.write(tenant).await?;
    let changed = agent::update(&mut tx, tenant, to).await?;
    tx.record(admin("agent.update", "agent")).await?.commit().await?;
    Ok(changed)
}

async fn remove(store: &Store, tenant: TenantId, id: AgentId) -> Result<Agent, StoreError> {
    let mut tx = store.write(tenant).await?;
    let gone = agent::delete(&mut tx, tenant, id).await?;
    tx.record(admin("agent.delete", "agent")).await?.commit().await?;
    Ok(gone)
}

fn permission(agent: AgentId, tool: &str, effect: GrantEffect, expires_at: Option<Timestamp>) -> AgentGrant {
    let id = GrantId::generate(START, &SystemEntropy);
    let grant = Grant { id, tool: ToolPattern::parse(tool).unwrap(), effect, expires_at };
    AgentGrant { agent_id: agent, grant, granted_by: "user:1".into(), granted_at: START }
}

async fn allow(store: &Store, tenant: TenantId, grant: &AgentGrant) -> Result<AgentGrant, StoreError> {
    let mut tx = store.write(tenant).await?;
    let put = grant::put(&mut tx, tenant, grant).await?;
    tx.record(admin("permission.create", "agent")).await?.commit().await?;
    Ok(put)
}

async fn in_snapshot(store: &Store, tenant: TenantId, id: AgentId) -> Option<aegis_core::agent::AgentRecord> {
    let mut tx = store.read(tenant).await.unwrap();
    match item::get(&mut tx, tenant, &format!("agent/{id}")).await.unwrap() {
        Some(Item::Agent(record)) => Some(record),
        _ => None,
    }
}

both! {
    async fn an_agent_is_stored_listed_and_published(t: TestStore) {
        let tenant = t.tenant().await;
        let made = add(&t.store, tenant, &draft("a-one")).await.unwrap();
        t.clock.advance(std::time::Duration::from_secs(1));
        let second = add(&t.store, tenant, &Agent { risk_level: RiskLevel::Critical, ..draft("a-two") }).await.unwrap();
        let mut tx = t.store.read(tenant).await.unwrap();
        assert_eq!(agent::get(&mut tx, tenant, made.id).await.unwrap(), Some(made.clone()));
        let (page, total) = agent::list(&mut tx, tenant, &AgentFilter::default(), 1, 0).await.unwrap();
        assert_eq!((page, total), (vec![second], 2));
        let counts = agent::counts(&mut tx, tenant).await.unwrap();
        assert_eq!((counts.total, counts.active, counts.high_risk), (2, 2, 1));
        let record = in_snapshot(&t.store, tenant, made.id).await.unwrap();
        assert_eq!((record.requests_per_second, record.metadata), (Some(7), made.metadata));
    }

    async fn a_name_is_taken_until_its_holder_is_deleted(t: TestStore) {
        let tenant = t.tenant().await;
        let first = add(&t.store, tenant, &draft("same")).await.unwrap();
        let again = add(&t.store, tenant, &draft("same")).await;
        assert!(matches!(again, Err(StoreError::Conflict { reason: "name_taken", .. })), "{again:?}");
        let gone = remove(&t.store, tenant, first.id).await.unwrap();
        assert_eq!(gone.deleted_at, Some(START));
        assert!(matches!(remove(&t.store, tenant, first.id).await, Err(StoreError::NotFound("agent"))));
        assert_eq!(in_snapshot(&t.store, tenant, first.id).await, None);
        add(&t.store, tenant, &draft("same")).await.unwrap();
        let mut tx = t.store.read(tenant).await.unwrap();
        let all = AgentFilter { include_deleted: true, ..AgentFilter::default() };
        assert_eq!(agent::list(&mut tx, tenant, &AgentFilter::default(), 10, 0).await.unwrap().1, 1);
        assert_eq!(agent::list(&mut tx, tenant, &all, 10, 0).await.unwrap().1, 2);
    }

    async fn another_tenants_agent_does_not_exist(t: TestStore) {
        let (ours, theirs) = (t.tenant().await, t.tenant().await);
        let made = add(&t.store, theirs, &draft("hidden")).await.unwrap();
        let mut tx = t.store.read(ours).await.unwrap();
        assert_eq!(agent::get(&mut tx, ours, made.id).await.unwrap(), None);
        drop(tx);
        assert!(matches!(change(&t.store, ours, &made).await, Err(StoreError::NotFound("agent"))));
        assert!(matches!(remove(&t.store, ours, made.id).await, Err(StoreError::NotFound("agent"))));
        let grant = permission(made.id, "*", GrantEffect::Allow, None);
        assert!(matches!(allow(&t.store, ours, &grant).await, Err(StoreError::NotFound("agent"))));
    }

    async fn terminated_agents_stay_as_they_are(t: TestStore) {
        let tenant = t.tenant().await;
        let made = add(&t.store, tenant, &draft("last")).await.unwrap();
        let ended = change(&t.store, tenant, &Agent { status: AgentStatus::Terminated, ..made }).await.unwrap();
        let back = change(&t.store, tenant, &Agent { status: AgentStatus::Active, ..ended.clone() }).await;
        assert!(matches!(back, Err(StoreError::Conflict { reason: "terminated", .. })));
        let grant = permission(ended.id, "*", GrantEffect::Allow, None);
        assert!(matches!(allow(&t.store, tenant, &grant).await, Err(StoreError::Conflict { reason: "terminated", .. })));
    }

    async fn descent_has_no_cycle_and_no_stranger(t: TestStore) {
        let (tenant, other) = (t.tenant().await, t.tenant().await);
        let top = add(&t.store, tenant, &draft("top")).await.unwrap();
        let below = add(&t.store, tenant, &Agent { parent: Some(top.id), ..draft("below") }).await.unwrap();
        let cycle = change(&t.store, tenant, &Agent { parent: Some(below.id), ..top.clone() }).await;
        assert!(matches!(cycle, Err(StoreError::Invalid { reason: "parent_cycle", .. })));
        let own = change(&t.store, tenant, &Agent { parent: Some(top.id), ..top }).await;
        assert!(matches!(own, Err(StoreError::Invalid { reason: "parent_cycle", .. })));
        let stranger = add(&t.store, other, &Agent { parent: Some(below.id), ..draft("x-y") }).await;
        assert!(matches!(stranger, Err(StoreError::Invalid { reason: "unknown_parent", .. })));
    }

    async fn grants_are_renewed_expire_and_go(t: TestStore) {
        let tenant = t.tenant().await;
        let holder = add(&t.store, tenant, &draft("holder")).await.unwrap();
        let end = Timestamp::from_seconds(START.as_seconds() + 60);
        let brief = allow(&t.store, tenant, &permission(holder.id, "db.*", GrantEffect::Allow, Some(end))).await.unwrap();
        let denial = allow(&t.store, tenant, &permission(holder.id, "db.drop", GrantEffect::Deny, None)).await.unwrap();
        let renewed = allow(&t.store, tenant, &permission(holder.id, "db.*", GrantEffect::Allow, Some(end))).await.unwrap();
        assert_eq!(renewed.grant.id, brief.grant.id);
        assert_eq!(in_snapshot(&t.store, tenant, holder.id).await.unwrap().grants.len(), 2);
        t.clock.advance(std::time::Duration::from_mins(1));
        let mut tx = t.store.read(tenant).await.unwrap();
        let left = grant::list(&mut tx, tenant, holder.id, t.store.now()).await.unwrap();
        assert_eq!(left, vec![denial.clone()]);
        drop(tx);
        let mut tx = t.store.write(tenant).await.unwrap();
        assert_eq!(grant::delete(&mut tx, tenant, holder.id, denial.grant.id).await.unwrap(), denial);
        tx.record(admin("permission.delete", "agent")).await.unwrap().commit().await.unwrap();
        assert!(in_snapshot(&t.store, tenant, holder.id).await.unwrap().grants.is_empty());
    }
}
