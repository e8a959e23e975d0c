//! Stage 5: how the agent behaves, against what it did before.
//!
//! Covered: velocity (absolute), sequence (loops and dangerous chains), cost, cumulative risk. Not yet: what
//! needs baselines from the control plane (drift, velocity against p95, unseen transitions) and what needs
//! several agents (`cross_agent`). Those signals are absent, not zero.

mod chain;
mod kept;
mod state;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::agent::RiskLevel;
use aegis_core::finding::{Finding, FindingId};
use aegis_core::id::{AgentId, SessionId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolName;
use aegis_core::score::BasisPoints;
use aegis_core::sidecar::Effect;
use aegis_core::tenant::DegradedModePolicy;
use aegis_core::time::Timestamp;
use dashmap::DashMap;

use crate::policy::{BehaviorInput, SessionInput};
use crate::refusal::SignalView;
pub use kept::{AGENTS_PER_PART, KeptAgent, PARTS, SESSIONS_KEPT};
use state::AgentState;

/// Agents remembered at most. Idle ones make room; if none is idle, a further agent is judged without memory.
pub const AGENTS_MAX: usize = 100_000;
/// Idle for this long, an agent is forgotten when room is needed.
const IDLE: Duration = Duration::from_hours(2);
/// Older than this, nothing of an agent matters any more.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);
/// Observations from which on a signal has its full weight; half before.
const OBSERVATIONS_FOR_CONFIDENCE: u64 = 20;
/// The value from which a signal counts as triggered.
pub(crate) const TRIGGERED: BasisPoints = BasisPoints::clamp(5_000);
/// Calls a minute that are never a spike: twice what a tenant's default limit lets through.
const VELOCITY_CALM_MIN: u64 = 6_000;
/// The hour's cost over the mean of the eight before, from which it counts, and at which it is certain.
const COST_RATIO: (u64, u64) = (3, 10);
/// Micro-USD an hour that are never a cost bomb: 1 USD.
const COST_CALM: u64 = 1_000_000;

/// One call as stage 5 sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation<'a> {
    pub(crate) tenant_id: TenantId,
    pub(crate) agent_id: AgentId,
    pub(crate) session: Option<&'a SessionId>,
    pub(crate) tool: &'a ToolName,
    /// Hash of the canonical payload: equal for equal arguments.
    pub(crate) fingerprint: u64,
    pub(crate) findings: &'a [Finding],
    pub(crate) cost: MicroUsd,
    /// Calls a second the agent may make.
    pub(crate) allowed_rps: u32,
    pub(crate) now: Timestamp,
}

/// What stage 5 makes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BehaviorReport {
    /// The signals, each on its own.
    pub signals: BTreeMap<&'static str, SignalView>,
    /// The highest signal times confidence, or the cumulative risk of earlier calls if that is more.
    pub score: BasisPoints,
    /// How much is known of the agent.
    pub confidence: BasisPoints,
    /// What was seen.
    pub findings: Vec<Finding>,
}

/// What became of a call under `degraded_mode_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degraded {
    /// The snapshot is fresh.
    No,
    /// It is stale; the call goes on and the row says so.
    Noted,
    /// It is stale; the call is refused.
    Blocked,
}

/// Applies the tenant's `degraded_mode_policy` to a snapshot of this age.
pub(crate) fn degraded(policy: DegradedModePolicy, stale: bool, high_risk: bool) -> Degraded {
    match policy {
        _ if !stale => Degraded::No,
        DegradedModePolicy::BlockAll => Degraded::Blocked,
        DegradedModePolicy::BlockHighRisk if high_risk => Degraded::Blocked,
        DegradedModePolicy::BlockHighRisk | DegradedModePolicy::AllowWithAudit => Degraded::Noted,
    }
}

/// High risk: the agent's level is high or critical, a finding is 50 or more, or the tool writes.
pub(crate) fn is_high_risk(level: RiskLevel, findings: &[Finding], effect: Effect) -> bool {
    matches!(level, RiskLevel::High | RiskLevel::Critical)
        || findings.iter().any(|f| f.score >= 50)
        || effect == Effect::Write
}

/// What stage 5 remembers of agents. Bounded; all sums are exact integers.
#[derive(Debug, Default)]
pub struct BehaviorMemory {
    agents: DashMap<(TenantId, AgentId), AgentState>,
}

impl BehaviorMemory {
    /// A memory that goes on where `kept` stopped.
    pub fn restored(kept: impl IntoIterator<Item = KeptAgent>, now: Timestamp) -> Self {
        let recent = kept.into_iter().filter(|agent| now.since(agent.last_seen) < REMEMBERED).take(AGENTS_MAX);
        let agents = recent.map(|agent| ((agent.tenant_id, agent.agent_id), AgentState::restored(agent)));
        Self { agents: agents.collect() }
    }

    /// What is to be kept, by part, of the parts in which something happened since the last time: of each, the
    /// [`AGENTS_PER_PART`] agents seen last. Each agent is consistent in itself.
    pub fn export(&self) -> Vec<(usize, Vec<KeptAgent>)> {
        let mut parts: BTreeMap<usize, (bool, Vec<_>)> = BTreeMap::new();
        for mut agent in self.agents.iter_mut() {
            let key = *agent.key();
            let (news, agents) = parts.entry(kept::part_of(key.0, key.1)).or_default();
            *news |= std::mem::take(&mut agent.is_news);
            agents.push((std::cmp::Reverse(agent.last_seen), key));
        }
        let changed = parts.into_iter().filter(|(_, (news, _))| *news);
        let keep = |(_, (tenant, agent)): (_, (TenantId, AgentId))| {
            self.agents.get(&(tenant, agent)).map(|state| state.keep(tenant, agent))
        };
        changed
            .map(|(part, (_, mut agents))| {
                agents.sort_unstable();
                (part, agents.into_iter().take(AGENTS_PER_PART).filter_map(keep).collect())
            })
            .collect()
    }

    /// What is known before this call, for policies.
    pub(crate) fn view(
        &self,
        key: (TenantId, AgentId),
        session: Option<&SessionId>,
        now: Timestamp,
    ) -> (SessionInput, BehaviorInput) {
        let id = session.map_or_else(String::new, |s| s.as_str().to_owned());
        match self.agents.get(&key) {
            None => (SessionInput { id, ..SessionInput::default() }, BehaviorInput::default()),
            Some(state) => {
                let tools: Vec<String> = state.session_tools(session, now);
                let behavior = BehaviorInput {
                    calls_last_minute: state.velocity.sum(now),
                    cost_last_hour_micro_usd: state.cost.this_hour(now),
                    cumulative_risk_bp: state.cumulative_risk(session, now).get(),
                };
                (SessionInput { id, calls: tools.len(), tools }, behavior)
            }
        }
    }

    /// Takes the call into account and says what it looks like.
    pub(crate) fn assess(&self, seen: &Observation<'_>) -> BehaviorReport {
        let key = (seen.tenant_id, seen.agent_id);
        if self.agents.len() >= AGENTS_MAX && !self.agents.contains_key(&key) && !self.make_room(seen.now) {
            return judge(&mut AgentState::new(seen.now), seen);
        }
        judge(&mut self.agents.entry(key).or_insert_with(|| AgentState::new(seen.now)), seen)
    }

    /// Remembers how risky the call itself was: what it leaves behind, not what it inherited.
    pub(crate) fn remember(
        &self,
        key: (TenantId, AgentId),
        session: Option<&SessionId>,
        risk: BasisPoints,
        now: Timestamp,
    ) {
        if risk > BasisPoints::ZERO
            && let Some(mut state) = self.agents.get_mut(&key)
        {
            state.remember_risk(session, risk, now);
        }
    }

    fn make_room(&self, now: Timestamp) -> bool {
        self.agents.retain(|_, state| now.since(state.last_seen) < IDLE);
        self.agents.len() < AGENTS_MAX
    }
}

fn judge(state: &mut AgentState, seen: &Observation<'_>) -> BehaviorReport {
    let cumulative = state.cumulative_risk(seen.session, seen.now);
    let pattern = state.observe(seen);
    let known = state.observed >= OBSERVATIONS_FOR_CONFIDENCE;
    let confidence = if known { BasisPoints::MAX } else { BasisPoints::clamp(5_000) };
    let velocity = velocity(state.velocity.sum(seen.now), seen.allowed_rps);
    let cost = cost(state.cost.this_hour(seen.now), state.cost.mean_before(seen.now));
    let mut findings = Vec::new();
    let sequence = pattern.map_or(BasisPoints::ZERO, |pattern| {
        findings.extend(pattern.finding().map(|id| Finding::new(id, "")));
        pattern.signal()
    });
    for (signal, id) in [(velocity, FindingId::VelocitySpike), (cost, FindingId::CostBomb)] {
        if signal >= TRIGGERED {
            findings.push(Finding::new(id, ""));
        }
    }
    let highest = velocity.max(cost).max(sequence);
    let view = |score| SignalView { score, threshold: TRIGGERED };
    let signals = [("velocity", velocity), ("sequence", sequence), ("cost", cost), ("cumulative_risk", cumulative)];
    BehaviorReport {
        signals: signals.into_iter().map(|(name, score)| (name, view(score))).collect(),
        score: highest.times(confidence).max(cumulative),
        confidence,
        findings,
    }
}

/// 0 up to the calm rate, 1 at twice that. The calm rate is 100 calls a second, or what the agent may make if
/// that is more: so only a burst far beyond the sustained limit is a spike.
fn velocity(per_minute: u64, allowed_rps: u32) -> BasisPoints {
    let calm = VELOCITY_CALM_MIN.max(u64::from(allowed_rps) * 60);
    let above = per_minute.saturating_sub(calm).min(calm);
    BasisPoints::clamp(i64::try_from(above.saturating_mul(10_000) / calm).unwrap_or(10_000))
}

/// 0 up to three times the mean of the eight hours before, 1 at ten times. Nothing without such a mean.
fn cost(this_hour: u64, mean_before: Option<u64>) -> BasisPoints {
    let Some(mean) = mean_before.filter(|mean| *mean > 0 && this_hour > COST_CALM) else { return BasisPoints::ZERO };
    let (from, certain) = (mean.saturating_mul(COST_RATIO.0), mean.saturating_mul(COST_RATIO.1));
    let above = u128::from(this_hour.saturating_sub(from));
    let range = u128::from(certain.saturating_sub(from)).max(1);
    BasisPoints::clamp(i64::try_from(above * 10_000 / range).unwrap_or(10_000))
}

#[cfg(test)]
mod tests;
