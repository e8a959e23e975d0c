//! What is remembered of one agent.

use std::collections::HashMap;

use aegis_core::id::{AgentId, SessionId, TenantId};
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;

use crate::stages::behavior::Observation;
use crate::stages::behavior::chain::{Chain, Pattern};
use crate::stages::behavior::kept::{KeptAgent, KeptSession, SESSIONS_KEPT};
use crate::stages::behavior::window::{WindowMax, WindowSum};

/// Calls remembered per agent.
const AGENT_CHAIN: usize = 50;
/// Calls remembered per session.
const SESSION_CHAIN: usize = 20;
/// Sessions remembered per agent; the one idle longest makes room. What an agent does is also kept without
/// regard to sessions, so a new name for each call hides nothing.
const SESSIONS_MAX: usize = 32;

#[derive(Debug)]
pub(crate) struct AgentState {
    pub(crate) last_seen: Timestamp,
    /// Calls ever observed.
    pub(crate) observed: u64,
    /// Calls of the last 60 seconds.
    pub(crate) velocity: WindowSum,
    /// Micro-USD by hour: this one and the eight before.
    pub(crate) cost: WindowSum,
    chain: Chain,
    hour_risk: WindowMax,
    week_risk: WindowMax,
    sessions: HashMap<SessionId, SessionState>,
    /// Whether something happened since it was kept.
    pub(crate) is_news: bool,
}

#[derive(Debug)]
struct SessionState {
    last_seen: Timestamp,
    chain: Chain,
    risk: WindowMax,
}

impl AgentState {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            last_seen: now,
            observed: 0,
            velocity: WindowSum::seconds(60),
            cost: WindowSum::hours(9),
            chain: Chain::new(AGENT_CHAIN),
            hour_risk: WindowMax::minutes(60),
            week_risk: WindowMax::hours(168),
            sessions: HashMap::new(),
            is_news: false,
        }
    }

    /// As it was kept.
    pub(crate) fn restored(kept: KeptAgent) -> Self {
        let sessions = kept.sessions.into_iter().take(SESSIONS_MAX).map(|session| {
            let state = SessionState {
                last_seen: session.last_seen,
                chain: Chain::new(SESSION_CHAIN).with(session.calls),
                risk: WindowMax::minutes(15).with(session.risk),
            };
            (session.id, state)
        });
        let new = Self::new(kept.last_seen);
        Self {
            observed: kept.observed,
            velocity: new.velocity.with(kept.velocity),
            cost: new.cost.with(kept.cost),
            chain: new.chain.with(kept.calls),
            hour_risk: new.hour_risk.with(kept.hour_risk),
            week_risk: new.week_risk.with(kept.week_risk),
            sessions: sessions.collect(),
            ..new
        }
    }

    /// What is kept of it.
    pub(crate) fn keep(&self, tenant_id: TenantId, agent_id: AgentId) -> KeptAgent {
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_unstable_by_key(|(_, session)| std::cmp::Reverse(session.last_seen));
        let kept = |(id, session): (&SessionId, &SessionState)| KeptSession {
            id: id.clone(),
            last_seen: session.last_seen,
            risk: session.risk.buckets(),
            calls: session.chain.calls(),
        };
        KeptAgent {
            tenant_id,
            agent_id,
            last_seen: self.last_seen,
            observed: self.observed,
            velocity: self.velocity.buckets(),
            cost: self.cost.buckets(),
            hour_risk: self.hour_risk.buckets(),
            week_risk: self.week_risk.buckets(),
            calls: self.chain.calls(),
            sessions: sessions.into_iter().take(SESSIONS_KEPT).map(kept).collect(),
        }
    }

    /// Takes a call into account; says which pattern it completes, by itself or in its session.
    pub(crate) fn observe(&mut self, seen: &Observation<'_>) -> Option<Pattern> {
        self.last_seen = seen.now;
        self.is_news = true;
        self.observed = self.observed.saturating_add(1);
        self.velocity.add(1, seen.now);
        self.cost.add(seen.cost.as_micros(), seen.now);
        let push = |chain: &mut Chain| chain.push(seen.tool, seen.fingerprint, seen.findings, seen.now);
        let alone = push(&mut self.chain);
        let in_session = seen.session.and_then(|id| push(&mut self.session(id, seen.now).chain));
        alone.max(in_session)
    }

    fn session(&mut self, id: &SessionId, now: Timestamp) -> &mut SessionState {
        if self.sessions.len() >= SESSIONS_MAX && !self.sessions.contains_key(id) {
            let idle = self.sessions.iter().min_by_key(|(_, session)| session.last_seen).map(|(id, _)| id.clone());
            idle.and_then(|id| self.sessions.remove(&id));
        }
        let new = || SessionState { last_seen: now, chain: Chain::new(SESSION_CHAIN), risk: WindowMax::minutes(15) };
        let session = self.sessions.entry(id.clone()).or_insert_with(new);
        session.last_seen = now;
        session
    }

    /// Tools of the session's calls, or of the agent's last ones if it names no session.
    pub(crate) fn session_tools(&self, session: Option<&SessionId>, now: Timestamp) -> Vec<String> {
        let chain = match session {
            Some(id) => self.sessions.get(id).map(|session| &session.chain),
            None => Some(&self.chain),
        };
        let tools: Vec<String> = chain.into_iter().flat_map(|c| c.tools(now)).map(ToString::to_string).collect();
        let surplus = tools.len().saturating_sub(SESSION_CHAIN);
        tools.into_iter().skip(surplus).collect()
    }

    /// What earlier calls weigh on this one: 0.8 × session over 15 min, 0.5 × agent over 60 min, 0.3 × agent over
    /// 7 days. Maxima, so many small things never become a big one.
    pub(crate) fn cumulative_risk(&self, session: Option<&SessionId>, now: Timestamp) -> BasisPoints {
        let part = |risk: BasisPoints, weight| risk.times(BasisPoints::clamp(weight));
        let session = session.and_then(|id| self.sessions.get(id)).map_or(BasisPoints::ZERO, |s| s.risk.max(now));
        part(session, 8_000).max(part(self.hour_risk.max(now), 5_000)).max(part(self.week_risk.max(now), 3_000))
    }

    pub(crate) fn remember_risk(&mut self, session: Option<&SessionId>, risk: BasisPoints, now: Timestamp) {
        self.is_news = true;
        self.hour_risk.add(risk, now);
        self.week_risk.add(risk, now);
        if let Some(id) = session {
            self.session(id, now).risk.add(risk, now);
        }
    }
}
