//! What ingest promises, on both databases.

use std::time::Duration;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{BootId, SourceId, TenantId};
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::rows::{Gap, Key};
use aegis_ledger::signing::PrivateKey;
use aegis_ledger::verify::FaultKind;
use proptest::prelude::*;

use super::Head;
use super::check::verify;
use super::ingest::{Ingested, ingest};
use super::placement::{GAP_HOLD, POISON_HOLD};
use super::salt;
use super::violation::{self, ViolationKind};
use crate::both;
use crate::error::StoreError;
use crate::sql::Sql;
use crate::testing::sidecar::{TestSidecar, decision, outcome_of};
use crate::testing::{START, TestStore, admin};

async fn send(t: &TestStore, source: SourceId, lines: &[Vec<u8>]) -> Ingested {
    ingest(&t.store, source, lines.concat()).await.unwrap()
}

/// The numbers of a boot's entries in the ledger, by index.
async fn seqs(t: &TestStore, tenant: TenantId, boot: BootId) -> Vec<u64> {
    let mut db = t.store.read(tenant).await.unwrap();
    let sql = Sql::new("SELECT seq FROM ledger_entries WHERE tenant_id = $1 AND boot_id = $2 ORDER BY idx");
    db.fetch_all(sql.bind(tenant).bind(boot)).await.unwrap().iter().map(|r| r.get("seq").unwrap()).collect()
}

async fn kinds(t: &TestStore, tenant: TenantId) -> Vec<(ViolationKind, bool)> {
    let mut db = t.store.read(tenant).await.unwrap();
    let list = violation::list(&mut db, tenant, 100, 0).await.unwrap();
    list.into_iter().map(|v| (v.kind, v.settled)).collect()
}

both! {
    async fn a_batch_is_committed_once_and_acknowledged_every_time(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(130);
        let first = send(&t, sidecar.source, &lines).await.answer;
        assert_eq!((first.accepted, first.duplicates, first.violations), (131, 0, 0));
        assert_eq!(first.acks[0].seq, 130);
        let second = send(&t, sidecar.source, &lines).await.answer;
        assert_eq!((second.accepted, second.duplicates, second.violations), (0, 131, 0));
        assert_eq!(second.acks, first.acks);
        assert_eq!(seqs(&t, tenant, sidecar.boot).await, (0..131).collect::<Vec<_>>());
    }

    async fn two_sidecars_at_once_make_one_chain_with_both_sequences(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecars = [TestSidecar::enrol(&t, tenant).await, TestSidecar::enrol(&t, tenant).await];
        let mut tasks = Vec::new();
        for sidecar in &mut sidecars {
            let lines = sidecar.run(60);
            let (store, source) = (t.store.clone(), sidecar.source);
            tasks.push(tokio::spawn(async move {
                for part in lines.chunks(7) {
                    ingest(&store, source, part.concat()).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for sidecar in &sidecars {
            assert_eq!(seqs(&t, tenant, sidecar.boot).await, (0..61).collect::<Vec<_>>());
        }
        let mut db = t.store.read(tenant).await.unwrap();
        let row = db.fetch_one(Sql::new("SELECT COUNT(*) AS n, MAX(idx) AS top FROM ledger_entries")).await.unwrap();
        assert_eq!(row.get::<u64>("n").unwrap(), row.get::<u64>("top").unwrap() + 1);
    }

    async fn a_stolen_key_signs_nothing_more_and_what_it_signed_stays_good(t: TestStore) {
        let tenant = t.tenant().await;
        for of_boot in [true, false] {
            let mut sidecar = TestSidecar::enrol(&t, tenant).await;
            send(&t, sidecar.source, &sidecar.run(3)).await;
            let stolen = if of_boot { sidecar.boot_key.public() } else { sidecar.identity.public() };
            assert_eq!(crate::publish::compromise(&t.store, &stolen.id().0).await.unwrap(), 1);
            let mut thief = TestSidecar::boot(sidecar.source, tenant, PrivateKey::from_seed(&sidecar.identity.seed()));
            let lines = if of_boot {
                let entry = sidecar.next(decision(Decision::Allow, Outcome::Executed));
                vec![sidecar.line(&entry)]
            } else {
                thief.run(1)
            };
            let refused = send(&t, sidecar.source, &lines).await;
            assert_eq!(refused.answer.accepted, 0);
            assert_eq!(refused.violations.first().map(|v| v.1), Some(ViolationKind::CompromisedKey));
        }
        let found = verify(&t.store, tenant, 0, None).await.unwrap();
        assert_eq!((found.faults, found.complete), (vec![], true));
        // An entry that got in all the same is a fault, wherever verification begins.
        let stolen = t.store.control().boot_key().id().0;
        let entry = Key {
            key_id: stolen.clone(),
            public_key: t.store.control().boot_key().to_base64(),
            purpose: "receipt".into(),
            state: "compromised".into(),
            rotation: None,
        };
        let report = t.store.write(tenant).await.unwrap().record(Body::Key(entry)).await.unwrap();
        report.commit().await.unwrap();
        let size = Head::read(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap().size;
        let later = t.store.write(tenant).await.unwrap().record(admin("write", "x")).await.unwrap();
        later.commit().await.unwrap();
        for from in [0, size] {
            let faults = verify(&t.store, tenant, from, None).await.unwrap().faults;
            assert_eq!(faults.iter().map(|f| (f.kind, f.index)).collect::<Vec<_>>(), [(FaultKind::Key, Some(size))]);
        }
    }

    async fn another_entry_with_a_taken_number_is_kept_as_equivocation(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let open = sidecar.run(0);
        let fork = sidecar.cursor;
        let genuine = sidecar.next(decision(Decision::Allow, Outcome::Executed));
        sidecar.cursor = fork;
        let forged = sidecar.next(decision(Decision::Kill, Outcome::NotExecuted));
        send(&t, sidecar.source, &[open[0].clone(), sidecar.line(&genuine)]).await;
        let answer = send(&t, sidecar.source, &[sidecar.line(&forged)]).await;
        assert_eq!(answer.violations, [(tenant, ViolationKind::Equivocation)]);
        let mut db = t.store.read(tenant).await.unwrap();
        let kept = violation::list(&mut db, tenant, 10, 0).await.unwrap();
        assert_eq!(kept[0].entry, forged.encode().unwrap().into_bytes());
        assert_eq!((kept[0].seq, kept[0].settled), (Some(1), false));
        assert_eq!(seqs(&t, tenant, sidecar.boot).await, [0, 1]);
    }

    async fn a_gap_waits_and_settles_when_the_missing_entries_come(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(4);
        send(&t, sidecar.source, &lines[..2]).await;
        let early = send(&t, sidecar.source, &lines[3..]).await;
        assert_eq!((early.answer.accepted, early.answer.acks[0].seq), (0, 1));
        assert_eq!(kinds(&t, tenant).await, [(ViolationKind::Gap, false)]);
        send(&t, sidecar.source, &lines[2..]).await;
        assert_eq!(seqs(&t, tenant, sidecar.boot).await, [0, 1, 2, 3, 4]);
        assert_eq!(kinds(&t, tenant).await, [(ViolationKind::Gap, true)]);
    }

    async fn a_gap_that_is_never_filled_stays_on_record_and_lets_the_chain_go_on(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(4);
        send(&t, sidecar.source, &lines[..2]).await;
        send(&t, sidecar.source, &lines[3..]).await;
        t.clock.advance(GAP_HOLD);
        let late = send(&t, sidecar.source, &lines[3..]).await;
        assert_eq!((late.answer.accepted, late.answer.acks[0].seq), (2, 4));
        assert_eq!(seqs(&t, tenant, sidecar.boot).await, [0, 1, 3, 4]);
        assert_eq!(kinds(&t, tenant).await, [(ViolationKind::Gap, false)]);
        let passed = send(&t, sidecar.source, &lines[2..3]).await;
        assert_eq!(passed.violations, [(tenant, ViolationKind::Late)]);
        let again = send(&t, sidecar.source, &lines[2..3]).await;
        assert_eq!((again.answer.duplicates, again.answer.violations), (1, 0));
    }

    async fn a_declared_gap_is_passed_at_once(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(3);
        send(&t, sidecar.source, &lines[..2]).await;
        let gap = Gap { lost_boot: sidecar.boot, from: 2, to: 3, why: "disk".into() };
        let declared = sidecar.next(Body::Gap(gap));
        let answer = send(&t, sidecar.source, &[sidecar.line(&declared)]).await.answer;
        assert_eq!((answer.accepted, answer.violations, answer.acks[0].seq), (1, 0, 4));
    }

    async fn a_gap_declared_by_a_later_entry_is_passed_at_once_and_declared_in_its_place(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(6);
        let gap = Gap { lost_boot: sidecar.boot, from: 2, to: 3, why: "disk".into() };
        let declared = sidecar.next(Body::Gap(gap));
        let declared = sidecar.line(&declared);
        // 0 1 _ _ 4 5 and the gap, number 7, shown ahead of its place; 6 comes later.
        let batch = [&lines[..2], &lines[4..6], std::slice::from_ref(&declared)].concat();
        let answer = send(&t, sidecar.source, &batch).await.answer;
        assert_eq!((answer.accepted, answer.violations, answer.acks[0].seq), (4, 0, 5));
        let found = verify(&t.store, tenant, 0, None).await.unwrap();
        assert_eq!((found.fault_count, found.faults[0].kind), (1, FaultKind::Missing));
        let rest = [&lines[6..], std::slice::from_ref(&declared)].concat();
        let answer = send(&t, sidecar.source, &rest).await.answer;
        assert_eq!((answer.accepted, answer.violations, answer.acks[0].seq), (2, 0, 7));
        assert_eq!(kinds(&t, tenant).await, []);
        let found = verify(&t.store, tenant, 0, None).await.unwrap();
        assert_eq!((found.fault_count, found.losses.entries), (0, 2));
        let loss = &found.losses.list[0];
        assert_eq!((loss.boot, loss.from, loss.to, loss.why.as_str()), (sidecar.boot, 2, 3, "disk"));
    }

    async fn a_gap_declared_by_the_next_boot_ends_the_chain_before(t: TestStore) {
        let tenant = t.tenant().await;
        let mut first = TestSidecar::enrol(&t, tenant).await;
        let lines = first.run(6);
        send(&t, first.source, &lines[..2]).await;
        let identity = PrivateKey::from_seed(&first.identity.seed());
        let mut second = TestSidecar::boot(first.source, tenant, identity);
        let gap = Gap { lost_boot: first.boot, from: 2, to: 4, why: "disk".into() };
        let open = second.open();
        let entries = [second.next(open), second.next(Body::Gap(gap))];
        let batch = [&lines[5..], &second.lines(&entries)].concat();
        let answer = send(&t, first.source, &batch).await.answer;
        assert_eq!((answer.accepted, answer.violations), (4, 0));
        assert_eq!(seqs(&t, tenant, first.boot).await, [0, 1, 5, 6]);
        let found = verify(&t.store, tenant, 0, None).await.unwrap();
        assert_eq!((found.fault_count, found.losses.entries), (0, 3));
    }

    async fn a_gap_that_is_declared_late_settles_its_violation(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(4);
        send(&t, sidecar.source, &lines[..2]).await;
        send(&t, sidecar.source, &lines[3..]).await;
        t.clock.advance(GAP_HOLD);
        send(&t, sidecar.source, &lines[3..]).await;
        assert_eq!(kinds(&t, tenant).await, [(ViolationKind::Gap, false)]);
        let gap = Gap { lost_boot: sidecar.boot, from: 2, to: 2, why: "disk".into() };
        let declared = sidecar.next(Body::Gap(gap));
        send(&t, sidecar.source, &[sidecar.line(&declared)]).await;
        assert_eq!(kinds(&t, tenant).await, [(ViolationKind::Gap, true)]);
        assert_eq!(verify(&t.store, tenant, 0, None).await.unwrap().fault_count, 0);
    }

    async fn a_poisoned_entry_is_kept_and_holds_its_chain_only_for_a_while(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let mut lines = sidecar.run(3);
        let text = String::from_utf8(lines[2].clone()).unwrap();
        lines[2] = text.replace("because", "becausE").into_bytes();
        let held = send(&t, sidecar.source, &lines).await;
        assert_eq!((held.answer.accepted, held.answer.acks[0].seq), (2, 1));
        assert_eq!(held.violations, [(tenant, ViolationKind::BadSignature)]);
        t.clock.advance(POISON_HOLD);
        send(&t, sidecar.source, &lines).await;
        // The entry after it was chained onto other bytes: it waits too, then the chain is free.
        t.clock.advance(POISON_HOLD);
        let freed = send(&t, sidecar.source, &lines).await;
        assert_eq!(freed.answer.acks[0].seq, 3);
        let next = sidecar.next(decision(Decision::Allow, Outcome::Executed));
        assert_eq!(send(&t, sidecar.source, &[sidecar.line(&next)]).await.answer.accepted, 1);
    }

    async fn unreadable_lines_are_kept(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(1);
        let answer = send(&t, sidecar.source, &[lines[0].clone(), b"{\"no\":1}\n".to_vec(), lines[1].clone()]).await;
        assert_eq!((answer.answer.accepted, answer.answer.violations), (2, 1));
        assert_eq!(answer.violations, [(tenant, ViolationKind::Undecodable)]);
    }

    async fn nobody_speaks_for_another_tenant_or_source(t: TestStore) {
        let (tenant, victim) = (t.tenant().await, t.tenant().await);
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let identity = PrivateKey::from_seed(&sidecar.identity.seed());
        let mut abroad = TestSidecar::boot(sidecar.source, victim, identity);
        let answer = send(&t, sidecar.source, &abroad.run(1)).await;
        assert_eq!(answer.violations, [(tenant, ViolationKind::ForeignTenant); 2]);
        assert_eq!(seqs(&t, victim, abroad.boot).await, [0_u64; 0]);
        let other = TestSidecar::enrol(&t, tenant).await;
        let answer = send(&t, other.source, &sidecar.run(1)).await;
        assert_eq!(answer.violations, [(tenant, ViolationKind::ForeignSource); 2]);
        assert_eq!(seqs(&t, tenant, sidecar.boot).await, [0_u64; 0]);
    }

    async fn a_boot_that_the_identity_key_does_not_vouch_for_is_refused(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        sidecar.identity = PrivateKey::generate(&SystemEntropy);
        let answer = send(&t, sidecar.source, &sidecar.run(1)).await;
        assert_eq!((answer.answer.accepted, answer.violations[0].1), (0, ViolationKind::BadOpen));
        let mut headless = TestSidecar::enrol(&t, tenant).await;
        let lines = headless.run(1);
        let answer = send(&t, headless.source, &lines[1..]).await;
        assert_eq!((answer.answer.accepted, answer.violations[0].1), (0, ViolationKind::UnknownBoot));
        assert_eq!(send(&t, headless.source, &lines).await.answer.accepted, 2);
    }

    async fn a_signature_of_another_key_is_refused(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let open = sidecar.run(0);
        let entry = sidecar.next(decision(Decision::Allow, Outcome::Executed));
        sidecar.boot_key = PrivateKey::generate(&SystemEntropy);
        let answer = send(&t, sidecar.source, &[open[0].clone(), sidecar.line(&entry)]).await;
        assert_eq!(answer.violations, [(tenant, ViolationKind::BadSignature)]);
    }

    async fn an_outcome_settles_its_decision_and_the_rollup(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let mut lines = sidecar.run(1);
        let pending = decision(Decision::Allow, Outcome::Pending);
        let entries: Vec<Entry> = [pending.clone(), outcome_of(&pending, Outcome::Failed, 25), outcome_of(&pending, Outcome::Executed, 99)]
            .into_iter()
            .map(|body| sidecar.next(body))
            .collect();
        lines.extend(sidecar.lines(&entries));
        send(&t, sidecar.source, &lines).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let sql = "SELECT outcome, cost_micro_usd FROM audit_rows WHERE kind = 'decision' ORDER BY idx";
        let rows = db.fetch_all(Sql::new(sql)).await.unwrap();
        assert_eq!(rows[1].get::<String>("outcome").unwrap(), "failed");
        assert_eq!(rows[1].get::<u64>("cost_micro_usd").unwrap(), 25);
        let row = db.fetch_one(Sql::new("SELECT * FROM rollup_hourly")).await.unwrap();
        let sums: Vec<i64> = ["calls", "executed", "failed", "pending", "cost_micro_usd", "risk_sum", "risk_medium"]
            .iter()
            .map(|name| row.get(name).unwrap())
            .collect();
        assert_eq!(sums, [2, 1, 1, 0, 35, 84, 2]);
    }

    async fn salts_are_sealed_and_die_with_their_month(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let open = sidecar.run(0);
        let entry = sidecar.next(decision(Decision::Allow, Outcome::Executed));
        send(&t, sidecar.source, &[open[0].clone(), sidecar.line(&entry)]).await;
        let id = entry.header.audit_id;
        let mut db = t.store.read(tenant).await.unwrap();
        assert_eq!(salt::get(&mut db, &t.store, tenant, id).await.unwrap(), Some([7; 32]));
        let sealed: Vec<u8> = db.fetch_one(Sql::new("SELECT sealed FROM ledger_salts")).await.unwrap().get("sealed").unwrap();
        assert!(!sealed.windows(32).any(|w| w == [7; 32]));
        drop(db);
        let mut tx = t.store.upkeep().await.unwrap();
        tx.execute(Sql::new("DELETE FROM salt_keys")).await.unwrap();
        tx.commit().await.unwrap();
        let mut db = t.store.read(tenant).await.unwrap();
        assert_eq!(salt::get(&mut db, &t.store, tenant, id).await.unwrap(), None);
    }

    async fn a_revoked_sidecar_is_not_heard(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let lines = sidecar.run(1);
        let mut tx = t.store.write(tenant).await.unwrap();
        crate::source::revoke(&mut tx, sidecar.source).await.unwrap();
        tx.record(crate::testing::admin("source.revoke", "source")).await.unwrap().commit().await.unwrap();
        let refused = ingest(&t.store, sidecar.source, lines.concat()).await;
        assert!(matches!(refused, Err(StoreError::Conflict { reason: "revoked", .. })));
    }
}

/// Deliveries in any order, with repetitions, some by transactions that die before their commit: whose, from which
/// entry on, how many, and whether the process dies.
fn deliveries() -> impl Strategy<Value = Vec<(usize, usize, usize, bool)>> {
    prop::collection::vec((0..3_usize, 0..24_usize, 1..8_usize, prop::bool::weighted(0.2)), 1..36)
}

/// Two boots of one source and one of another.
async fn writers(t: &TestStore, tenant: TenantId) -> [TestSidecar; 3] {
    let first = TestSidecar::enrol(t, tenant).await;
    let second = TestSidecar::boot(first.source, tenant, PrivateKey::from_seed(&first.identity.seed()));
    [first, second, TestSidecar::enrol(t, tenant).await]
}

async fn any_interleaving_holds_each_entry_once(t: &TestStore, deliveries: &[(usize, usize, usize, bool)]) {
    let tenant = t.tenant().await;
    let mut writers = writers(t, tenant).await;
    let lines = writers.each_mut().map(|writer| writer.run(23));
    for (by, from, count, dies) in deliveries {
        let (writer, lines) = (&writers[*by], &lines[*by]);
        let mut part = lines[*from..(from + count).min(lines.len())].to_vec();
        if count % 2 == 0 {
            part.reverse();
        }
        if *dies {
            super::ingest::ingest_and_die(&t.store, writer.source, part.concat()).await.unwrap();
        } else {
            send(t, writer.source, &part).await;
        }
        let have = seqs(t, tenant, writer.boot).await;
        assert_eq!(have, (0..have.len() as u64).collect::<Vec<_>>());
    }
    for (writer, lines) in writers.iter().zip(&lines) {
        send(t, writer.source, lines).await;
        assert_eq!(seqs(t, tenant, writer.boot).await, (0..24).collect::<Vec<_>>());
    }
    let found = verify(&t.store, tenant, 0, None).await.unwrap();
    assert_eq!((found.fault_count, found.losses.entries), (0, 0), "{:?}", found.faults);
    assert!(
        kinds(t, tenant)
            .await
            .iter()
            .all(|(kind, settled)| { matches!(kind, ViolationKind::Gap | ViolationKind::UnknownBoot) && *settled })
    );
    t.clock.advance(Duration::from_secs(1));
}

fn interleavings(open: impl Future<Output = TestStore>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let t = runtime.block_on(open);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(deliveries in deliveries())| {
        runtime.block_on(any_interleaving_holds_each_entry_once(&t, &deliveries));
    });
    assert!(t.store.now() > START);
}

#[test]
fn any_interleaving_holds_each_entry_once_on_sqlite() {
    interleavings(TestStore::sqlite());
}

#[test]
fn any_interleaving_holds_each_entry_once_on_postgres() {
    interleavings(TestStore::postgres());
}
