//! Calls that do not run: what they are told, and what is kept of them.

use aegis_core::decision::{Decision, Level, Outcome, Stage};
use aegis_core::entropy;
use aegis_core::id::{AuditId, ExecutionId};
use aegis_core::score::BasisPoints;
use aegis_ledger::entry::Body;
use aegis_pipeline::counters::LimitView;
use aegis_pipeline::pipeline::Denied;
use aegis_pipeline::record::{KnownCaller, Stopped};
use aegis_pipeline::refusal::{LimitType, Refusal};
use aegis_pipeline::timeline::Timeline;

use super::{Engine, case};
use crate::call::CallHead;
use crate::outbox::{Draft, Durability};
use crate::reply::{About, Reply};
use crate::row::{self, Ending};

impl Engine {
    /// A refusal that leaves no row: nothing about it is worth more than a count.
    pub fn turned_away(&self, head: &CallHead, refusal: &Refusal) -> Reply {
        self.metrics.refusals.with_label_values(&[refusal.identifier()]).inc();
        Reply::refused(&self.about(head), refusal)
    }

    /// A refusal by name of somebody known, counted into a row of its second.
    pub fn gate_refused(&self, head: &CallHead, known: &KnownCaller, refusal: &Refusal, tool: Option<&str>) -> Reply {
        self.gate_log.count(known, refusal, &head.facts.request_id, tool.unwrap_or_default());
        let mut about = self.about(head);
        about.tool_name = tool.map(str::to_owned);
        if let Refusal::RateLimited(limit) = refusal
            && limit.limit_type != LimitType::IpAuthFailures
        {
            about.limits = vec![LimitView {
                limit_type: limit.limit_type,
                limit: limit.limit,
                remaining: 0,
                reset_after: limit.retry_after,
            }];
        }
        self.metrics.refusals.with_label_values(&[refusal.identifier()]).inc();
        Reply::refused(&about, refusal)
    }

    /// A call stopped at a gate: strangers are counted, known callers get a row of their second.
    pub(super) fn stopped(&self, head: &CallHead, stopped: Stopped, tool: Option<&str>) -> Reply {
        self.observe(&stopped.timeline);
        let refusal = stopped.refused.refusal;
        let is_wrong_credential = match &refusal {
            Refusal::InvalidToken => true,
            Refusal::RateLimited(limit) => limit.limit_type == LimitType::IpAuthFailures,
            _ => false,
        };
        if is_wrong_credential {
            self.metrics.auth_failures.inc();
        }
        match stopped.caller {
            Some(known) => self.gate_refused(head, &known, &refusal, tool),
            None => self.turned_away(head, &refusal),
        }
    }

    /// A call that its verdict refuses: its row is written before the answer is given.
    pub(super) async fn denied(&self, head: &CallHead, denied: Denied) -> Reply {
        let Denied { refusal, record, payload, limits } = denied;
        let now = self.clock.now();
        let salt = entropy::random(&*self.entropy);
        let execution_id = ExecutionId::generate(now, &*self.entropy);
        let audit_id = AuditId::generate(now, &*self.entropy);
        let mut about = self.about(head);
        about.limits = limits;
        about.tool_name = Some(record.tool.as_str().to_owned());
        about.decision = record.decision;
        about.score = record.score;
        about.execution_id = Some(execution_id);
        let input = row::commit_input(&salt, &record, &payload);
        let body = row::decision_row(
            &record,
            execution_id,
            Some(input),
            Outcome::NotExecuted,
            Level::Signed,
            Ending::default(),
        );
        let mut timeline = record.timeline;
        let began = self.clock.monotonic();
        let draft = Draft {
            tenant: record.tenant_id,
            audit_id,
            body: Body::Decision(Box::new(body)),
            salt: Some(salt),
            durability: Durability::Bounded,
        };
        let written = match self.outbox.reserve() {
            Ok(room) => self.outbox.append(draft, room).await,
            Err(error) => Err(error),
        };
        let took = self.clock.monotonic().since(began);
        let refusal = match written {
            Ok(_) => {
                about.audit_id = Some(audit_id);
                refusal
            }
            Err(error) => {
                tracing::error!(%error, "a refused call could not be recorded");
                about.decision = Decision::Refused;
                Refusal::AuditUnavailable
            }
        };
        timeline.push(Stage::Audit, case::step(about.audit_id.is_some()), took);
        self.observe(&timeline);
        self.metrics.decision(about.decision);
        self.metrics.refusals.with_label_values(&[refusal.identifier()]).inc();
        about.stages = head.explain.then_some(timeline);
        Reply::refused(&about, &refusal)
    }

    /// What is told about a request of which nothing is known yet.
    pub fn about(&self, head: &CallHead) -> About {
        About {
            request_id: head.facts.client_request_id.clone().unwrap_or_else(|| head.facts.request_id.clone()),
            trace_id: head.trace.id(),
            limits: Vec::new(),
            decision: Decision::Refused,
            score: BasisPoints::ZERO,
            execution_id: None,
            audit_id: None,
            stages: None,
            tool_name: None,
        }
    }

    pub(super) fn observe(&self, timeline: &Timeline) {
        let mut deciding = 0;
        for step in timeline.steps() {
            self.metrics.stage(step.stage, std::time::Duration::from_micros(step.micros));
            if step.stage <= Stage::Enforcement {
                deciding += step.micros;
            }
        }
        self.latency.record(deciding);
    }
}
