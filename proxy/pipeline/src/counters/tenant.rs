//! The counters of one tenant: everything that is checked and counted in one step stands behind one lock.

use std::collections::HashMap;
use std::time::Duration;

use aegis_core::id::AgentId;
use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;

use crate::counters::bucket::{Bucket, Rate};
use crate::counters::cool_down::CoolDown;
use crate::counters::{CountRequest, Counted, LimitView, Reservation, WARN_PERCENT};
use crate::refusal::{LimitReached, LimitType};

/// Agents counted per tenant at most. Only those that could be forgotten without loss make room; if there are
/// none, a further agent is refused.
pub const AGENTS_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct TenantCounts {
    pub(crate) bucket: Bucket,
    pub(crate) day: i64,
    pub(crate) day_used: u64,
    pub(crate) day_cost: MicroUsd,
    pub(crate) month: Timestamp,
    pub(crate) month_used: u64,
    pub(crate) agents: HashMap<AgentId, AgentCounts>,
    /// First instant of the next UTC month: so that the calendar is asked once a month.
    month_end: Timestamp,
    /// Whether the use of this month's calls, and of this day's money, was warned of.
    month_warned: bool,
    cost_warned: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct AgentCounts {
    pub(crate) bucket: Bucket,
    pub(crate) rate: Option<Rate>,
    pub(crate) day: i64,
    pub(crate) cost: MicroUsd,
    pub(crate) cool_down: Option<CoolDown>,
    /// Whether the use of this day's money was warned of.
    pub(crate) cost_warned: bool,
}

impl AgentCounts {
    fn new(now: Timestamp, day: i64) -> Self {
        Self { bucket: Bucket::full(now), rate: None, day, cost: MicroUsd::ZERO, cool_down: None, cost_warned: false }
    }

    /// What it spent on `day`: nothing, if it was last seen on another.
    pub(crate) fn cost_on(&self, day: i64) -> MicroUsd {
        if self.day == day { self.cost } else { MicroUsd::ZERO }
    }

    fn can_be_forgotten(&mut self, day: i64, now: Timestamp) -> bool {
        self.cost_on(day) == MicroUsd::ZERO
            && self.cool_down.is_none_or(|last| last.is_forgiven(now))
            && self.rate.map_or(self.bucket.missing() == 0, |rate| self.bucket.is_full(rate, now))
    }
}

impl TenantCounts {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            bucket: Bucket::full(now),
            day: now.day(),
            day_used: 0,
            day_cost: MicroUsd::ZERO,
            month: now.month_start(),
            month_used: 0,
            agents: HashMap::new(),
            month_end: now.next_month(),
            month_warned: false,
            cost_warned: false,
        }
    }

    /// Begins a new day or month. Never an older one: a clock set back must not give back what was used.
    pub(crate) fn roll(&mut self, now: Timestamp) {
        if now.day() > self.day {
            self.day = now.day();
            self.day_used = 0;
            self.day_cost = MicroUsd::ZERO;
            self.cost_warned = false;
        }
        if now >= self.month_end {
            self.month = now.month_start();
            self.month_end = now.next_month();
            self.month_used = 0;
            self.month_warned = false;
        }
    }

    /// The agent's counters; absent only if there is no room left.
    fn agent(&mut self, id: AgentId, now: Timestamp) -> Option<AgentCounts> {
        let day = self.day;
        if let Some(known) = self.agents.get(&id) {
            let cost = known.cost_on(day);
            let cost_warned = known.cost_warned && known.day == day;
            return Some(AgentCounts { day, cost, cost_warned, ..*known });
        }
        if self.agents.len() >= AGENTS_MAX {
            self.agents.retain(|_, agent| !agent.can_be_forgotten(day, now));
        }
        (self.agents.len() < AGENTS_MAX).then(|| AgentCounts::new(now, day))
    }

    /// Checks every limit, then counts in all of them: nothing is counted for a call that is refused.
    pub(crate) fn admit(&mut self, request: &CountRequest, now: Timestamp) -> Result<Counted, LimitReached> {
        self.roll(now);
        let limits = &request.limits;
        let tenant_rate = Rate { per_second: limits.requests_per_second, burst: limits.burst };
        let Some(mut agent) = self.agent(request.agent_id, now) else {
            return Err(reached(LimitType::AgentRps, 0, now, Duration::from_secs(1)));
        };
        agent.rate = request.agent_rps.map(|rps| Rate { per_second: rps, burst: rps });
        agent.cool_down.map_or(Ok(()), |last| last.check(now))?;
        self.bucket
            .check(tenant_rate, now)
            .map_err(|wait| reached(LimitType::TenantRps, u64::from(tenant_rate.per_second), now, wait))?;
        if let Some(rate) = agent.rate {
            agent
                .bucket
                .check(rate, now)
                .map_err(|wait| reached(LimitType::AgentRps, u64::from(rate.per_second), now, wait))?;
        }
        let (day_left, month_left) = (self.day_left(now), self.month_end.since(now));
        if self.day_used >= limits.daily_request_cap {
            return Err(reached(LimitType::TenantDailyRequest, limits.daily_request_cap, now, day_left));
        }
        if let Some(cap) = limits.monthly_request_cap.filter(|cap| self.month_used >= *cap) {
            return Err(reached(LimitType::TenantMonthlyRequest, cap, now, month_left));
        }
        let over = |spent: MicroUsd, cap: &MicroUsd| spent.plus(request.cost) > *cap;
        if let Some(cap) = request.agent_cost_cap.filter(|cap| over(agent.cost, cap)) {
            return Err(reached(LimitType::AgentCost, cap.as_micros(), now, day_left));
        }
        if let Some(cap) = limits.daily_cost_cap_micro_usd.filter(|cap| over(self.day_cost, cap)) {
            return Err(reached(LimitType::TenantCost, cap.as_micros(), now, day_left));
        }
        // From here on nothing can refuse.
        self.bucket.take();
        if agent.rate.is_some() {
            agent.bucket.take();
        }
        self.day_used = self.day_used.saturating_add(1);
        self.month_used = self.month_used.saturating_add(1);
        self.day_cost = self.day_cost.plus(request.cost);
        agent.cost = agent.cost.plus(request.cost);
        let near = self.near(request, &mut agent);
        self.agents.insert(request.agent_id, agent);
        let reservation =
            Reservation { tenant_id: request.tenant_id, agent_id: request.agent_id, day: self.day, cost: request.cost };
        Ok(Counted { reservation, limits: self.views(request, &agent, now), near })
    }

    /// The caps that are now used so far that somebody should know, and were not before.
    fn near(&mut self, request: &CountRequest, agent: &mut AgentCounts) -> Vec<LimitType> {
        let far = |used: u64, cap: u64| u128::from(used) * 100 >= u128::from(cap) * u128::from(WARN_PERCENT);
        let limits = &request.limits;
        let month = limits.monthly_request_cap.is_some_and(|cap| far(self.month_used, cap));
        let spent = |cap: Option<MicroUsd>, cost: MicroUsd| cap.is_some_and(|c| far(cost.as_micros(), c.as_micros()));
        let by_tenant = spent(limits.daily_cost_cap_micro_usd, self.day_cost);
        let by_agent = spent(request.agent_cost_cap, agent.cost);
        let told = [
            (month, &mut self.month_warned, LimitType::TenantMonthlyRequest),
            (by_tenant, &mut self.cost_warned, LimitType::TenantCost),
            (by_agent, &mut agent.cost_warned, LimitType::AgentCost),
        ];
        let news = told.into_iter().filter_map(|(is_far, warned, limit)| {
            (is_far && !std::mem::replace(warned, *warned || is_far)).then_some(limit)
        });
        news.collect()
    }

    fn day_left(&self, now: Timestamp) -> Duration {
        let end = (self.day + 1).saturating_mul(aegis_core::time::MICROS_PER_DAY);
        Timestamp::from_micros(end).since(now)
    }

    fn views(&self, request: &CountRequest, agent: &AgentCounts, now: Timestamp) -> Vec<LimitView> {
        let limits = &request.limits;
        let rate_view = |limit_type, bucket: &Bucket, rate: Rate| LimitView {
            limit_type,
            limit: u64::from(rate.burst),
            remaining: bucket.remaining(rate),
            reset_after: bucket.full_after(rate),
        };
        let view = |limit_type, limit: u64, used: u64, reset_after| LimitView {
            limit_type,
            limit,
            remaining: limit.saturating_sub(used),
            reset_after,
        };
        let day = self.day_left(now);
        let tenant_rate = Rate { per_second: limits.requests_per_second, burst: limits.burst };
        let mut views = Vec::with_capacity(6);
        views.push(rate_view(LimitType::TenantRps, &self.bucket, tenant_rate));
        views.extend(agent.rate.map(|rate| rate_view(LimitType::AgentRps, &agent.bucket, rate)));
        views.push(view(LimitType::TenantDailyRequest, limits.daily_request_cap, self.day_used, day));
        views.extend(
            limits
                .monthly_request_cap
                .map(|cap| view(LimitType::TenantMonthlyRequest, cap, self.month_used, self.month_end.since(now))),
        );
        views.extend(
            request.agent_cost_cap.map(|cap| view(LimitType::AgentCost, cap.as_micros(), agent.cost.as_micros(), day)),
        );
        views.extend(
            limits
                .daily_cost_cap_micro_usd
                .map(|cap| view(LimitType::TenantCost, cap.as_micros(), self.day_cost.as_micros(), day)),
        );
        views
    }

    /// Gives back what was reserved too much, or adds what was too little; only to the day it was reserved on.
    pub(crate) fn settle(&mut self, reservation: &Reservation, actual: MicroUsd, now: Timestamp) {
        self.roll(now);
        if reservation.day == self.day {
            self.day_cost = self.day_cost.minus(reservation.cost).plus(actual);
        }
        if let Some(agent) = self.agents.get_mut(&reservation.agent_id).filter(|agent| agent.day == reservation.day) {
            agent.cost = agent.cost.minus(reservation.cost).plus(actual);
        }
    }

    pub(crate) fn throttle(&mut self, agent_id: AgentId, now: Timestamp) -> LimitReached {
        self.roll(now);
        let Some(mut agent) = self.agent(agent_id, now) else {
            return CoolDown::after(None, now).refusal(now);
        };
        let next = CoolDown::after(agent.cool_down, now);
        agent.cool_down = Some(next);
        self.agents.insert(agent_id, agent);
        next.refusal(now)
    }
}

fn reached(limit_type: LimitType, limit: u64, now: Timestamp, wait: Duration) -> LimitReached {
    LimitReached { limit_type, limit, reset_at: now.plus(wait), retry_after: wait }
}
