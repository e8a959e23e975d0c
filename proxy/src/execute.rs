//! One governed call from its header to its answer: gates, verdict, tool, output filter, row.
//!
//! The order at the end is what makes the ledger complete: intent (or durable decision) → kill switch looked at
//! again → tool → row → answer. Whatever the process dies of in between, the intent becomes a row.

mod attempt;
mod case;
mod redact;
mod refused;
pub mod stream;

use std::sync::Arc;

use aegis_core::entropy::{self, Entropy};
use aegis_core::id::{AuditId, ExecutionId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolName;
use aegis_core::sidecar::AuditMode;
use aegis_core::time::Clock;
use aegis_core::tool_call::ToolCall;
use aegis_ledger::hash::Hash;
use aegis_pipeline::counters::Counters;
use aegis_pipeline::facts::ToolFacts;
use aegis_pipeline::pipeline::{Admitted, Memory, Permit, Pipeline, Settings};
use aegis_pipeline::refusal::{Problem, Refusal};
use aegis_pipeline::stages::kill_switch;
use aegis_pipeline::stages::output_filter::OutputFilter;

use self::case::Case;
use self::stream::Streaming;
use crate::call::{self, CallHead};
use crate::gate_log::GateLog;
use crate::idempotency::{Begun, First, IdempotencyKeys, Key};
use crate::latency::DecisionLatency;
use crate::metrics::Metrics;
use crate::outbox::{Durability, Outbox};
use crate::reply::Reply;
use crate::row;
use crate::snapshots::Snapshots;
use crate::tools::{Tool, Tools};

/// Everything a call needs, built once.
pub struct Engine {
    /// What is decided on.
    pub snapshots: Arc<Snapshots>,
    /// What the stages remember.
    pub memory: Memory,
    /// What is counted.
    pub counters: Arc<dyn Counters>,
    /// What operators set.
    pub settings: Settings,
    /// The tools.
    pub tools: Arc<Tools>,
    /// Stage 9.
    pub filter: OutputFilter,
    /// Stage 10.
    pub outbox: Arc<Outbox>,
    /// Refusals at the gates.
    pub gate_log: Arc<GateLog>,
    /// Repeated keys.
    pub keys: Arc<IdempotencyKeys>,
    /// How long decisions take.
    pub latency: DecisionLatency,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What a client gets.
pub enum Answer {
    /// All of it.
    Whole(Arc<Reply>),
    /// A header, then a tool's stream.
    Stream(Box<Streaming>),
}

/// A call that may run.
struct Cleared {
    permit: Permit,
    tool: Arc<Tool>,
    path: String,
    first: Option<First>,
    redact_pii: bool,
}

impl Engine {
    /// Stages 0 and 1, before the body is read.
    pub fn admit(&self, head: &CallHead) -> Result<Admitted, Reply> {
        let snapshot = self.snapshots.load();
        self.pipeline(&snapshot).admit(&head.facts).map_err(|stopped| self.stopped(head, *stopped, None))
    }

    /// The rest of a call, its body being read.
    pub async fn run(
        self: &Arc<Self>,
        admitted: Admitted,
        head: &CallHead,
        named: Option<ToolName>,
        body: &[u8],
    ) -> Answer {
        match self.clear(admitted, head, named, body).await {
            Ok(cleared) => self.execute(head, cleared).await,
            Err(reply) => Answer::Whole(reply),
        }
    }

    fn pipeline<'a>(&'a self, snapshot: &'a aegis_pipeline::snapshot::DecisionSnapshot) -> Pipeline<'a> {
        Pipeline {
            snapshot,
            memory: &self.memory,
            counters: &*self.counters,
            clock: &*self.clock,
            settings: &self.settings,
        }
    }

    /// From the body to a permit: whatever is wrong on the way is answered here.
    async fn clear(
        self: &Arc<Self>,
        admitted: Admitted,
        head: &CallHead,
        named: Option<ToolName>,
        body: &[u8],
    ) -> Result<Cleared, Arc<Reply>> {
        let away = |refusal: Refusal| Arc::new(self.turned_away(head, &refusal));
        let call = call::read_body(body, named).map_err(away)?;
        let known = admitted.known();
        let name = call.tool_name.as_str().to_owned();
        let Some(tool) = self.tools.find(&call.tool_name).cloned() else {
            return Err(Arc::new(self.gate_refused(head, &known, &Refusal::UnknownTool, Some(&name))));
        };
        let key = head.idempotency_key.clone().map_err(away)?;
        let path = tool.route.path.render(&call).map_err(|bad| {
            let loc = vec!["body".into(), "payload".into(), bad.key];
            away(Refusal::ValidationFailed(vec![Problem { loc, kind: "value_error", msg: bad.problem.into() }]))
        })?;
        let first = match key {
            Some(key) => self.begin_keyed(&admitted, head, &call, &key).await?,
            None => None,
        };
        let redact_pii = admitted.tenant().redact_pii || tool.route.redact_pii;
        // The body may have taken its time: what is decided on is the snapshot of this moment.
        let snapshot = self.snapshots.load();
        let pipeline = self.pipeline(&snapshot);
        let facts = tool.facts();
        let metered = pipeline
            .limit(admitted, call, facts)
            .map_err(|stopped| Arc::new(self.stopped(head, *stopped, Some(&name))))?;
        for limit in metered.near_limits() {
            tracing::warn!(tenant = %known.tenant_id, agent = ?known.agent_id, limit = limit.as_str(), "80 % of a cap are used");
            self.metrics.quota_warnings.with_label_values(&[limit.as_str()]).inc();
        }
        match pipeline.enforce(pipeline.judge(metered)) {
            Ok(permit) => Ok(Cleared { permit, tool, path, first, redact_pii }),
            Err(denied) => Err(Arc::new(self.denied(head, *denied).await)),
        }
    }

    /// The first call with its key goes on; a repeated one gets what the first got, unless the switch is engaged.
    async fn begin_keyed(
        self: &Arc<Self>,
        admitted: &Admitted,
        head: &CallHead,
        call: &ToolCall,
        key: &str,
    ) -> Result<Option<First>, Arc<Reply>> {
        let (tenant_id, agent_id) = (admitted.tenant().id, admitted.agent().id);
        let tool = call.tool_name.clone();
        let input = row::commitment_input(tenant_id, agent_id, tool.as_str(), &call.canonical_payload());
        let key = Key { tenant_id, agent_id, tool, digest: Hash::of(&[key.as_bytes()]) };
        let begun = self.keys.begin(key, Hash::of(&[input.as_bytes()])).await;
        let away = |refusal: &Refusal| Err(Arc::new(self.turned_away(head, refusal)));
        match begun {
            Begun::First(first) => Ok(Some(first)),
            Begun::Replay(reply) => {
                if let Err(refusal) = kill_switch::recheck(&self.snapshots.load(), tenant_id) {
                    let name = call.tool_name.as_str();
                    return Err(Arc::new(self.gate_refused(head, &admitted.known(), &refusal, Some(name))));
                }
                self.metrics.replays.inc();
                Err(Arc::new(reply.replayed(&self.about(head))))
            }
            Begun::Reused => away(&Refusal::IdempotencyKeyReused),
            Begun::OutcomeUnknown(execution_id) => away(&Refusal::OutcomeUnknown { execution_id }),
            Begun::Full => away(&Refusal::Overloaded),
        }
    }

    /// The last part: the tool's room, the intent, the tool, the row.
    async fn execute(self: &Arc<Self>, head: &CallHead, cleared: Cleared) -> Answer {
        let Cleared { permit, tool, path, first, redact_pii } = cleared;
        let case = self.case(head, &permit, tool, first, redact_pii);
        let tool = Arc::clone(&case.tool);
        let Ok(trial) = tool.breaker.enter() else {
            return case.never_called(permit, None, Refusal::CircuitOpen).await;
        };
        let Ok(place) = tool.bulkhead.enter() else { return case.never_called(permit, None, Refusal::ToolBusy).await };
        let room = match case.intend(&permit, head).await {
            Ok(room) => room,
            Err(error) => return case.audit_unavailable(permit, error),
        };
        // The last look at the switch. An engagement after this line aborts the call while it is under way.
        if let Err(refusal) = permit.still_holds(&self.snapshots.load()) {
            return case.never_called(permit, Some(room), refusal).await;
        }
        // Dying from here on leaves the intent, which becomes a row with outcome `unknown` at the next start.
        let request = case.request(head, path, permit.payload());
        let began = self.clock.monotonic();
        let tenant = permit.record().tenant_id;
        let got = tokio::select! {
            biased;
            refusal = self.snapshots.revoked(tenant) => Err((attempt::ABORTED, Some(refusal))),
            got = attempt::call(&tool, &request) => got.map_err(|failure| (failure, None)),
        };
        let spent = self.clock.monotonic().since(began);
        self.metrics.tool_seconds.with_label_values(&[&tool.label()]).observe(spent.as_secs_f64());
        match &got {
            Ok(_) => trial.succeeded(),
            Err((failure, _)) if failure.blames_tool() => trial.failed(),
            Err(_) => drop(trial),
        }
        match got {
            Ok(attempt::Got::Whole(answer)) => case.answered(permit, room, answer, spent).await,
            Ok(attempt::Got::Stream(opened)) => {
                Answer::Stream(Box::new(Streaming::new(case, permit, room, place, opened, began)))
            }
            Err((failure, refusal)) => case.failed(permit, room, failure, refusal, spent).await,
        }
    }

    fn case(
        self: &Arc<Self>,
        head: &CallHead,
        permit: &Permit,
        tool: Arc<Tool>,
        first: Option<First>,
        redact_pii: bool,
    ) -> Case {
        let now = self.clock.now();
        let salt = entropy::random(&*self.entropy);
        let record = permit.record();
        let execution_id = ExecutionId::generate(now, &*self.entropy);
        let mut about = self.about(head);
        about.limits = permit.limits().to_vec();
        about.tool_name = Some(record.tool.as_str().to_owned());
        about.decision = record.decision;
        about.score = record.score;
        about.execution_id = Some(execution_id);
        Case {
            engine: Arc::clone(self),
            about,
            explain: head.explain,
            execution_id,
            audit_id: AuditId::generate(now, &*self.entropy),
            commitment: row::commit_input(&salt, record, permit.payload()),
            salt,
            durability: match tool.route.audit_mode {
                AuditMode::Bounded => Durability::Bounded,
                AuditMode::Strict => Durability::Strict,
            },
            tool,
            first,
            redact_pii,
        }
    }

    /// Gives back a permit's money, or takes it.
    fn settle(&self, permit: Permit, cost: MicroUsd) -> aegis_pipeline::record::CallRecord {
        permit.settle(cost, &*self.counters, &*self.clock)
    }
}

impl Tool {
    /// What decisions read of its route.
    fn facts(&self) -> ToolFacts {
        let route = &self.route;
        ToolFacts {
            effect: route.effect,
            cost: route.cost,
            audit_mode: route.audit_mode,
            hints: Arc::clone(&route.hints),
        }
    }
}
