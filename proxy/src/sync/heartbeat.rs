//! Heartbeats: every ten seconds, and right after a version was put in force.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::decision::Level;
use aegis_core::id::TenantId;
use aegis_core::money::MicroUsd;
use aegis_core::sidecar::{HEARTBEAT_S, Heartbeat, HeartbeatAck, LatencySummary, TenantCounters, ToolAnnouncement};
use aegis_pipeline::counters::TenantUsage;
use reqwest::Method;

use super::Sync;
use super::client::{SyncError, exchange};

/// What a heartbeat tells beyond what the line knows itself.
pub trait Report: Send + std::marker::Sync {
    /// What each tenant has used.
    fn usage(&self) -> Vec<TenantUsage>;
    /// Decision latency of the last minute, microseconds.
    fn decision_latency(&self) -> LatencySummary;
    /// The tools that can be reached.
    fn tools(&self) -> Vec<ToolAnnouncement>;
}

/// Sends heartbeats for ever. A failed one is not repeated: the next says the same, newer.
pub(super) async fn run(sync: &Sync) {
    let mut applied = sync.applier.subscribe();
    let mut told: Option<Vec<ToolAnnouncement>> = None;
    loop {
        applied.mark_unchanged();
        let tools = sync.report.tools();
        let news = told.as_ref() != Some(&tools);
        match send(sync, news.then(|| tools.clone())).await {
            Ok(ack) => {
                told = Some(tools);
                tracing::debug!(version = ack.version, "heartbeat");
            }
            Err(error) => {
                tracing::debug!(%error, "no heartbeat");
                if matches!(error, SyncError::Unauthorized(_)) {
                    sync.session.forget_credential().await;
                }
            }
        }
        let changed = tokio::time::timeout(Duration::from_secs(HEARTBEAT_S), applied.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
    }
}

async fn send(sync: &Sync, tools: Option<Vec<ToolAnnouncement>>) -> Result<HeartbeatAck, SyncError> {
    let applied = sync.applier.applied();
    let facts = sync.outbox.facts();
    let settings = sync.session.settings();
    let heartbeat = Heartbeat {
        boot: sync.outbox.boot(),
        version: settings.version.clone(),
        public_url: settings.public_url.clone(),
        snapshot_version: applied.version,
        snapshot_applied_at: applied.at,
        outbox_rows: facts.rows,
        outbox_age_ms: facts.oldest_age_ms,
        level: Level::Signed,
        tools,
        counters: counters(sync),
        decision_us: sync.report.decision_latency(),
        checkpoints: sync.checkpoints.shown(),
    };
    exchange(sync.session.request(Method::POST, "/internal/sidecar/heartbeat").await?.json(&heartbeat)).await
}

/// Usage from the limits, outcomes from the rows, by tenant.
fn counters(sync: &Sync) -> Vec<TenantCounters> {
    let mut all = BTreeMap::new();
    for usage in sync.report.usage() {
        let counters = all.entry(usage.tenant_id).or_insert_with(|| zero(usage.tenant_id));
        counters.day_used = usage.day_used;
        counters.month_used = usage.month_used;
        counters.day_cost_micro_usd = usage.day_cost;
    }
    for (tenant_id, counts) in sync.outbox.counts() {
        let counters = all.entry(tenant_id).or_insert_with(|| zero(tenant_id));
        counters.forwarded = counts.forwarded;
        counters.denied = counts.denied;
        counters.errored = counts.errored;
    }
    all.into_values().collect()
}

fn zero(tenant_id: TenantId) -> TenantCounters {
    TenantCounters {
        tenant_id,
        day_used: 0,
        month_used: 0,
        day_cost_micro_usd: MicroUsd::ZERO,
        forwarded: 0,
        denied: 0,
        errored: 0,
    }
}
