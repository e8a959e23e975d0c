//! Refusals at the gates: one row per agent, reason and second, with a count, so that no one can fill the ledger.
//!
//! A second's counts are in memory only. A kill in between loses them: at most [`FLUSH_INTERVAL`] of refusals, none
//! of which did anything. A write for each would hand a caller who is refused the disk's time that others pay for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::entropy::Entropy;
use aegis_core::id::{AgentId, AuditId, ExecutionId, RequestId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::score::BasisPoints;
use aegis_core::time::Clock;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::DecisionRow;
use aegis_pipeline::record::KnownCaller;
use aegis_pipeline::refusal::Refusal;
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::outbox::{Draft, Durability, Outbox};

/// How often counts become rows.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Different (agent, reason) pairs counted in one second at most.
pub const PAIRS_MAX: usize = 4_096;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pair {
    tenant: TenantId,
    agent: Option<AgentId>,
    reason: &'static str,
}

#[derive(Debug)]
struct Counted {
    principal: String,
    request: RequestId,
    tool: String,
    message: &'static str,
    count: u64,
}

/// The refusals of the current second.
pub struct GateLog {
    pairs: Mutex<HashMap<Pair, Counted>>,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl GateLog {
    /// Nothing counted yet.
    pub fn new(outbox: Arc<Outbox>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { pairs: Mutex::default(), outbox, metrics, clock, entropy }
    }

    /// Counts one refusal of somebody known.
    pub fn count(&self, caller: &KnownCaller, refusal: &Refusal, request: &RequestId, tool: &str) {
        let (reason, _, message) = refusal.answer();
        let pair = Pair { tenant: caller.tenant_id, agent: caller.agent_id, reason };
        let mut pairs = self.pairs.lock();
        let full = pairs.len() >= PAIRS_MAX;
        match pairs.entry(pair) {
            Entry::Occupied(mut known) => known.get_mut().count += 1,
            Entry::Vacant(_) if full => self.metrics.refusals_unrecorded.inc(),
            Entry::Vacant(place) => {
                let principal = caller.principal.clone();
                place.insert(Counted { principal, request: request.clone(), tool: tool.to_owned(), message, count: 1 });
            }
        }
    }

    /// Writes a row for each pair; called once a second, and at the end.
    pub async fn flush(&self, snapshot_version: u64) {
        let pairs = std::mem::take(&mut *self.pairs.lock());
        for (pair, counted) in pairs {
            let count = counted.count;
            let written = match self.outbox.reserve() {
                Ok(room) => self.outbox.append(self.draft(&pair, counted, snapshot_version), room).await.map(drop),
                Err(e) => Err(e),
            };
            // Nothing was executed, so nothing unproved happened: the refusal stands, the metric tells.
            if let Err(error) = written {
                tracing::warn!(%error, reason = pair.reason, count, "gate refusals could not be recorded");
                self.metrics.refusals_unrecorded.inc_by(count);
            }
        }
    }

    fn draft(&self, pair: &Pair, counted: Counted, snapshot_version: u64) -> Draft {
        let now = self.clock.now();
        let row = DecisionRow {
            execution_id: ExecutionId::generate(now, &*self.entropy),
            request_id: counted.request.to_string(),
            client_request_id: None,
            agent_id: pair.agent.unwrap_or(AgentId::from_uuid(uuid::Uuid::nil())),
            principal: counted.principal,
            session_id: None,
            tool: counted.tool,
            action: "execute".into(),
            decision: Decision::Refused,
            outcome: Outcome::NotExecuted,
            score_bp: BasisPoints::ZERO,
            risk_score: 0,
            findings: Vec::new(),
            rule_ids: Vec::new(),
            signals: std::collections::BTreeMap::new(),
            stages: Vec::new(),
            policy: None,
            shadow: Vec::new(),
            contract: None,
            approval: None,
            snapshot_version,
            input_commitment: None,
            output_commitment: None,
            redactions: std::collections::BTreeMap::new(),
            upstream: None,
            cost_micro_usd: MicroUsd::ZERO,
            level: Level::Signed,
            reason: format!("{}: {}", pair.reason, counted.message),
            count: counted.count,
        };
        Draft {
            tenant: pair.tenant,
            audit_id: AuditId::generate(now, &*self.entropy),
            body: Body::Decision(Box::new(row)),
            salt: None,
            durability: Durability::Bounded,
        }
    }
}
