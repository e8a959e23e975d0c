//! A small writer of ledgers and bundles for tests and benchmarks, with keys that everybody knows.

use std::io::Write;

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::id::{AgentId, AuditId, BootId, ExecutionId, SourceId, TenantId};
use aegis_core::json;
use aegis_core::money::MicroUsd;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;
use aegis_ledger::chain::Cursor;
use aegis_ledger::entry::{Body, Entry, Header};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::rotation::Rotation;
use aegis_ledger::rows::{Admin, Close, DecisionRow, Enrol, Heartbeat, Key, Open, OutcomeRow, StageStep, Upstream};
use aegis_ledger::signing::{EntrySignature, PrivateKey, boot_statement};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

use crate::bundle::{self, SEGMENT};
use crate::proof::Tree;

/// The log's name.
pub const ORIGIN: &str = "test/aegis/00000000-0000-7000-8000-00000000000a";

/// The tenant.
pub fn tenant() -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_000a))
}

/// A source with its keys and its place in its chain.
pub struct Writer {
    source: SourceId,
    identity: PrivateKey,
    boot: BootId,
    boot_key: PrivateKey,
    cursor: Cursor,
}

impl Writer {
    /// A source of this number, in its boot of this number.
    pub fn new(number: u8, boot: u8) -> Self {
        let source = SourceId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0100 + u128::from(number)));
        let boot_id = BootId::from_uuid(Uuid::from_u128(
            0x7000_8000_0000_0001_0000 + (u128::from(number) << 8) + u128::from(boot),
        ));
        Self {
            source,
            identity: PrivateKey::from_seed(&[number; 32]),
            boot: boot_id,
            boot_key: PrivateKey::from_seed(&[number ^ 0x80 ^ boot; 32]),
            cursor: Cursor::start(tenant(), source, boot_id),
        }
    }

    /// The entry by which it begins.
    pub fn open(&self) -> Body {
        let statement = boot_statement(tenant(), self.source, self.boot, &self.boot_key.public());
        Body::Open(Open {
            boot_key: self.boot_key.public().to_base64(),
            identity_key_id: self.identity.public().id().0,
            identity_signature: self.identity.sign(&statement),
            software: "test/1".into(),
            previous: None,
        })
    }

    /// The entry that enrols it.
    pub fn enrolment(&self) -> Body {
        Body::Enrol(Enrol {
            enrolled: self.source,
            name: "writer".into(),
            identity_key_id: self.identity.public().id().0,
            identity_key: self.identity.public().to_base64(),
        })
    }
}

/// Writes a bundle while its ledger grows.
pub struct Ledger<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
    /// Signs checkpoints.
    pub log: PrivateKey,
    tree: Tree,
    leaves: Vec<u8>,
    checkpoints: Vec<String>,
    calls: u64,
}

impl<W: Write> Ledger<W> {
    /// Begins a bundle.
    pub fn begin(out: W) -> Self {
        let mut ledger = Self {
            zip: ZipWriter::new_stream(out),
            log: PrivateKey::from_seed(&[0x4c; 32]),
            tree: Tree::default(),
            leaves: Vec::new(),
            checkpoints: Vec::new(),
            calls: 0,
        };
        ledger.member(&bundle::entries_name(0));
        ledger
    }

    fn member(&mut self, name: &str) {
        let options = SimpleFileOptions::default();
        let options = if name.starts_with("leaves/") {
            options.compression_method(CompressionMethod::Stored)
        } else {
            options.compression_method(CompressionMethod::Deflated).compression_level(Some(1))
        };
        self.zip.start_file(name, options).expect("a member");
    }

    fn write(&mut self, bytes: &[u8]) {
        self.zip.write_all(bytes).expect("written");
    }

    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Appends entries of one source, signed together.
    ///
    /// # Panics
    ///
    /// If an entry has no encoding.
    pub fn append(&mut self, writer: &mut Writer, bodies: Vec<Body>) {
        let mut entries = Vec::new();
        for body in bodies {
            let number = u128::from(self.tree.size()) + entries.len() as u128;
            let header = Header {
                tenant_id: tenant(),
                source: writer.source,
                boot: writer.boot,
                seq: writer.cursor.next_seq,
                prev: writer.cursor.prev,
                ts: Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(number).expect("small")),
                audit_id: AuditId::from_uuid(Uuid::from_u128(0x7000_9000_0000_0000_0000 + number)),
            };
            let entry = Entry { header, body };
            let bytes = entry.encode().expect("an entry");
            writer.cursor = writer.cursor.after(bytes.as_bytes());
            entries.push((entry, bytes));
        }
        let leaves: Vec<Hash> = entries.iter().map(|(_, bytes)| hash::leaf(bytes.as_bytes())).collect();
        let signatures = writer.boot_key.sign_entries(&leaves);
        for (((entry, bytes), signature), leaf) in entries.iter().zip(signatures).zip(leaves) {
            self.line(&line(self.tree.size(), bytes, &signature, &row(entry)), leaf);
        }
    }

    fn line(&mut self, line: &str, leaf: Hash) {
        self.write(line.as_bytes());
        self.write(b"\n");
        self.tree.push(leaf);
        self.leaves.extend_from_slice(leaf.as_bytes());
        if self.tree.size().is_multiple_of(SEGMENT) {
            self.end_segment();
            self.member(&bundle::entries_name(self.tree.size() / SEGMENT));
        }
    }

    fn end_segment(&mut self) {
        let leaves = std::mem::take(&mut self.leaves);
        if !leaves.is_empty() {
            self.member(&bundle::leaves_name((self.tree.size() - 1) / SEGMENT));
            self.write(&leaves);
        }
    }

    /// Signs a checkpoint of the tree as it is.
    pub fn checkpoint(&mut self) {
        let (size, root) = (self.tree.size(), self.tree.root());
        self.checkpoints.push(note(&self.log, ORIGIN, &format!("{ORIGIN}\n{size}\n{root}\n")));
    }

    /// Governed calls, signed together; every hundredth is two entries.
    pub fn calls(&mut self, writer: &mut Writer, count: u64) {
        let bodies = (0..count).map(|_| {
            self.calls += 1;
            Body::Decision(Box::new(decision(self.calls)))
        });
        let bodies = bodies.collect();
        self.append(writer, bodies);
    }

    /// Ends the bundle; the bytes' sink and the last checkpoint.
    ///
    /// # Panics
    ///
    /// If the sink fails.
    pub fn finish(mut self) -> (W, String) {
        self.end_segment();
        let lines: Vec<String> =
            self.checkpoints.iter().map(|note| json::canonical(&json!({ "note": note })) + "\n").collect();
        self.member(bundle::CHECKPOINTS);
        self.write(lines.concat().as_bytes());
        self.member(bundle::STATEMENTS);
        self.member(bundle::MANIFEST);
        let manifest = json!({ "format": bundle::FORMAT, "origin": ORIGIN, "tenant_id": tenant(),
            "size": self.tree.size() });
        self.write(json::canonical(&manifest).as_bytes());
        let out = self.zip.finish().expect("an archive").into_inner();
        (out, self.checkpoints.pop().unwrap_or_default())
    }
}

/// A line of a bundle.
///
/// # Panics
///
/// Never: a signature has a form in JSON.
pub fn line(index: u64, entry: &str, signature: &EntrySignature, row: &Value) -> String {
    let signature = json::canonical(&serde_json::to_value(signature).expect("JSON"));
    let row = json::canonical(row);
    format!(
        r#"{{"entry":{entry},"index":{index},"received_at":"2023-11-14T22:13:20.000000Z","row":{row},"signature":{signature}}}"#
    )
}

/// The columns of the kinds that are written here.
fn row(entry: &Entry) -> Value {
    let mut row = json!({ "audit_id": entry.header.audit_id, "source_id": entry.header.source,
        "kind": entry.body.kind(), "ts": entry.header.ts, "action": entry.body.kind() });
    let more = match &entry.body {
        Body::Decision(d) => json!({ "action": d.action, "execution_id": d.execution_id, "request_id": d.request_id,
            "agent_id": d.agent_id, "principal": d.principal, "tool": d.tool, "decision": d.decision,
            "outcome": d.outcome, "score_bp": d.score_bp, "risk_score": d.risk_score, "findings": [],
            "rule_ids": d.rule_ids, "cost_micro_usd": d.cost_micro_usd, "count": d.count, "reason": d.reason }),
        Body::Admin(a) => json!({ "action": a.action, "principal": a.actor, "object": a.object,
            "request_id": a.request_id }),
        Body::Enrol(e) => json!({ "object": format!("source:{}", e.enrolled) }),
        Body::Key(k) => json!({ "action": format!("key.{}", k.state), "object": format!("key:{}", k.key_id) }),
        Body::Close(c) => json!({ "reason": c.reason }),
        Body::Outcome(o) => json!({ "execution_id": o.execution_id, "outcome": o.outcome,
            "cost_micro_usd": o.cost_micro_usd, "reason": o.reason }),
        _ => json!({}),
    };
    if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
        row.extend(more);
    }
    row
}

/// A signed note.
///
/// # Panics
///
/// Never: keys sign in base64.
pub fn note(key: &PrivateKey, name: &str, text: &str) -> String {
    let public = key.public().to_bytes();
    let id = Hash::of(&[name.as_bytes(), b"\n\x01", &public]);
    let signature = BASE64.decode(key.sign(text.as_bytes())).expect("base64");
    let signature = BASE64.encode([&id.as_bytes()[..4], &signature].concat());
    format!("{text}\n\u{2014} {name} {signature}\n")
}

/// The policy under which the bundles of [`sample`] verify.
pub fn policy() -> String {
    let log = PrivateKey::from_seed(&[0x4c; 32]).public().to_bytes();
    let id = Hash::of(&[ORIGIN.as_bytes(), b"\n\x01", &log]).to_hex();
    let vkey = format!("{ORIGIN}+{}+{}", &id[..8], BASE64.encode([&[1][..], &log].concat()));
    let control = Writer::new(1, 1);
    format!(
        "aegis-trust/1\norigin {ORIGIN}\ntenant {}\nlog {vkey}\ncontrol {} {}\n",
        tenant(),
        control.source,
        control.identity.public().to_base64()
    )
}

/// A key entry.
pub fn key(purpose: &str, state: &str, key: &PrivateKey) -> Body {
    Body::Key(Key {
        key_id: key.public().id().0,
        public_key: key.public().to_base64(),
        purpose: purpose.into(),
        state: state.into(),
        rotation: None,
    })
}

/// The entry by which one checkpoint key follows another.
pub fn rotation(before: &PrivateKey, new: &PrivateKey) -> Body {
    let Body::Key(entry) = key("checkpoint", "introduced", new) else { unreachable!("it is a key entry") };
    Body::Key(Key { rotation: Some(Rotation::sign(before, new)), ..entry })
}

/// A management write.
pub fn admin(object: &str) -> Body {
    Body::Admin(Admin {
        actor: "user:1".into(),
        action: "agent.create".into(),
        object: object.into(),
        detail: Map::new(),
        request_id: "r".into(),
    })
}

/// An ordinary governed call.
pub fn decision(number: u64) -> DecisionRow {
    DecisionRow {
        execution_id: ExecutionId::from_uuid(Uuid::from_u128(0x7000_a000_0000_0000_0000 + u128::from(number))),
        request_id: format!("request-{number}"),
        client_request_id: None,
        agent_id: AgentId::from_uuid(Uuid::from_u128(0x7000_b000_0000_0000_0000 + u128::from(number % 7))),
        principal: "agent:reader".into(),
        session_id: None,
        tool: "db.query".into(),
        action: "execute".into(),
        decision: Decision::Allow,
        outcome: Outcome::Executed,
        score_bp: BasisPoints::default(),
        risk_score: 0,
        findings: Vec::new(),
        rule_ids: vec!["agent.allow.granted".into()],
        signals: ["anomaly", "behavior", "findings", "policy"]
            .into_iter()
            .map(|name| {
                let signal = aegis_ledger::rows::Signal {
                    score_bp: BasisPoints::default(),
                    threshold_bp: BasisPoints::default(),
                };
                (name.to_owned(), signal)
            })
            .collect(),
        stages: (0..10).map(|n| StageStep { n, outcome: "pass".into(), us: 17 }).collect(),
        policy: Some(aegis_ledger::rows::PolicyRef { bundle: "platform-1".into(), revision: "none".into() }),
        shadow: number.is_multiple_of(3).then(shadow).into_iter().collect(),
        contract: None,
        approval: None,
        snapshot_version: 7,
        input_commitment: Some(Hash::of(&[&number.to_be_bytes()])),
        output_commitment: Some(Hash::of(&[b"out", &number.to_be_bytes()])),
        redactions: std::collections::BTreeMap::default(),
        upstream: Some(Upstream { status: Some(200), us: 1_500 }),
        cost_micro_usd: MicroUsd::default(),
        level: Level::Signed,
        reason: "granted, nothing seen".into(),
        count: 1,
    }
}

fn shadow() -> aegis_ledger::rows::ShadowRow {
    aegis_ledger::rows::ShadowRow {
        name: "own".into(),
        version: 2,
        decision: Decision::Kill,
        score_bp: BasisPoints::default(),
        rule_ids: vec!["own.deny.word".into()],
    }
}

/// A call that ends in a later entry, with that entry.
pub fn outcome(number: u64) -> Body {
    Body::Outcome(OutcomeRow {
        execution_id: decision(number).execution_id,
        outcome: Outcome::Executed,
        output_commitment: None,
        redactions: std::collections::BTreeMap::default(),
        upstream: None,
        cost_micro_usd: MicroUsd::default(),
        reason: "done".into(),
    })
}

/// A bundle of about `calls` governed calls in batches of `batch`, with every other kind of entry around them.
pub fn sample<W: Write>(out: W, calls: u64, batch: u64) -> (W, String) {
    let mut ledger = Ledger::begin(out);
    let (mut control, mut sidecar) = (Writer::new(1, 1), Writer::new(2, 1));
    let first = key("checkpoint", "introduced", &ledger.log);
    let opening = vec![control.open(), control.enrolment(), first, sidecar.enrolment(), admin("agent:x")];
    ledger.append(&mut control, opening);
    let open = sidecar.open();
    ledger.append(&mut sidecar, vec![open]);
    ledger.checkpoint();
    let mut left = calls;
    while left > 0 {
        let now = left.min(batch);
        ledger.calls(&mut sidecar, now);
        left -= now;
        if (left / batch).is_multiple_of(64) {
            ledger.checkpoint();
        }
    }
    let next = PrivateKey::from_seed(&[0x4d; 32]);
    ledger.append(&mut control, vec![rotation(&ledger.log, &next), admin("tenant:x")]);
    ledger.log = next;
    ledger.checkpoint();
    let last_seq = sidecar.cursor.next_seq - 1;
    let beat = Body::Heartbeat(Heartbeat { forwarded: calls, denied: 0, errored: 0, last_seq });
    ledger.append(&mut sidecar, vec![beat, Body::Close(Close { reason: "stopped".into() })]);
    ledger.checkpoint();
    ledger.finish()
}
