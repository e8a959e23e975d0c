//! Counters in this process's memory, with a form that is kept over a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::{AgentId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::counters::bucket::Bucket;
use crate::counters::cool_down::CoolDown;
use crate::counters::tenant::{AgentCounts, TenantCounts};
use crate::counters::{AGENTS_MAX, CountRequest, Counted, Counters, Reservation};
use crate::refusal::{LimitReached, LimitType};

/// Tenants counted at most. They are never forgotten; a further one is refused.
pub const TENANTS_MAX: usize = 10_000;

/// What a tenant has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantUsage {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Calls admitted today (UTC).
    pub day_used: u64,
    /// Calls admitted this month (UTC).
    pub month_used: u64,
    /// Spent or reserved today.
    pub day_cost: MicroUsd,
}

/// The counters of one tenant as the local store keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersState {
    /// When this was true.
    pub at: Timestamp,
    /// Calls of that UTC day.
    pub day_used: u64,
    /// Calls of that UTC month.
    pub month_used: u64,
    /// Micro-USD of that UTC day.
    pub day_cost_micro_usd: MicroUsd,
    /// Micro-tokens missing in the tenant's bucket.
    pub bucket_missing: u64,
    /// Agents that could not be forgotten.
    pub agents: BTreeMap<AgentId, AgentUsage>,
}

/// The counters of one agent as the local store keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentUsage {
    /// Micro-USD of the UTC day.
    pub day_cost_micro_usd: MicroUsd,
    /// Micro-tokens missing in its bucket.
    pub bucket_missing: u64,
    /// The end of its last cool-down.
    pub cool_down_until: Option<Timestamp>,
    /// The length of that, seconds.
    pub cool_down_s: u64,
}

/// Counters in memory. One lock per tenant, held for well under a microsecond.
#[derive(Debug, Default)]
pub struct MemoryCounters {
    tenants: DashMap<TenantId, Arc<Mutex<TenantCounts>>>,
}

impl MemoryCounters {
    /// Counters that go on where `kept` stopped.
    pub fn restored(kept: impl IntoIterator<Item = (TenantId, CountersState)>, now: Timestamp) -> Self {
        let tenants = kept.into_iter().take(TENANTS_MAX);
        Self { tenants: tenants.map(|(id, state)| (id, Arc::new(Mutex::new(restore(&state, now))))).collect() }
    }

    /// All counters, to be kept. Each tenant is consistent in itself.
    pub fn export(&self, now: Timestamp) -> HashMap<TenantId, CountersState> {
        self.handles().into_iter().map(|(id, counts)| (id, keep(&mut counts.lock(), now))).collect()
    }

    /// What every tenant has used.
    pub fn usage(&self, now: Timestamp) -> Vec<TenantUsage> {
        let usage = |tenant_id, counts: &mut TenantCounts| {
            counts.roll(now);
            TenantUsage {
                tenant_id,
                day_used: counts.day_used,
                month_used: counts.month_used,
                day_cost: counts.day_cost,
            }
        };
        self.handles().into_iter().map(|(id, counts)| usage(id, &mut counts.lock())).collect()
    }

    /// The counters without a hold on the map: no lock of the map is held while a tenant's is waited for.
    fn handles(&self) -> Vec<(TenantId, Arc<Mutex<TenantCounts>>)> {
        self.tenants.iter().map(|entry| (*entry.key(), Arc::clone(entry.value()))).collect()
    }

    fn tenant(&self, id: TenantId, now: Timestamp) -> Option<Arc<Mutex<TenantCounts>>> {
        if let Some(known) = self.tenants.get(&id) {
            return Some(Arc::clone(&known));
        }
        if self.tenants.len() >= TENANTS_MAX {
            return None;
        }
        Some(Arc::clone(&self.tenants.entry(id).or_insert_with(|| Arc::new(Mutex::new(TenantCounts::new(now))))))
    }
}

impl Counters for MemoryCounters {
    fn admit(&self, request: &CountRequest, now: Timestamp) -> Result<Counted, LimitReached> {
        match self.tenant(request.tenant_id, now) {
            Some(counts) => counts.lock().admit(request, now),
            None => Err(full(now)),
        }
    }

    fn settle(&self, reservation: Reservation, actual: MicroUsd, now: Timestamp) {
        if let Some(counts) = self.tenant(reservation.tenant_id, now) {
            counts.lock().settle(&reservation, actual, now);
        }
    }

    fn throttle(&self, tenant_id: TenantId, agent_id: AgentId, now: Timestamp) -> LimitReached {
        match self.tenant(tenant_id, now) {
            Some(counts) => counts.lock().throttle(agent_id, now),
            None => full(now),
        }
    }
}

fn full(now: Timestamp) -> LimitReached {
    let retry_after = Duration::from_mins(1);
    LimitReached { limit_type: LimitType::TenantRps, limit: 0, reset_at: now.plus(retry_after), retry_after }
}

fn restore(state: &CountersState, now: Timestamp) -> TenantCounts {
    let mut counts = TenantCounts::new(state.at);
    counts.bucket = Bucket::restored(state.bucket_missing, state.at);
    counts.day_used = state.day_used;
    counts.month_used = state.month_used;
    counts.day_cost = state.day_cost_micro_usd;
    let day = counts.day;
    counts.agents.extend(state.agents.iter().take(AGENTS_MAX).map(|(id, kept)| {
        let length = Duration::from_secs(kept.cool_down_s);
        let agent = AgentCounts {
            bucket: Bucket::restored(kept.bucket_missing, state.at),
            rate: None,
            day,
            cost: kept.day_cost_micro_usd,
            cool_down: kept.cool_down_until.map(|until| CoolDown { length, until }),
            cost_warned: false,
        };
        (*id, agent)
    }));
    counts.roll(now);
    counts
}

fn keep(counts: &mut TenantCounts, now: Timestamp) -> CountersState {
    counts.roll(now);
    let day = counts.day;
    // The buckets' levels belong to the moment of their last use; told as of `at`, at most too strict by that.
    let agents = counts.agents.iter().filter_map(|(id, agent)| {
        let cool_down = agent.cool_down.filter(|last| !last.is_forgiven(now));
        let usage = AgentUsage {
            day_cost_micro_usd: agent.cost_on(day),
            bucket_missing: agent.bucket.missing(),
            cool_down_until: cool_down.map(|last| last.until),
            cool_down_s: cool_down.map_or(0, |last| last.length.as_secs()),
        };
        let matters = usage.day_cost_micro_usd != MicroUsd::ZERO || usage.bucket_missing != 0 || cool_down.is_some();
        matters.then_some((*id, usage))
    });
    CountersState {
        at: now,
        day_used: counts.day_used,
        month_used: counts.month_used,
        day_cost_micro_usd: counts.day_cost,
        bucket_missing: counts.bucket.missing(),
        agents: agents.collect(),
    }
}
