//! Limits: what is asked of a counter, and the counter in memory.

mod bucket;
mod cool_down;
mod memory;
mod tenant;

use std::time::Duration;

use aegis_core::id::{AgentId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::tenant::Limits;
use aegis_core::time::Timestamp;

pub use memory::{AgentUsage, CountersState, MemoryCounters, TENANTS_MAX, TenantUsage};
pub use tenant::AGENTS_MAX;

use crate::refusal::{LimitReached, LimitType};

/// Part of a monthly or cost cap, in percent, from which its use is warned of.
pub const WARN_PERCENT: u64 = 80;

/// One call that asks to be counted. The tenant is part of every question: there is no counter without it.
#[derive(Debug, Clone, Copy)]
pub struct CountRequest {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// The tenant's limits.
    pub limits: Limits,
    /// The agent's own calls per second, if limited; its burst is one second's worth.
    pub agent_rps: Option<u32>,
    /// What the agent may spend per UTC day, if capped.
    pub agent_cost_cap: Option<MicroUsd>,
    /// What the call will cost at most.
    pub cost: MicroUsd,
}

/// A limit as told in `RateLimit-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitView {
    /// Which.
    pub limit_type: LimitType,
    /// Its value: calls, or micro-USD.
    pub limit: u64,
    /// What is left of it after this call.
    pub remaining: u64,
    /// How long until it is whole again.
    pub reset_after: Duration,
}

/// Money set aside for a call. If it is never settled it stays spent: a lost call is a paid call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "money that is not settled stays spent"]
pub struct Reservation {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// The UTC day on which it counts (days since the epoch).
    pub day: i64,
    /// How much is set aside.
    pub cost: MicroUsd,
}

/// A call that was counted.
#[derive(Debug)]
#[must_use = "it holds reserved money"]
pub struct Counted {
    /// The money set aside.
    pub reservation: Reservation,
    /// All limits and what is left of them.
    pub limits: Vec<LimitView>,
    /// Monthly and cost caps of which [`WARN_PERCENT`] are used with this call: each is told once in its period.
    pub near: Vec<LimitType>,
}

/// Counts calls and money. Checking and counting are one atomic step; only admitted calls count.
pub trait Counters: Send + Sync {
    /// Admits and counts the call, or counts nothing and names the limit.
    fn admit(&self, request: &CountRequest, now: Timestamp) -> Result<Counted, LimitReached>;

    /// Replaces the reserved amount by what the call did cost; zero gives everything back.
    fn settle(&self, reservation: Reservation, actual: MicroUsd, now: Timestamp);

    /// Starts the agent's next cool-down after a THROTTLE verdict: 1 s, doubling to 60 s with each further
    /// verdict, from 1 s again after 60 s of quiet.
    fn throttle(&self, tenant_id: TenantId, agent_id: AgentId, now: Timestamp) -> LimitReached;
}

#[cfg(test)]
mod tests;
