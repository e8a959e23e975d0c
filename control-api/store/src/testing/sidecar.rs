//! A sidecar as the ledger sees it: an identity, a boot, and a chain of signed entries.

use std::collections::BTreeMap;

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::entropy::{Entropy as _, SystemEntropy};
use aegis_core::finding::{FindingId, Severity};
use aegis_core::id::{AgentId, AuditId, BootId, ExecutionId, SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;
use aegis_ledger::chain::Cursor;
use aegis_ledger::commitment;
use aegis_ledger::entry::{Body, Entry, Header};
use aegis_ledger::hash;
use aegis_ledger::rows::{DecisionRow, Open, OutcomeRow, RowFinding};
use aegis_ledger::signing::{PrivateKey, boot_statement};
use aegis_ledger::wire::SignedEntry;

use super::{START, TestStore, admin};
use crate::source::{self, NewSidecar};

/// An enrolled sidecar of one tenant, with one boot.
pub struct TestSidecar {
    /// Its id.
    pub source: SourceId,
    /// The tenant.
    pub tenant: TenantId,
    /// Its boot.
    pub boot: BootId,
    /// Its identity.
    pub identity: PrivateKey,
    /// Signs this boot's entries.
    pub boot_key: PrivateKey,
    /// Where its chain stands.
    pub cursor: Cursor,
}

impl TestSidecar {
    /// Enrols a sidecar for a tenant with a join token of its own.
    pub async fn enrol(t: &TestStore, tenant: TenantId) -> Self {
        let identity = PrivateKey::generate(&SystemEntropy);
        let mut hash = [0; 32];
        SystemEntropy.fill(&mut hash);
        let mut tx = t.store.write(tenant).await.expect("a write");
        let end = t.store.now().plus(std::time::Duration::from_mins(1));
        crate::join_token::create(&mut tx, &hash, "test", end, 1).await.expect("a join token");
        let tx = tx.record(admin("join_token.create", "join_token")).await.expect("an entry");
        tx.commit().await.expect("a commit");
        let new = NewSidecar { name: "test".into(), identity: identity.public(), version: "test".into() };
        let source = source::enrol(&t.store, &hash, &new).await.expect("an enrolment");
        Self::boot(source.id, tenant, identity)
    }

    /// A new boot of an enrolled source.
    pub fn boot(source: SourceId, tenant: TenantId, identity: PrivateKey) -> Self {
        let boot = BootId::generate(START, &SystemEntropy);
        let boot_key = PrivateKey::generate(&SystemEntropy);
        Self { source, tenant, boot, identity, boot_key, cursor: Cursor::start(tenant, source, boot) }
    }

    /// The boot's `open`.
    pub fn open(&self) -> Body {
        let boot_key = self.boot_key.public();
        let statement = boot_statement(self.tenant, self.source, self.boot, &boot_key);
        Body::Open(Open {
            boot_key: boot_key.to_base64(),
            identity_key_id: self.identity.public().id().0,
            identity_signature: self.identity.sign(&statement),
            software: "aegis-proxy/test".into(),
            previous: None,
        })
    }

    /// The next entry, unsigned.
    pub fn next(&mut self, body: Body) -> Entry {
        self.next_at(START, body)
    }

    /// The next entry, unsigned, written at this time.
    pub fn next_at(&mut self, ts: Timestamp, body: Body) -> Entry {
        let header = Header {
            tenant_id: self.tenant,
            source: self.source,
            boot: self.boot,
            seq: self.cursor.next_seq,
            prev: self.cursor.prev,
            ts,
            audit_id: AuditId::generate(ts, &SystemEntropy),
        };
        let entry = Entry { header, body };
        self.cursor = self.cursor.after(entry.encode().expect("an encodable entry").as_bytes());
        entry
    }

    /// The NDJSON line of an entry, signed alone.
    pub fn line(&self, entry: &Entry) -> Vec<u8> {
        self.lines(std::slice::from_ref(entry)).concat()
    }

    /// The NDJSON lines of entries that share a signature (at most 64).
    pub fn lines(&self, entries: &[Entry]) -> Vec<Vec<u8>> {
        let texts: Vec<String> = entries.iter().map(|e| e.encode().expect("an encodable entry")).collect();
        let leaves: Vec<_> = texts.iter().map(|text| hash::leaf(text.as_bytes())).collect();
        let signatures = self.boot_key.sign_entries(&leaves);
        let salts = entries.iter().map(|e| matches!(e.body, Body::Decision(_)).then_some([7_u8; 32]));
        texts
            .into_iter()
            .zip(signatures)
            .zip(salts)
            .map(|((text, signature), salt)| {
                let signed = SignedEntry::new(text, signature, salt.as_ref()).expect("JSON");
                let mut line = serde_json::to_vec(&signed).expect("JSON");
                line.push(b'\n');
                line
            })
            .collect()
    }

    /// The lines of the boot's `open` and `calls` decisions.
    pub fn run(&mut self, calls: usize) -> Vec<Vec<u8>> {
        let open = self.open();
        let mut entries = vec![self.next(open)];
        entries.extend((0..calls).map(|_| self.next(decision(Decision::Allow, Outcome::Executed))));
        entries.chunks(64).flat_map(|part| self.lines(part)).collect()
    }
}

/// A decision about `db.query`.
pub fn decision(decision: Decision, outcome: Outcome) -> Body {
    decision_of(AgentId::from_uuid(uuid::Uuid::from_u128(0xA)), START, decision, outcome)
}

/// A decision of an agent.
pub fn decision_of(agent_id: AgentId, now: Timestamp, decision: Decision, outcome: Outcome) -> Body {
    Body::Decision(Box::new(DecisionRow {
        execution_id: ExecutionId::generate(now, &SystemEntropy),
        request_id: "request".into(),
        client_request_id: None,
        agent_id,
        principal: format!("agent:{agent_id}"),
        session_id: Some("session".into()),
        tool: "db.query".into(),
        action: "execute".into(),
        decision,
        outcome,
        score_bp: BasisPoints::clamp(4_200),
        risk_score: 42,
        findings: vec![RowFinding {
            id: FindingId::SqlInjection,
            severity: Severity::High,
            score: 42,
            pointer: "/query".into(),
        }],
        rule_ids: vec!["rule".into()],
        signals: BTreeMap::new(),
        stages: Vec::new(),
        policy: None,
        shadow: Vec::new(),
        contract: None,
        approval: None,
        snapshot_version: 1,
        input_commitment: Some(commitment::commit(&[7; 32], b"{}")),
        output_commitment: None,
        redactions: BTreeMap::new(),
        upstream: None,
        cost_micro_usd: MicroUsd::from_micros(10),
        level: Level::Local,
        reason: "because".into(),
        count: 1,
    }))
}

/// The outcome of a decision.
pub fn outcome_of(decision: &Body, outcome: Outcome, cost_micro_usd: u64) -> Body {
    let Body::Decision(row) = decision else { panic!("not a decision") };
    Body::Outcome(OutcomeRow {
        execution_id: row.execution_id,
        outcome,
        output_commitment: None,
        redactions: BTreeMap::new(),
        upstream: None,
        cost_micro_usd: MicroUsd::from_micros(cost_micro_usd),
        reason: "done".into(),
    })
}
