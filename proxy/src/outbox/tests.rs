//! The outbox under faults: nothing acknowledged is lost, nothing is doubled, no number is skipped.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, ExecutionId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolName;
use aegis_core::score::BasisPoints;
use aegis_core::time::{ManualClock, Timestamp};
use aegis_ledger::chain::{ChainBreak, Cursor};
use aegis_ledger::entry::Entry;
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::{Gap, OutcomeRow};
use aegis_ledger::signing::{PublicKey, boot_statement};
use futures::executor::block_on;
use uuid::Uuid;

use super::intent::{Flags, Held, SLOT_BYTES};
use super::sim::{Fault, SimDisk};
use super::*;

mod damage;
mod faults;
mod normal;

/// A small outbox: segments of four records, so that rolling over happens all the time.
const SMALL: Options =
    Options { segment_bytes: SEGMENT_BYTES_MIN, max_bytes: 32 * SEGMENT_BYTES_MIN, in_flight_max: 8 };

/// A sidecar's outbox over one disk, start after start.
struct Bench {
    disk: SimDisk,
    identity: Arc<Identity>,
    clock: Arc<ManualClock>,
    options: Options,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::open(folder.path(), &SystemEntropy).unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000)));
        Self { disk: SimDisk::new(), identity, clock, options, _folder: folder }
    }

    fn open(&self) -> (Outbox, Recovery) {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<(Outbox, Recovery), OpenError> {
        let author = Author {
            identity: Arc::clone(&self.identity),
            source: source(),
            boot: BootId::from_uuid(Uuid::from_bytes(aegis_core::entropy::random(&SystemEntropy))),
            software: "aegis-proxy/test".into(),
        };
        let disk = Arc::new(self.disk.clone());
        Outbox::open(disk, self.options, author, Arc::clone(&self.clock) as _, Arc::new(SystemEntropy))
    }
}

fn source() -> SourceId {
    SourceId::from_uuid(Uuid::from_u128(77))
}

fn tenant(n: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(1_000 + n))
}

fn intent(n: u128, plan: Plan) -> Intent {
    Intent {
        execution_id: ExecutionId::from_uuid(Uuid::from_u128(n)),
        tenant_id: tenant(n % 2),
        agent_id: AgentId::from_uuid(Uuid::from_u128(5)),
        tool: ToolName::parse("db.query").unwrap(),
        principal: "agent:5".into(),
        request_id: format!("request-{n}"),
        client_request_id: None,
        session_id: Some("s".into()),
        input_commitment: Hash::of(&[b"input"]),
        salt: [9; 32],
        idempotency: Some(Hash::of(&[b"key"])),
        snapshot_version: 3,
        policy: None,
        decision: Decision::Allow,
        score_bp: BasisPoints::clamp(1_200),
        cost_micro_usd: MicroUsd::from_micros(10),
        ts: Timestamp::from_seconds(1_700_000_000),
        plan,
    }
}

fn draft(of: &Intent, body: Body, durability: Durability) -> Draft {
    let audit_id = AuditId::from_uuid(Uuid::from_bytes(aegis_core::entropy::random(&SystemEntropy)));
    Draft { tenant: of.tenant_id, audit_id, body, salt: Some(of.salt), durability }
}

fn decision(of: &Intent, outcome: Outcome) -> Body {
    let held = Held { intent: of.clone(), flags: Flags::default() };
    let Body::Decision(mut row) = held.last_row() else { unreachable!() };
    row.outcome = outcome;
    row.reason = "ok".into();
    Body::Decision(row)
}

fn outcome(of: &Intent) -> Body {
    Body::Outcome(OutcomeRow {
        execution_id: of.execution_id,
        outcome: Outcome::Executed,
        output_commitment: None,
        redactions: BTreeMap::new(),
        upstream: None,
        cost_micro_usd: MicroUsd::ZERO,
        reason: "ok".into(),
    })
}

/// One governed call, as the sidecar makes it; whether its answer was sent.
async fn call(outbox: &Outbox, n: u128, plan: Plan, durability: Durability) -> Result<(), AuditUnavailable> {
    let intent = intent(n, plan);
    let reservation = outbox.intend(&intent)?;
    match plan {
        Plan::OneRow => {
            outbox.append(draft(&intent, decision(&intent, Outcome::Executed), durability), reservation).await?;
        }
        Plan::DecisionThenOutcome => {
            let first = draft(&intent, decision(&intent, Outcome::Pending), durability);
            let (_, reservation) = outbox.append_pending(first, reservation).await?;
            outbox.append(draft(&intent, outcome(&intent), durability), reservation).await?;
        }
    }
    Ok(())
}

/// What the control plane would have: every row shipped, checked as it checks.
#[derive(Default)]
struct Shipped {
    chains: HashMap<(TenantId, BootId), (Cursor, PublicKey)>,
    entries: HashMap<(TenantId, BootId, u64), Vec<u8>>,
    rows: Vec<Entry>,
    /// Losses that were declared, ahead or in their place.
    declared: Vec<(TenantId, Gap)>,
}

impl Shipped {
    /// Takes a batch in; the acknowledgements.
    fn take(&mut self, batch: &Batch) -> Vec<Ack> {
        let mut acks: BTreeMap<(TenantId, BootId), u64> = BTreeMap::new();
        for line in batch.lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let signed: SignedEntry = serde_json::from_slice(line).unwrap();
            let entry = Entry::decode(signed.bytes()).unwrap();
            let header = &entry.header;
            let id = (header.tenant_id, header.boot, header.seq);
            if let Some(before) = self.entries.get(&id) {
                assert_eq!(before, signed.bytes(), "equivocation at {id:?}");
                continue;
            }
            let chain = (header.tenant_id, header.boot);
            let (mut cursor, key) = match (&entry.body, self.chains.get(&chain)) {
                (Body::Open(open), None) => {
                    let key = PublicKey::parse(&open.boot_key).unwrap();
                    (Cursor::start(header.tenant_id, header.source, header.boot), key)
                }
                (_, Some(known)) => *known,
                (body, None) => panic!("{} before open", body.kind()),
            };
            key.verify_entry(signed.bytes(), &signed.signature).unwrap();
            if let Body::Gap(gap) = &entry.body
                && !self.declared.contains(&(header.tenant_id, gap.clone()))
            {
                self.declared.push((header.tenant_id, gap.clone()));
                if header.seq > cursor.next_seq {
                    // Shown ahead of its place.
                    continue;
                }
            }
            match cursor.check(header) {
                Err(ChainBreak::Gap { expected, got }) => {
                    let gap = |gap: &Gap| gap.lost_boot == header.boot && gap.from <= expected && gap.to + 1 == got;
                    let told = self.declared.iter().any(|(tenant, g)| *tenant == header.tenant_id && gap(g));
                    assert!(told, "seq {expected} to {got} are missing and not declared");
                    cursor.next_seq = got;
                }
                other => other.unwrap(),
            }
            self.chains.insert(chain, (cursor.after(signed.bytes()), key));
            self.entries.insert(id, signed.bytes().to_vec());
            self.rows.push(entry);
        }
        for ((tenant_id, boot), (cursor, _)) in &self.chains {
            acks.extend(cursor.next_seq.checked_sub(1).map(|seq| ((*tenant_id, *boot), seq)));
        }
        let ack = |((tenant_id, boot), seq)| Ack { tenant_id, source: source(), boot, seq };
        acks.into_iter().map(ack).collect()
    }

    /// Ships everything the outbox holds, however long it takes to become shippable.
    fn drain(&mut self, outbox: &Outbox) {
        while outbox.facts().rows > 0 {
            match outbox.read_batch(7, 64 * 1024).unwrap() {
                Some(batch) => {
                    let acks = self.take(&batch);
                    assert_eq!(outbox.acknowledge(&batch, &acks), batch.len());
                }
                None => block_on(outbox.shippable()),
            }
        }
    }

    /// What is said of one call: decision outcomes, then outcome rows.
    fn of(&self, n: u128) -> (Vec<Outcome>, Vec<Outcome>) {
        let id = ExecutionId::from_uuid(Uuid::from_u128(n));
        let (mut decisions, mut outcomes) = (Vec::new(), Vec::new());
        for row in &self.rows {
            match &row.body {
                Body::Decision(row) if row.execution_id == id => decisions.push(row.outcome),
                Body::Outcome(row) if row.execution_id == id => outcomes.push(row.outcome),
                _ => {}
            }
        }
        (decisions, outcomes)
    }

    /// Whether the call has exactly one account: one decision, and one outcome if the decision is pending.
    fn accounts(&self, n: u128) -> bool {
        let (decisions, outcomes) = self.of(n);
        match decisions.as_slice() {
            [Outcome::Pending] => outcomes.len() == 1,
            [] | [_] => outcomes.is_empty(),
            _ => false,
        }
    }
}
