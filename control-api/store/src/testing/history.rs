//! Weeks of calls as a sidecar would have delivered them: the same ones every time, so that what is computed from
//! rollups can be computed again from this list.

use std::time::Duration;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::finding::{FindingId, Severity};
use aegis_core::id::{AgentId, AuditId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::RowFinding;

use super::TestStore;
use super::sidecar::{TestSidecar, decision_of};
use crate::ledger::ingest::ingest;

/// Days that the history reaches back.
pub const DAYS: u64 = 40;
/// Calls in it.
pub const CALLS: u64 = 600;
/// Agents in it.
pub const AGENTS: u64 = 4;

const TOOLS: [&str; 5] = ["db.query", "fs.read", "mail.send", "http.get", "shell.run"];
const FINDINGS: [FindingId; 3] = [FindingId::SqlInjection, FindingId::BulkPiiRead, FindingId::ExternalGet];

/// One call of the history.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its row.
    pub audit_id: AuditId,
    /// When.
    pub ts: Timestamp,
    /// By whom.
    pub agent: AgentId,
    /// What.
    pub tool: &'static str,
    /// The verdict.
    pub decision: Decision,
    /// What became of it.
    pub outcome: Outcome,
    /// 0–100.
    pub risk: u8,
    /// What was seen, each once.
    pub findings: Vec<FindingId>,
    /// The deciding rule, if one spoke.
    pub rule: Option<String>,
    /// What it cost.
    pub cost: u64,
}

impl Call {
    /// KILL, and ESCALATE that was not approved.
    pub fn is_denied(&self) -> bool {
        self.decision == Decision::Kill || (self.decision == Decision::Escalate && self.outcome == Outcome::NotExecuted)
    }
}

/// An agent of the history.
pub fn agent(n: u64) -> AgentId {
    AgentId::from_uuid(uuid::Uuid::from_u128(0xA9E0 + u128::from(n)))
}

/// Delivers the history that ends at the store's time; oldest first.
pub async fn seed(t: &TestStore, tenant: TenantId) -> Vec<Call> {
    let mut sidecar = TestSidecar::enrol(t, tenant).await;
    let end = t.store.now();
    let step = Duration::from_secs(DAYS * 86_400 / CALLS);
    let mut entries = vec![sidecar.next(sidecar.open())];
    let mut calls = Vec::new();
    for n in 0..CALLS {
        let left = u32::try_from(CALLS - n).expect("few");
        let ts = end.minus(step * left).plus(Duration::from_secs(n * 7_919 % 1_800));
        let mut call = call(n, ts);
        let entry = sidecar.next_at(ts, body(&call));
        call.audit_id = entry.header.audit_id;
        entries.push(entry);
        calls.push(call);
    }
    for part in entries.chunks(64) {
        ingest(&t.store, sidecar.source, sidecar.lines(part).concat()).await.expect("an ingest");
    }
    calls
}

/// Nothing random: multipliers that share no factor make every combination occur.
fn call(n: u64, ts: Timestamp) -> Call {
    let pick = |salt: u64, of: u64| usize::try_from((n * 2_654_435_761 + salt * 40_503) / 97 % of).expect("small");
    let decision = *Decision::ALL.get(pick(1, 6)).expect("six of them");
    let outcome = match decision {
        Decision::Allow | Decision::Monitor => Outcome::Executed,
        // Every third escalation was approved.
        Decision::Escalate if n.is_multiple_of(3) => Outcome::Executed,
        Decision::Escalate | Decision::Throttle | Decision::Kill | Decision::Refused => Outcome::NotExecuted,
    };
    let findings = FINDINGS.iter().enumerate().filter(|(i, _)| pick(5 + *i as u64, 3) == 0).map(|(_, f)| *f).collect();
    Call {
        audit_id: AuditId::from_uuid(uuid::Uuid::nil()),
        ts,
        agent: agent(pick(2, AGENTS) as u64),
        tool: TOOLS.get(pick(3, 5)).expect("five of them"),
        decision,
        outcome,
        risk: u8::try_from(pick(4, 101)).expect("at most 100"),
        findings,
        rule: (!n.is_multiple_of(4)).then(|| format!("rule.{}", n % 5)),
        cost: n % 11 * 1_000,
    }
}

fn body(call: &Call) -> Body {
    let mut body = decision_of(call.agent, call.ts, call.decision, call.outcome);
    if let Body::Decision(row) = &mut body {
        call.tool.clone_into(&mut row.tool);
        row.risk_score = call.risk;
        row.score_bp = BasisPoints::from_percent(call.risk);
        row.cost_micro_usd = MicroUsd::from_micros(call.cost);
        row.rule_ids = call.rule.iter().cloned().collect();
        // The first one twice, at two places: still one call with it.
        let first = call.findings.first().into_iter().map(|id| (*id, "/again"));
        let all = call.findings.iter().map(|id| (*id, "/at"));
        let finding = |(id, pointer): (FindingId, &str)| RowFinding {
            id,
            severity: Severity::High,
            score: 60,
            pointer: pointer.to_owned(),
        };
        row.findings = all.chain(first).map(finding).collect();
    }
    body
}
