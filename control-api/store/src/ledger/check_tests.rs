//! Every way of tampering with the database is seen by verification.

use aegis_core::decision::{Decision, Outcome};
use aegis_core::entropy::SystemEntropy;
use aegis_core::id::TenantId;
use aegis_ledger::hash;
use aegis_ledger::signing::PrivateKey;
use aegis_ledger::verify::FaultKind;

use super::check::{Verification, verify};
use super::ingest::ingest;
use crate::audit::{self, Filter, Page, RowKind};
use crate::both;
use crate::dialect::Dialect;
use crate::sql::Sql;
use crate::testing::TestStore;
use crate::testing::sidecar::{TestSidecar, decision, outcome_of};
use crate::usage::{self, Window};

/// A tenant with two sidecars' rows in several batches: 3 entries of the control plane at first, and some between.
async fn ledger(t: &TestStore) -> TenantId {
    let tenant = t.tenant().await;
    let mut first = TestSidecar::enrol(t, tenant).await;
    let mut second = TestSidecar::enrol(t, tenant).await;
    let mut lines = first.run(70);
    let pending = decision(Decision::Allow, Outcome::Pending);
    let outcome = outcome_of(&pending, Outcome::Executed, 11);
    let entries = [first.next(pending), first.next(outcome)];
    lines.extend(first.lines(&entries));
    ingest(&t.store, first.source, lines.concat()).await.unwrap();
    ingest(&t.store, second.source, second.run(5).concat()).await.unwrap();
    tenant
}

async fn tamper(t: &TestStore, statement: &'static str) {
    let mut tx = t.store.upkeep().await.unwrap();
    let thaw: &[&str] = match tx.dialect() {
        Dialect::Sqlite => &["DROP TRIGGER ledger_entries_no_update", "DROP TRIGGER ledger_entries_no_delete"],
        // The control plane's own role cannot do this: it takes the owner.
        Dialect::Postgres => &["SET LOCAL ROLE aegis", "DROP TRIGGER ledger_entries_frozen ON ledger_entries"],
    };
    for text in thaw {
        tx.execute(Sql::new(text)).await.unwrap();
    }
    assert_eq!(tx.execute(Sql::new(statement)).await.unwrap(), 1, "{statement}");
    tx.commit().await.unwrap();
}

async fn kinds(t: &TestStore, tenant: TenantId) -> Vec<(Option<u64>, FaultKind)> {
    let found = verify(&t.store, tenant, 0, None).await.unwrap();
    assert_eq!(found.fault_count, found.faults.len() as u64);
    found.faults.into_iter().map(|f| (f.index, f.kind)).collect()
}

async fn sound(t: &TestStore, tenant: TenantId) -> Verification {
    let found = verify(&t.store, tenant, 0, None).await.unwrap();
    assert_eq!(found.faults, []);
    found
}

both! {
    async fn an_honest_ledger_verifies_whole_and_in_parts(t: TestStore) {
        let tenant = ledger(&t).await;
        let whole = sound(&t, tenant).await;
        assert!(whole.complete);
        assert_eq!((whole.checked_from, whole.checked_to), (0, whole.head.size));
        let mut db = t.store.read(tenant).await.unwrap();
        let rows = audit::since(&mut db, tenant, 0, 500).await.unwrap();
        let leaves: Vec<_> = rows.iter().map(|r| r.leaf).collect();
        assert_eq!(whole.root, Some(hash::root(&leaves)));
        for (from, to) in [(1, None), (20, Some(40)), (0, Some(10)), (whole.head.size - 1, None)] {
            let part = verify(&t.store, tenant, from, to).await.unwrap();
            assert_eq!(part.faults, []);
            assert!(!part.complete && part.root.is_none());
            assert_eq!(part.checked_to, to.map_or(whole.head.size, |to| to + 1));
        }
        assert!(verify(&t.store, tenant, whole.head.size, None).await.is_err());
    }

    async fn restarts_and_second_replicas_verify(t: TestStore) {
        let tenant = ledger(&t).await;
        for store in [t.again().await, t.stranger().await, t.stranger().await] {
            let tx = store.write(tenant).await.unwrap().record(crate::testing::admin("x", "y")).await.unwrap();
            tx.commit().await.unwrap();
        }
        sound(&t, tenant).await;
    }

    async fn a_changed_byte_is_seen(t: TestStore) {
        let tenant = ledger(&t).await;
        match t.store.read(tenant).await.unwrap().dialect() {
            Dialect::Sqlite => {
                tamper(&t, "UPDATE ledger_entries SET entry = CAST(REPLACE(CAST(entry AS TEXT), 'because', 'becausE') AS BLOB) WHERE idx = 30").await;
            }
            Dialect::Postgres => {
                tamper(&t, "UPDATE ledger_entries SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'because', 'becausE'), 'UTF8') WHERE idx = 30").await;
            }
        }
        let seen = kinds(&t, tenant).await;
        for kind in [FaultKind::Signature, FaultKind::Leaf, FaultKind::Chain, FaultKind::Projection] {
            assert!(seen.contains(&(Some(30), kind)), "{kind} in {seen:?}");
        }
        assert!(seen.contains(&(Some(31), FaultKind::Prev)), "{seen:?}");
    }

    async fn a_changed_column_is_seen(t: TestStore) {
        for statement in [
            "UPDATE audit_rows SET decision = 'KILL' WHERE idx = 30",
            "UPDATE audit_rows SET reason = 'nothing' WHERE idx = 30",
            "UPDATE audit_rows SET cost_micro_usd = 1 WHERE idx = 30",
            "UPDATE audit_rows SET received_at = 1 WHERE idx = 30",
            "UPDATE audit_rows SET decision = 'MAYBE' WHERE idx = 30",
            "UPDATE audit_rows SET outcome = 'failed' WHERE idx = 30",
            "DELETE FROM audit_rows WHERE idx = 30",
        ] {
            let t = fresh(&t).await;
            let tenant = ledger(&t).await;
            tamper(&t, statement).await;
            assert_eq!(kinds(&t, tenant).await, [(Some(30), FaultKind::Projection)], "{statement}");
        }
    }

    async fn a_forged_outcome_is_seen(t: TestStore) {
        let tenant = ledger(&t).await;
        tamper(&t, "UPDATE audit_rows SET outcome = 'pending', cost_micro_usd = 10, outcome_idx = NULL WHERE outcome_idx IS NOT NULL").await;
        assert_eq!(kinds(&t, tenant).await.iter().map(|k| k.1).collect::<Vec<_>>(), [FaultKind::Projection]);
        let t = fresh(&t).await;
        let tenant = ledger(&t).await;
        tamper(&t, "UPDATE audit_rows SET outcome = 'failed' WHERE outcome_idx IS NOT NULL").await;
        assert_eq!(kinds(&t, tenant).await.iter().map(|k| k.1).collect::<Vec<_>>(), [FaultKind::Projection]);
    }

    async fn a_removed_entry_is_seen(t: TestStore) {
        let tenant = ledger(&t).await;
        tamper(&t, "DELETE FROM ledger_entries WHERE idx = 30").await;
        let seen: Vec<_> = kinds(&t, tenant).await.into_iter().map(|k| k.1).collect();
        for kind in [FaultKind::Index, FaultKind::Missing, FaultKind::Chain, FaultKind::Head] {
            assert!(seen.contains(&kind), "{kind} in {seen:?}");
        }
    }

    async fn a_removed_tail_is_seen(t: TestStore) {
        let tenant = ledger(&t).await;
        let last = sound(&t, tenant).await.head.size - 1;
        assert_eq!(last, 85);
        tamper(&t, "DELETE FROM ledger_entries WHERE idx = 85").await;
        let seen = kinds(&t, tenant).await;
        assert!(seen.iter().any(|k| k.1 == FaultKind::Index), "{seen:?}");
        tamper_head(&t).await;
        assert!(kinds(&t, tenant).await.iter().any(|k| k.1 == FaultKind::Head));
    }

    async fn a_strangers_key_is_seen(t: TestStore) {
        let tenant = ledger(&t).await;
        // Somebody who may write to the database signs anew what a sidecar signed.
        let stranger = PrivateKey::generate(&SystemEntropy);
        let mut db = t.store.read(tenant).await.unwrap();
        let row = audit::since(&mut db, tenant, 30, 1).await.unwrap().remove(0);
        drop(db);
        let signature = stranger.sign_entries(&[row.leaf]).remove(0);
        tamper(&t, "UPDATE ledger_heads SET updated_at = updated_at").await;
        let mut tx = t.store.upkeep().await.unwrap();
        let sql = Sql::new("UPDATE ledger_entries SET signature = $1 WHERE idx = 30");
        tx.execute(sql.bind(serde_json::to_string(&signature).unwrap())).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(kinds(&t, tenant).await, [(Some(30), FaultKind::Signature)]);
    }

    async fn rows_are_found_by_what_they_say(t: TestStore) {
        let tenant = ledger(&t).await;
        let other = ledger(&t).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let page = Page { limit: 50, offset: 0, before: None };
        let all = Filter { kinds: vec![RowKind::Decision], ..Filter::default() };
        let found = audit::list(&mut db, tenant, &all, page).await.unwrap();
        assert_eq!((found.total, found.rows.len()), (76, 50));
        assert!(found.rows.is_sorted_by(|a, b| a.index > b.index));
        let tail = Page { before: Some(found.rows[49].index), ..page };
        assert_eq!(audit::list(&mut db, tenant, &all, tail).await.unwrap().rows.len(), 26);
        let one = audit::get(&mut db, tenant, found.rows[3].audit_id).await.unwrap().unwrap();
        assert_eq!((one.index, one.chain_before), (found.rows[3].index, found.rows[4].chain));
        assert!(audit::get(&mut db, other, one.audit_id).await.unwrap().is_none());
        let execution = one.execution_id.unwrap();
        assert_eq!(audit::by_execution(&mut db, tenant, execution).await.unwrap().unwrap().index, one.index);
        for (filter, total) in [
            (Filter { tool: Some("db.query".into()), ..Filter::default() }, 76),
            (Filter { text: Some("BECAU".into()), ..Filter::default() }, 76),
            (Filter { text: Some("b%e".into()), ..Filter::default() }, 0),
            (Filter { finding: aegis_core::finding::FindingId::parse("sql_injection"), ..all.clone() }, 76),
            (Filter { finding: aegis_core::finding::FindingId::parse("reverse_shell"), ..all.clone() }, 0),
            (Filter { rule_id: Some("rule".into()), ..all.clone() }, 76),
            (Filter { rule_id: Some("rul_".into()), ..all.clone() }, 0),
            (Filter { risk_min: Some(43), ..all.clone() }, 0),
            (Filter { decision: Some(Decision::Kill), ..all.clone() }, 0),
            (Filter { kinds: vec![RowKind::Enrol], ..Filter::default() }, 3),
        ] {
            assert_eq!(audit::list(&mut db, tenant, &filter, page).await.unwrap().total, total, "{filter:?}");
        }
        let sums = usage::total(&mut db, tenant, Window::default()).await.unwrap();
        assert_eq!((sums.calls, sums.executed, sums.pending, sums.cost_micro_usd), (76, 76, 0, 761));
        assert_eq!(usage::by_tool(&mut db, tenant, Window::default()).await.unwrap()[0].0, "db.query");
        assert_eq!(usage::by_hour(&mut db, tenant, Window::default()).await.unwrap().len(), 1);
    }
}

async fn fresh(t: &TestStore) -> TestStore {
    if t.url.starts_with("sqlite") { TestStore::sqlite().await } else { TestStore::postgres().await }
}

async fn tamper_head(t: &TestStore) {
    let mut tx = t.store.upkeep().await.unwrap();
    tx.execute(Sql::new("UPDATE ledger_heads SET size = size - 1")).await.unwrap();
    tx.commit().await.unwrap();
}
