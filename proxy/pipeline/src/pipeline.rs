//! The order of the stages, written once. Each step takes what the step before returned, so that no stage can be
//! left out or swapped:
//!
//! ```
//! # use aegis_pipeline::pipeline::{Admitted, Judged, Metered, Permit, Pipeline};
//! fn in_order(pipeline: &Pipeline<'_>, metered: Metered) {
//!     let judged: Judged = pipeline.judge(metered);
//!     let _ = pipeline.enforce(judged);
//! }
//! ```
//!
//! Judging what was not counted does not compile, nor does a permit made by hand:
//!
//! ```compile_fail
//! # use aegis_pipeline::pipeline::{Admitted, Judged, Metered, Permit, Pipeline};
//! fn out_of_order(pipeline: &Pipeline<'_>, admitted: Admitted) {
//!     let judged: Judged = pipeline.judge(admitted);
//! }
//! ```
//!
//! ```compile_fail
//! # use aegis_pipeline::pipeline::{Admitted, Judged, Metered, Permit, Pipeline};
//! fn out_of_order(pipeline: &Pipeline<'_>, metered: Metered) {
//!     let _ = pipeline.enforce(metered);
//! }
//! ```
//!
//! ```compile_fail
//! # use aegis_pipeline::pipeline::{Judged, Permit};
//! fn by_hand(judged: Judged) -> Permit {
//!     Permit { judged }
//! }
//! ```

mod states;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use aegis_core::decision::{Decision, Stage};
use aegis_core::finding::Finding;
use aegis_core::id::SessionId;
use aegis_core::money::MicroUsd;
use aegis_core::time::{Clock, Monotonic, Timestamp};
use aegis_core::tool_call::ToolCall;

use crate::counters::{Counted, Counters};
use crate::delegation;
use crate::detect::{DetectInput, Detectors};
use crate::facts::{RequestFacts, ToolFacts};
use crate::record::{CallRecord, KnownCaller, NO_OVERLAY, PolicyInForce, Stopped};
use crate::refusal::{Refusal, Refused};
use crate::snapshot::DecisionSnapshot;
use crate::stages::auth::{self, AuthMemory, Caller};
use crate::stages::behavior::{self, BehaviorMemory, Observation};
use crate::stages::decision::{self, Evidence};
use crate::stages::enforcement::{self, InForce, Ruling};
use crate::stages::policy::Question;
use crate::stages::{inference, kill_switch, policy, rate_limit};
use crate::timeline::{StageOutcome, Timeline};

use states::known;
pub use states::{Admitted, Denied, Judged, Metered, Permit};

/// What operators may set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Age of the snapshot from which `degraded_mode_policy` applies.
    pub max_staleness: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_staleness: Duration::from_mins(15) }
    }
}

/// What the stages remember between calls. One per process.
#[derive(Debug, Default)]
pub struct Memory {
    auth: AuthMemory,
    behavior: BehaviorMemory,
    detectors: Detectors,
}

impl Memory {
    /// With what stage 5 remembered before.
    pub fn with_behavior(behavior: BehaviorMemory) -> Self {
        Self { behavior, ..Self::default() }
    }

    /// What stage 5 remembers.
    pub const fn behavior(&self) -> &BehaviorMemory {
        &self.behavior
    }
}

/// The pipeline over what is true right now: made anew for each step from the snapshot of that moment.
#[derive(Clone, Copy)]
pub struct Pipeline<'a> {
    /// What to decide on.
    pub snapshot: &'a DecisionSnapshot,
    /// What is remembered.
    pub memory: &'a Memory,
    /// What is counted.
    pub counters: &'a dyn Counters,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// What operators set.
    pub settings: &'a Settings,
}

impl Pipeline<'_> {
    /// Stages 0 and 1, before the body is read.
    ///
    /// The switch is read first but told last: a stranger gets 401 whether or not it is engaged.
    pub fn admit(&self, request: &RequestFacts) -> Result<Admitted, Box<Stopped>> {
        let mut timeline = Timeline::default();
        let now = self.clock.now();
        let began = self.clock.monotonic();
        let switch = kill_switch::read(self.snapshot, auth::named_tenant(request).ok());
        let outcome = if switch.is_engaged() { StageOutcome::Refuse } else { StageOutcome::Pass };
        timeline.close(Stage::KillSwitch, outcome, began, self.clock);

        let began = self.clock.monotonic();
        let identified = match auth::identify(self.snapshot, &self.memory.auth, request, now) {
            Ok(identified) => identified,
            Err(refusal) => return Err(self.stop(Stage::Auth, refusal, None, timeline, began)),
        };
        let identified = match identified.of_named_tenant(request) {
            Ok(identified) => identified,
            Err(refused) => {
                let (identified, refusal) = *refused;
                return Err(self.stop(Stage::Auth, refusal, Some(identified.known()), timeline, began));
            }
        };
        let disengaged = match switch.pass() {
            Ok(disengaged) => disengaged,
            Err(refusal) => {
                timeline.close(Stage::Auth, StageOutcome::Pass, began, self.clock);
                let refused = Refused { refusal, stage: Stage::KillSwitch };
                return Err(Box::new(Stopped { refused, caller: Some(identified.known()), timeline }));
            }
        };
        let agent_id = match auth::named_agent(request) {
            Ok(agent_id) => agent_id,
            Err(refusal) => return Err(self.stop(Stage::Auth, refusal, Some(identified.known()), timeline, began)),
        };
        match auth::bind(identified, agent_id, &disengaged) {
            Ok(caller) => {
                timeline.close(Stage::Auth, StageOutcome::Pass, began, self.clock);
                Ok(Admitted { caller, request: request.clone(), version: self.snapshot.data().version, timeline })
            }
            Err(refused) => {
                let (identified, refusal) = *refused;
                let known = KnownCaller { agent_id: Some(agent_id), ..identified.known() };
                Err(self.stop(Stage::Auth, refusal, Some(known), timeline, began))
            }
        }
    }

    /// Stage 2: counts the call and reserves its money. If the snapshot changed while the body was read, stages 0
    /// and 1 are looked at again first.
    pub fn limit(&self, admitted: Admitted, call: ToolCall, tool: ToolFacts) -> Result<Metered, Box<Stopped>> {
        let Admitted { caller, request, version, mut timeline } = admitted;
        let now = self.clock.now();
        let caller = if version == self.snapshot.data().version {
            caller
        } else {
            match self.readmit(&caller, now) {
                Ok(caller) => caller,
                Err(refused) => return Err(Box::new(Stopped { refused, caller: Some(known(&caller)), timeline })),
            }
        };
        let began = self.clock.monotonic();
        let counted = rate_limit::count(&caller, &call, &tool, self.counters, now);
        timeline.gate(Stage::RateLimit, &counted, began, self.clock);
        match counted {
            Ok(counted) => {
                let payload = call.canonical_payload();
                Ok(Metered { caller, request, call, payload, tool, counted, timeline })
            }
            Err(refusal) => {
                let refused = Refused { refusal, stage: Stage::RateLimit };
                Err(Box::new(Stopped { refused, caller: Some(known(&caller)), timeline }))
            }
        }
    }

    /// Stages 3 to 6. Never refuses and never stops early: the row carries the whole picture. What is broken on
    /// the way fails closed in the verdict.
    pub fn judge(&self, metered: Metered) -> Judged {
        let mut metered = metered;
        let now = self.clock.now();
        let tenant_id = metered.caller.settings.id;
        let key = (tenant_id, metered.caller.agent.id);
        let session = session_of(&metered.request, &metered.call);

        let began = self.clock.monotonic();
        let findings = inference::infer(&self.memory.detectors, &self.detect_input(&metered, now));
        metered.timeline.close(Stage::Inference, StageOutcome::Pass, began, self.clock);

        let began = self.clock.monotonic();
        let in_force = InForce::default();
        let tenant_policy = self.snapshot.policy(tenant_id);
        let (session_view, behavior_view) = self.memory.behavior.view(key, session.as_ref(), now);
        let question = Question {
            caller: &metered.caller,
            request: &metered.request,
            call: &metered.call,
            tool: &metered.tool,
            findings: &findings,
            session: session_view,
            behavior: behavior_view,
            approved: matches!(in_force.ticket, enforcement::Ticket::Valid(_)),
            now,
        };
        let shadows = self.snapshot.shadows(tenant_id);
        let (ruled, ruled_beside) = policy::evaluate(tenant_policy.map(Arc::as_ref), shadows, question);
        let outcome = if ruled.is_ok() { StageOutcome::Pass } else { StageOutcome::Fault };
        metered.timeline.close(Stage::Policy, outcome, began, self.clock);

        let began = self.clock.monotonic();
        let report = self.memory.behavior.assess(&observation(&metered, session.as_ref(), &findings, now));
        let stale = now.since(self.snapshot.data().confirmed_at) > self.settings.max_staleness;
        let high_risk = behavior::is_high_risk(metered.caller.agent.risk_level, &findings, metered.tool.effect);
        let degraded = behavior::degraded(metered.caller.settings.degraded_mode_policy, stale, high_risk);
        metered.timeline.close(Stage::Behavior, StageOutcome::Pass, began, self.clock);

        let began = self.clock.monotonic();
        let evidence = Evidence {
            findings: &findings,
            policy: &ruled,
            behavior: &report,
            degraded,
            contract: &in_force.contract,
            risk_level: metered.caller.agent.risk_level,
            weights: &metered.caller.settings.weights,
        };
        let verdict = decision::decide(&evidence);
        let shadows = ruled_beside.iter().map(|(shadow, ruled)| shadow.verdict(&evidence, ruled, &in_force)).collect();
        self.memory.behavior.remember(key, session.as_ref(), verdict.own_risk, now);
        metered.timeline.close(Stage::Decision, StageOutcome::Pass, began, self.clock);
        let policy = tenant_policy.map_or_else(
            || PolicyInForce { bundle: self.snapshot.platform().revision().to_owned(), overlay: NO_OVERLAY.to_owned() },
            |policy| policy.in_force().clone(),
        );
        Judged { metered, verdict, in_force, policy, shadows, snapshot_version: self.snapshot.data().version }
    }

    /// Stage 7: acts on the verdict.
    pub fn enforce(&self, judged: Judged) -> Result<Permit, Box<Denied>> {
        let now = self.clock.now();
        let began = self.clock.monotonic();
        let ruling = enforcement::enforce(&judged.verdict, &judged.in_force);
        let tenant_id = judged.metered.caller.settings.id;
        let agent_id = judged.metered.caller.agent.id;
        let (refusal, approval) = match ruling {
            Ruling::Proceed { approval } => (None, approval),
            Ruling::CoolDown => (Some(Refusal::RateLimited(self.counters.throttle(tenant_id, agent_id, now))), None),
            Ruling::Refuse(refusal) => (Some(refusal), None),
        };
        let action = enforcement::effective(&judged.verdict, &judged.in_force);
        let mut record = record(&judged, action);
        let Judged { metered, .. } = judged;
        let Metered { call, payload, tool, counted: Counted { reservation, limits, .. }, .. } = metered;
        record.approval = approval;
        let Some(refusal) = refusal else {
            record.timeline.close(Stage::Enforcement, StageOutcome::Pass, began, self.clock);
            return Ok(Permit { call, payload, tool, limits, reservation, record });
        };
        self.counters.settle(reservation, MicroUsd::ZERO, now);
        record.cost = MicroUsd::ZERO;
        record.reason = format!("{}: {}", refusal.identifier(), record.reason);
        record.timeline.close(Stage::Enforcement, StageOutcome::Refuse, began, self.clock);
        Err(Box::new(Denied { refusal, record, payload, limits }))
    }

    fn readmit(&self, caller: &Caller, now: Timestamp) -> Result<Caller, Refused> {
        let by_auth = |refusal| Refused { refusal, stage: Stage::Auth };
        let identified = caller.identified.renewed(self.snapshot, now).map_err(by_auth)?;
        let disengaged =
            kill_switch::of(&identified.tenant).map_err(|refusal| Refused { refusal, stage: Stage::KillSwitch })?;
        auth::bind(identified, caller.agent.id, &disengaged).map_err(|refused| by_auth(refused.1))
    }

    fn detect_input<'m>(&self, metered: &'m Metered, now: Timestamp) -> DetectInput<'m> {
        let (agent, tenant_id) = (&metered.caller.agent, metered.caller.settings.id);
        let tenant = self.snapshot.data().tenant(tenant_id).map(Arc::as_ref);
        DetectInput {
            tool_name: &metered.call.tool_name,
            payload: &metered.call.payload,
            tenant_id,
            granted: agent.is_granted(&metered.call.tool_name, now),
            grants: &agent.grants,
            delegation_depth: delegation::depth(tenant, agent, &metered.call),
            hints: &metered.tool.hints,
        }
    }

    fn stop(
        &self,
        stage: Stage,
        refusal: Refusal,
        caller: Option<KnownCaller>,
        mut timeline: Timeline,
        began: Monotonic,
    ) -> Box<Stopped> {
        timeline.close(stage, StageOutcome::Refuse, began, self.clock);
        Box::new(Stopped { refused: Refused { refusal, stage }, caller, timeline })
    }
}

/// The session the call names: in its body, else in its header.
fn session_of(request: &RequestFacts, call: &ToolCall) -> Option<SessionId> {
    call.session_id.clone().or_else(|| request.session_id.clone())
}

fn observation<'a>(
    metered: &'a Metered,
    session: Option<&'a SessionId>,
    findings: &'a [Finding],
    now: Timestamp,
) -> Observation<'a> {
    let mut hasher = DefaultHasher::new();
    metered.payload.hash(&mut hasher);
    Observation {
        tenant_id: metered.caller.settings.id,
        agent_id: metered.caller.agent.id,
        session,
        tool: &metered.call.tool_name,
        fingerprint: hasher.finish(),
        findings,
        cost: metered.counted.reservation.cost,
        allowed_rps: metered
            .caller
            .agent
            .requests_per_second
            .unwrap_or(metered.caller.settings.limits.requests_per_second),
        now,
    }
}

fn record(judged: &Judged, action: Decision) -> CallRecord {
    let Judged { metered, verdict, in_force, policy, shadows, snapshot_version } = judged;
    CallRecord {
        tenant_id: metered.caller.settings.id,
        agent_id: metered.caller.agent.id,
        principal: metered.caller.identified.principal.label(),
        request_id: metered.request.request_id.clone(),
        client_request_id: metered.request.client_request_id.clone(),
        session_id: session_of(&metered.request, &metered.call),
        tool: metered.call.tool_name.clone(),
        decision: action,
        score: verdict.score,
        confidence: verdict.confidence,
        findings: verdict.findings.clone(),
        rule_ids: verdict.rule_ids.clone(),
        signals: verdict.signals.clone(),
        timeline: metered.timeline.clone(),
        policy: policy.clone(),
        shadows: shadows.clone(),
        contract: in_force.contract.contract(),
        approval: None,
        snapshot_version: *snapshot_version,
        cost: metered.counted.reservation.cost,
        reason: verdict.reasoning.clone(),
    }
}

#[cfg(test)]
mod tests;
