//! What proof costs: encoding, hashing, signing and reading back one row.

use std::collections::BTreeMap;
use std::hint::black_box;

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, AuditId, BootId, ExecutionId, SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;
use aegis_ledger::chain::Cursor;
use aegis_ledger::entry::{Body, Entry, Header};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::rows::{DecisionRow, Upstream};
use aegis_ledger::signing::PrivateKey;
use aegis_ledger::tree::Tree;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

fn entry() -> Entry {
    let commitment = Hash::of(&[b"input"]);
    Entry {
        header: Header {
            tenant_id: TenantId::generate(NOW, &SystemEntropy),
            source: SourceId::generate(NOW, &SystemEntropy),
            boot: BootId::generate(NOW, &SystemEntropy),
            seq: 1_234,
            prev: Hash::of(&[b"prev"]),
            ts: NOW,
            audit_id: AuditId::generate(NOW, &SystemEntropy),
        },
        body: Body::Decision(Box::new(DecisionRow {
            execution_id: ExecutionId::generate(NOW, &SystemEntropy),
            request_id: "0199b3c1-7a3c-7000-8000-000000000001".into(),
            client_request_id: None,
            agent_id: AgentId::generate(NOW, &SystemEntropy),
            principal: "agent:0199b3c1-7a3c-7000-8000-000000000002".into(),
            session_id: None,
            tool: "db.query".into(),
            action: "execute".into(),
            decision: Decision::Allow,
            outcome: Outcome::Executed,
            score_bp: BasisPoints::clamp(120),
            risk_score: 1,
            findings: Vec::new(),
            rule_ids: Vec::new(),
            signals: BTreeMap::new(),
            stages: Vec::new(),
            policy: None,
            shadow: Vec::new(),
            contract: None,
            approval: None,
            snapshot_version: 42,
            input_commitment: Some(commitment),
            output_commitment: Some(commitment),
            redactions: BTreeMap::new(),
            upstream: Some(Upstream { status: Some(200), us: 812 }),
            cost_micro_usd: MicroUsd::from_micros(100),
            level: Level::Signed,
            reason: "nothing speaks against it".into(),
            count: 1,
        })),
    }
}

/// The entry as the next one of its chain, into the tree; what `sign` makes of its leaf hash.
fn append<T>(entry: &Entry, cursor: &mut Cursor, tree: &mut Tree, sign: impl FnOnce(Hash) -> T) -> T {
    let header = Header { seq: cursor.next_seq, prev: cursor.prev, ..entry.header.clone() };
    let text = Entry { header, body: entry.body.clone() }.encode().expect("an entry");
    *cursor = cursor.after(text.as_bytes());
    let leaf = hash::leaf(text.as_bytes());
    tree.push(leaf);
    sign(leaf)
}

fn ledger(c: &mut Criterion) {
    let key = PrivateKey::from_seed(&[7; 32]);
    let public = key.public();
    let entry = entry();
    let text = entry.encode().expect("an entry");
    let leaf = hash::leaf(text.as_bytes());
    let leaves = vec![leaf; 64];
    let signature = key.sign_entries(&[leaf]).remove(0);

    c.bench_function("encode", |b| b.iter(|| black_box(&entry).encode()));
    c.bench_function("decode", |b| b.iter(|| Entry::decode(black_box(text.as_bytes()))));
    c.bench_function("leaf_hash", |b| b.iter(|| hash::leaf(black_box(text.as_bytes()))));
    let mut group = c.benchmark_group("sign");
    group
        .throughput(Throughput::Elements(1))
        .bench_function("one", |b| b.iter(|| key.sign_entries(black_box(&[leaf]))));
    group
        .throughput(Throughput::Elements(64))
        .bench_function("batch_of_64", |b| b.iter(|| key.sign_entries(black_box(&leaves))));
    group.finish();
    let mut group = c.benchmark_group("row");
    let (mut cursor, mut tree) = (Cursor { next_seq: 0, prev: leaf }, Tree::default());
    // What a row costs from struct to tree: its place in the chain, encoding, leaf hash, signature, append.
    group.throughput(Throughput::Elements(1)).bench_function("alone", |b| {
        b.iter(|| append(black_box(&entry), &mut cursor, &mut tree, |leaf| key.sign_entries(&[leaf])));
    });
    group.throughput(Throughput::Elements(64)).bench_function("batch_of_64", |b| {
        b.iter(|| {
            let mut leaves = Vec::with_capacity(64);
            for _ in 0..64 {
                append(black_box(&entry), &mut cursor, &mut tree, |leaf| leaves.push(leaf));
            }
            key.sign_entries(&leaves)
        });
    });
    group.finish();
    c.bench_function("verify", |b| b.iter(|| public.verify_entry(black_box(text.as_bytes()), &signature)));
}

criterion_group!(benches, ledger);
criterion_main!(benches);
