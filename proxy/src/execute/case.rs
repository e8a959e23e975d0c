//! One call that has its permit: its intent, its row, its answer, however it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::decision::{Decision, Level, Outcome, Stage};
use aegis_core::id::{AuditId, ExecutionId};
use aegis_core::money::MicroUsd;
use aegis_ledger::commitment::{Salt, commit};
use aegis_ledger::entry::Body;
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::Upstream;
use aegis_ledger::wire::Receipt;
use aegis_pipeline::pipeline::Permit;
use aegis_pipeline::record::CallRecord;
use aegis_pipeline::refusal::Refusal;
use aegis_pipeline::stages::output_filter::{RedactionKinds, Redactor};
use aegis_pipeline::timeline::StageOutcome;
use bytes::Bytes;

use super::{Answer, Engine, redact};
use crate::call::CallHead;
use crate::idempotency::First;
use crate::outbox::{Appended, AuditUnavailable, Draft, Durability, Intent, Plan, Reservation};
use crate::reply::{self, About, Executed, Reply};
use crate::row::{self, Ending};
use crate::tools::Tool;
use crate::tools::answer::{ToolAnswer, ToolFailure};
use crate::tools::client::ToolRequest;

/// A call on its way to its tool and back.
pub(super) struct Case {
    pub(super) engine: Arc<Engine>,
    pub(super) about: About,
    pub(super) explain: bool,
    pub(super) tool: Arc<Tool>,
    pub(super) execution_id: ExecutionId,
    pub(super) audit_id: AuditId,
    pub(super) salt: Salt,
    pub(super) commitment: Hash,
    pub(super) durability: Durability,
    pub(super) redact_pii: bool,
    pub(super) first: Option<First>,
}

/// The room for a call's last row, and the row before it if there is one.
pub(super) struct Room {
    pub(super) reservation: Reservation,
    pub(super) decided: Option<Appended>,
}

/// A call's last row, to be written.
pub(super) struct Last {
    pub(super) outcome: Outcome,
    pub(super) ending: Ending,
}

/// How a stage of ours ended.
pub(super) const fn step(passed: bool) -> StageOutcome {
    if passed { StageOutcome::Pass } else { StageOutcome::Fault }
}

impl Case {
    /// Writes the intent; strict and streamed calls write their `decision` row now.
    pub(super) async fn intend(&self, permit: &Permit, head: &CallHead) -> Result<Room, AuditUnavailable> {
        let record = permit.record();
        let two_rows = self.durability == Durability::Strict || head.wants_stream;
        let intent = Intent {
            execution_id: self.execution_id,
            tenant_id: record.tenant_id,
            agent_id: record.agent_id,
            tool: record.tool.clone(),
            principal: record.principal.clone(),
            request_id: record.request_id.to_string(),
            client_request_id: record.client_request_id.as_ref().map(ToString::to_string),
            session_id: record.session_id.as_ref().map(|s| s.as_str().to_owned()),
            input_commitment: self.commitment,
            salt: self.salt,
            idempotency: self.first.as_ref().map(First::key_digest),
            snapshot_version: record.snapshot_version,
            policy: Some(row::policy_ref(&record.policy)),
            decision: record.decision,
            score_bp: record.score,
            cost_micro_usd: record.cost,
            ts: self.engine.clock.now(),
            plan: if two_rows { Plan::DecisionThenOutcome } else { Plan::OneRow },
        };
        if let Some(first) = &self.first {
            // Noted before the intent: dying in between costs a key that answers `outcome_unknown`, never a second run.
            first.let_through(self.execution_id).map_err(|error| {
                tracing::error!(%error, "an idempotency key cannot be noted");
                AuditUnavailable::Failed
            })?;
        }
        let reservation = self.engine.outbox.intend(&intent)?;
        if !two_rows {
            return Ok(Room { reservation, decided: None });
        }
        let level = match self.durability {
            Durability::Bounded => Level::Signed,
            Durability::Strict => Level::Local,
        };
        let row = row::decision_row(
            record,
            self.execution_id,
            Some(self.commitment),
            Outcome::Pending,
            level,
            Ending::default(),
        );
        let draft = self.draft(record, self.audit_id, Body::Decision(Box::new(row)));
        let (decided, reservation) = self.engine.outbox.append_pending(draft, reservation).await?;
        Ok(Room { reservation, decided: Some(decided) })
    }

    /// What the tool is sent.
    pub(super) fn request(&self, head: &CallHead, path: String, payload: &str) -> ToolRequest {
        ToolRequest {
            path,
            body: Bytes::copy_from_slice(payload.as_bytes()),
            execution_id: self.execution_id,
            request_id: self.about.request_id.clone(),
            traceparent: head.trace.traceparent(),
            idempotency_key: head.idempotency_key.clone().ok().flatten(),
            wants_stream: head.wants_stream,
        }
    }

    pub(super) fn redactor(&self) -> Redactor {
        self.engine.filter.redactor(RedactionKinds { pii: self.redact_pii })
    }

    /// The tool answered: redact, record, release.
    pub(super) async fn answered(mut self, permit: Permit, room: Room, answer: ToolAnswer, took: Duration) -> Answer {
        let began = self.engine.clock.monotonic();
        let (text, redactions) = redact::whole(self.redactor(), &answer.body).await;
        let result = reply::released(&text);
        let filtered = self.engine.clock.monotonic().since(began);
        self.count_redactions(&redactions);
        let cost = permit.record().cost;
        let mut record = self.engine.settle(permit, cost);
        record.timeline.push(Stage::Execution, StageOutcome::Pass, took);
        record.timeline.push(Stage::OutputFilter, StageOutcome::Pass, filtered);
        let ending = Ending {
            output_commitment: Some(commit(&self.salt, result.get().as_bytes())),
            redactions: redactions.clone(),
            upstream: Some(upstream(Some(answer.status), took)),
        };
        let decided = room.decided.clone();
        let written = self
            .write(&mut record, room.reservation, decided.as_ref(), Last { outcome: Outcome::Executed, ending })
            .await;
        let appended = match written {
            Ok(appended) => appended,
            Err(error) => return self.lost(error),
        };
        self.engine.metrics.decision(record.decision);
        let proof = decided.unwrap_or(appended);
        self.about.audit_id = Some(proof.audit_id);
        self.about.stages = self.explain.then(|| record.timeline.clone());
        let done = Executed {
            findings: &record.findings,
            redactions: &redactions,
            result: &result,
            status: answer.status,
            content_type: answer.content_type.as_deref(),
            receipt: Receipt::of(&proof.signed, proof.level),
        };
        let reply = Arc::new(Reply::executed(&self.about, &done));
        self.remember(Some(&reply));
        Answer::Whole(reply)
    }

    /// The tool failed, or the switch was engaged while it worked.
    pub(super) async fn failed(
        mut self,
        permit: Permit,
        room: Room,
        failure: ToolFailure,
        refusal: Option<Refusal>,
        took: Duration,
    ) -> Answer {
        let refusal = refusal.or_else(|| failure.refusal()).unwrap_or(Refusal::UpstreamError);
        self.engine.metrics.tool_errors.with_label_values(&[&self.tool.label(), refusal.identifier()]).inc();
        self.engine.metrics.refusals.with_label_values(&[refusal.identifier()]).inc();
        let was_called = failure != ToolFailure::Unreachable;
        let cost = if was_called { permit.record().cost } else { MicroUsd::ZERO };
        let mut record = self.engine.settle(permit, cost);
        record.timeline.push(Stage::Execution, StageOutcome::Fault, took);
        record.reason = failure.reason();
        let ending = Ending { upstream: Some(upstream(failure.status(), took)), ..Ending::default() };
        let decided = room.decided.clone();
        let last = Last { outcome: failure.outcome(), ending };
        let appended = match self.write(&mut record, room.reservation, decided.as_ref(), last).await {
            Ok(appended) => appended,
            Err(error) => return self.lost(error),
        };
        self.engine.metrics.decision(record.decision);
        self.about.audit_id = Some(decided.unwrap_or(appended).audit_id);
        self.about.stages = self.explain.then(|| record.timeline.clone());
        let reply = Arc::new(Reply::refused(&self.about, &refusal));
        // A call that never reached its tool, or was aborted, may be tried again under its key; the latter only
        // to learn that nobody knows what it did.
        match (was_called, failure) {
            (false, _) => drop(self.first.take()),
            (true, ToolFailure::Aborted) => self.remember(None),
            (true, _) => self.remember(Some(&reply)),
        }
        Answer::Whole(reply)
    }

    /// The tool is not called after all. The call has its row, with an intent or without.
    pub(super) async fn never_called(mut self, permit: Permit, room: Option<Room>, refusal: Refusal) -> Answer {
        let mut record = self.engine.settle(permit, MicroUsd::ZERO);
        let (identifier, _, message) = refusal.answer();
        row::refuse(&mut record, &format!("{identifier}: {message}"));
        record.timeline.push(Stage::Execution, StageOutcome::Refuse, Duration::ZERO);
        self.about.decision = Decision::Refused;
        let (reservation, decided) = match room {
            Some(room) => (Ok(room.reservation), room.decided),
            None => (self.engine.outbox.reserve(), None),
        };
        let last = Last { outcome: Outcome::NotExecuted, ending: Ending::default() };
        let written = match reservation {
            Ok(reservation) => self.write(&mut record, reservation, decided.as_ref(), last).await,
            Err(error) => Err(error),
        };
        let refusal = match written {
            Ok(appended) => {
                self.about.audit_id = Some(decided.unwrap_or(appended).audit_id);
                refusal
            }
            Err(error) => {
                tracing::error!(%error, "a refused call could not be recorded");
                Refusal::AuditUnavailable
            }
        };
        self.engine.metrics.decision(Decision::Refused);
        self.engine.metrics.refusals.with_label_values(&[refusal.identifier()]).inc();
        self.about.stages = self.explain.then(|| record.timeline.clone());
        Answer::Whole(Arc::new(Reply::refused(&self.about, &refusal)))
    }

    /// The row cannot be kept, so the tool is not called.
    pub(super) fn audit_unavailable(mut self, permit: Permit, error: AuditUnavailable) -> Answer {
        tracing::error!(%error, "a call was refused because its row could not be kept");
        let record = self.engine.settle(permit, MicroUsd::ZERO);
        self.engine.observe(&record.timeline);
        self.engine.metrics.decision(Decision::Refused);
        self.engine.metrics.refusals.with_label_values(&[Refusal::AuditUnavailable.identifier()]).inc();
        self.about.decision = Decision::Refused;
        Answer::Whole(Arc::new(Reply::refused(&self.about, &Refusal::AuditUnavailable)))
    }

    /// The tool acted, and its row could not be written though room was reserved: the answer is not released, and
    /// the outbox writes `unknown` as soon as it can.
    fn lost(mut self, error: AuditUnavailable) -> Answer {
        tracing::error!(%error, execution_id = %self.execution_id, "the row of an executed call could not be written");
        let refusal = Refusal::OutcomeUnknown { execution_id: self.execution_id };
        self.engine.metrics.refusals.with_label_values(&[refusal.identifier()]).inc();
        self.remember(None);
        Answer::Whole(Arc::new(Reply::refused(&self.about, &refusal)))
    }

    /// Writes the call's last row. When this returns the row has left the process, so the answer may.
    pub(super) async fn write(
        &self,
        record: &mut CallRecord,
        reservation: Reservation,
        decided: Option<&Appended>,
        last: Last,
    ) -> Result<Appended, AuditUnavailable> {
        let began = self.engine.clock.monotonic();
        let (audit_id, body) = if decided.is_some() {
            let row = row::outcome_row(self.execution_id, last.outcome, record.cost, &record.reason, last.ending);
            (AuditId::generate(self.engine.clock.now(), &*self.engine.entropy), Body::Outcome(row))
        } else {
            // The intent was out of the process before the tool was called.
            let level = if last.outcome == Outcome::NotExecuted { Level::Signed } else { Level::Intent };
            let row =
                row::decision_row(record, self.execution_id, Some(self.commitment), last.outcome, level, last.ending);
            (self.audit_id, Body::Decision(Box::new(row)))
        };
        let written = self.engine.outbox.append(self.draft(record, audit_id, body), reservation).await;
        record.timeline.push(Stage::Audit, step(written.is_ok()), self.engine.clock.monotonic().since(began));
        self.engine.observe(&record.timeline);
        written
    }

    /// What a repeated key gets from now on: this answer, or that nobody knows.
    pub(super) fn remember(&mut self, reply: Option<&Arc<Reply>>) {
        match (self.first.take(), reply) {
            (Some(first), Some(reply)) => first.answered(self.execution_id, Arc::clone(reply)),
            (Some(first), None) => first.unrepeatable(self.execution_id),
            (None, Some(_) | None) => {}
        }
    }

    pub(super) fn count_redactions(&self, redactions: &BTreeMap<String, u64>) {
        for (kind, count) in redactions {
            self.engine.metrics.redactions.with_label_values(&[kind]).inc_by(*count);
        }
    }

    fn draft(&self, record: &CallRecord, audit_id: AuditId, body: Body) -> Draft {
        Draft { tenant: record.tenant_id, audit_id, body, salt: Some(self.salt), durability: self.durability }
    }
}

pub(super) fn upstream(status: Option<u16>, took: Duration) -> Upstream {
    Upstream { status, us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX) }
}
