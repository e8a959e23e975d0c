//! Checkpoints, tiles, proofs and daily roots through the router, verified as a stranger would.

use std::time::Duration;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::principal::Role;
use aegis_ledger::checkpoint::Checkpoint;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::note::VerifierKey;
use aegis_ledger::proof::{verify_consistency, verify_inclusion};
use aegis_ledger::tile::unbundle;
use aegis_store::ledger::ingest::ingest;
use aegis_store::testing::START;
use aegis_store::testing::sidecar::{TestSidecar, decision_of};
use http::StatusCode;
use serde_json::{Value, json};

use crate::testing::TestApi;

const DAY: Duration = Duration::from_hours(24);

/// A control plane with a few calls, published; the calls' ids.
async fn published(calls: usize) -> (TestApi, Vec<String>) {
    let api = TestApi::start().await;
    let mut sidecar = TestSidecar::enrol(&api.store, api.tenant).await;
    let mut bodies = vec![sidecar.open()];
    let agent = aegis_core::id::AgentId::from_uuid(uuid::Uuid::from_u128(1));
    bodies.extend((0..calls).map(|_| decision_of(agent, START, Decision::Allow, Outcome::Executed)));
    let entries: Vec<_> = bodies.into_iter().map(|body| sidecar.next(body)).collect();
    for part in entries.chunks(64) {
        ingest(&api.store.store, sidecar.source, sidecar.lines(part).concat()).await.unwrap();
    }
    publish(&api).await;
    let ids = entries.iter().filter_map(|entry| match &entry.body {
        aegis_ledger::entry::Body::Decision(row) => Some(row.execution_id.to_string()),
        _ => None,
    });
    (api, ids.collect())
}

async fn publish(api: &TestApi) {
    for (_, outcome) in api.app.publisher.turn().await.unwrap() {
        outcome.unwrap();
    }
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(|h| Hash::parse(h.as_str().unwrap()).unwrap()).collect()
}

fn hash_of(value: &Value) -> Hash {
    Hash::parse(value.as_str().unwrap()).unwrap()
}

/// The checkpoint as a stranger reads it: with the verifier key that the ledger introduced.
async fn checkpoint(api: &TestApi) -> Checkpoint {
    let (status, note) = api.fetch(None, &format!("/transparency/log/{}/checkpoint", api.tenant)).await;
    assert_eq!(status, StatusCode::OK);
    let (_, keys) = api.fetch(None, &format!("/transparency/keys?tenant_id={}", api.tenant)).await;
    let keys: Value = serde_json::from_slice(&keys).unwrap();
    let key: VerifierKey = keys["data"]["keys"][0]["verifier_key"].as_str().unwrap().parse().unwrap();
    assert_eq!(keys["data"]["keys"][0]["introduced_by"]["entry"]["kind"], "key");
    Checkpoint::open(std::str::from_utf8(&note).unwrap(), &key).unwrap()
}

#[tokio::test]
async fn a_stranger_rebuilds_the_tree_from_tiles() {
    let (api, _) = published(300).await;
    let checkpoint = checkpoint(&api).await;
    let rest = checkpoint.size - 256;
    let log = format!("/transparency/log/{}/tile", api.tenant);
    let mut bytes = api.fetch(None, &format!("{log}/0/000")).await.1;
    bytes.extend(api.fetch(None, &format!("{log}/0/001.p/{rest}")).await.1);
    let leaves: Vec<Hash> = bytes.as_chunks::<32>().0.iter().map(|h| Hash::from_bytes(*h)).collect();
    assert_eq!(hash::root(&leaves), checkpoint.root);
    let (_, upper) = api.fetch(None, &format!("{log}/1/000.p/1")).await;
    assert_eq!(upper, hash::root(&leaves[..256]).as_bytes());
    let auditor = api.user(Role::Auditor);
    let (status, bundle) = api.fetch(Some(&auditor), &format!("{log}/entries/000")).await;
    assert_eq!(status, StatusCode::OK);
    let entries: Vec<Hash> = unbundle(&bundle).unwrap().into_iter().map(hash::leaf).collect();
    assert_eq!(entries, leaves[..256]);
    for (who, path, status) in [
        (None, format!("{log}/entries/000"), StatusCode::UNAUTHORIZED),
        (Some(api.user(Role::Viewer)), format!("{log}/entries/000"), StatusCode::FORBIDDEN),
        (Some(api.user_of(api.other, Role::Auditor)), format!("{log}/entries/000"), StatusCode::NOT_FOUND),
        (None, format!("{log}/0/001"), StatusCode::NOT_FOUND),
        (None, format!("{log}/0/001.p/{}", rest + 1), StatusCode::NOT_FOUND),
        (None, format!("{log}/0/0"), StatusCode::NOT_FOUND),
        (None, format!("{log}/x/000"), StatusCode::NOT_FOUND),
        (None, format!("/transparency/log/{}/checkpoint", uuid::Uuid::nil()), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(api.fetch(who.as_ref(), &path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn proofs_of_calls_lead_to_the_checkpoint() {
    let (api, calls) = published(40).await;
    let (checkpoint, who) = (checkpoint(&api).await, api.user(Role::Auditor));
    for call in &calls {
        let (_, answer) = api.get(&who, &format!("/transparency/inclusion/{call}")).await;
        let data = &answer["data"];
        let (index, size) = (data["index"].as_u64().unwrap(), data["tree_size"].as_u64().unwrap());
        let (leaf, proof) = (hash_of(&data["leaf_hash"]), hashes(&data["hashes"]));
        assert_eq!((size, hash_of(&data["root"])), (checkpoint.size, checkpoint.root));
        assert_eq!(verify_inclusion(leaf, index, size, &proof, checkpoint.root), Ok(()));
    }
    for (from, to) in [(0, checkpoint.size), (1, 7), (32, 33), (checkpoint.size, checkpoint.size)] {
        let (_, answer) = api.get(&who, &format!("/transparency/consistency?from_size={from}&to_size={to}")).await;
        let data = &answer["data"];
        assert_eq!(data["consistent"], true, "{answer}");
        let (old, new) = (hash_of(&data["from_root"]), hash_of(&data["to_root"]));
        assert_eq!(verify_consistency((from, old), (to, new), &hashes(&data["proof"])), Ok(()));
    }
    for (query, error) in [
        ("from_size=0&to_size=100000", "not_yet_published"),
        ("from_size=5&to_size=4", "validation_failed"),
        ("from_size=5", "validation_failed"),
        ("from_date=2024-01-01&to_size=5", "validation_failed"),
        ("from_date=2024-01-01&to_date=2024-01-02", "not_found"),
        ("from_date=01.01.2024&to_date=2024-01-02", "validation_failed"),
    ] {
        let (_, answer) = api.get(&who, &format!("/transparency/consistency?{query}")).await;
        assert_eq!(answer["error"], error, "{query}");
    }
}

#[tokio::test]
async fn a_receipt_with_its_proof_verifies_and_every_change_of_it_does_not() {
    let (api, calls) = published(9).await;
    let who = api.user(Role::Auditor);
    let (_, answer) = api.get(&who, &format!("/receipts/{}", calls[3])).await;
    let data = &answer["data"];
    assert_eq!((&data["inclusion_reason"], &data["receipt"]["level"]), (&Value::Null, &json!("published")));
    let mut archived = data["receipt"].clone();
    for field in ["index", "inclusion", "checkpoint"] {
        archived[field] = data[field].clone();
    }
    let (_, verdict) = api.post(&who, "/receipts/verify", json!({ "receipt": archived })).await;
    let claims = json!({ "integrity": "ok", "origin": "ok", "included": "ok", "consistent": "ok" });
    assert_eq!((&verdict["data"]["valid"], &verdict["data"]["claims"]), (&json!(true), &claims), "{verdict}");
    let note = archived["checkpoint"].as_str().unwrap();
    let changes: [(&str, Value, &str); 6] = [
        ("/index", json!(1), "included"),
        ("/inclusion/hashes/0", json!(Hash::of(&[b"other"])), "included"),
        ("/inclusion/hashes", json!([]), "included"),
        ("/inclusion/tree_size", json!(3), "included"),
        ("/checkpoint", json!(note.replacen("local", "other", 1)), "included"),
        ("/entry/tool", json!("fs.write"), "integrity"),
    ];
    for (pointer, value, claim) in changes {
        let mut forged = archived.clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        let (_, verdict) = api.post(&who, "/receipts/verify", json!({ "receipt": forged })).await;
        assert_eq!(
            (&verdict["data"]["valid"], &verdict["data"]["claims"][claim]),
            (&json!(false), &json!("failed")),
            "{pointer}"
        );
    }
    // It verifies as well when the log has grown.
    publish_later(&api).await;
    let (_, verdict) = api.post(&who, "/receipts/verify", json!({ "receipt": archived })).await;
    assert_eq!(verdict["data"]["claims"], claims, "{verdict}");
}

async fn publish_later(api: &TestApi) {
    api.app.publisher.seal_days().await.unwrap();
    let entry = aegis_store::testing::admin("later", "x");
    let tx = api.store.store.write(api.tenant).await.unwrap().record(entry).await.unwrap();
    tx.commit().await.unwrap();
    publish(api).await;
}

#[tokio::test]
async fn days_are_computed_chained_and_verified() {
    let (api, _) = published(5).await;
    let who = api.user(Role::Security);
    let (status, early) = api.call(&who, http::Method::POST, "/transparency/compute?root_date=2024-01-01", None).await;
    assert_eq!((status, &early["error"]), (StatusCode::CONFLICT, &json!("day_not_complete")));
    api.store.clock.advance(DAY * 3);
    let who = api.user(Role::Security);
    let (status, done) = api.call(&who, http::Method::POST, "/transparency/compute", None).await;
    assert_eq!((status, &done["data"]["root_date"]), (StatusCode::OK, &json!("2024-01-03")), "{done}");
    let (_, roots) = api.get(&who, "/transparency/roots").await;
    let dates: Vec<_> = roots["data"].as_array().unwrap().iter().map(|r| r["root_date"].clone()).collect();
    assert_eq!(dates, ["2024-01-03", "2024-01-02", "2024-01-01"]);
    let first = &roots["data"][2];
    assert_eq!(api.get(&who, "/transparency/roots/2024-01-01").await.1["data"], *first);
    assert_eq!(api.get(&who, "/transparency/roots/2023-12-31").await.0, StatusCode::NOT_FOUND);
    assert!(first["leaf_count"].as_u64().unwrap() > 5);
    assert_eq!(first["signed"]["receipt"]["prev_root_hash"], Value::Null);
    publish(&api).await;

    let verify = |statement: Value| api.post(&who, "/transparency/verify-root", json!({ "statement": statement }));
    let (_, verdict) = verify(roots["data"][1]["signed"].clone()).await;
    let claims = json!({ "integrity": "ok", "origin": "ok", "chained": "ok", "consistent": "ok" });
    assert_eq!((&verdict["data"]["valid"], &verdict["data"]["claims"]), (&json!(true), &claims), "{verdict}");
    let (_, stored) =
        api.post(&who, "/transparency/verify-root", json!({ "date": "2024-01-02", "tenant_id": api.tenant })).await;
    assert_eq!(stored["data"], verdict["data"]);
    for (pointer, value) in [
        ("/receipt/root_hash", json!("00")),
        ("/receipt/leaf_count", json!(7)),
        ("/receipt/root_date", json!("2024-01-03")),
        ("/receipt/tenant_id", json!(api.other)),
        ("/signature", json!("AAAA")),
        ("/public_key_fingerprint", json!("0".repeat(32))),
    ] {
        let mut forged = roots["data"][1]["signed"].clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        assert_eq!(verify(forged).await.1["data"]["valid"], false, "{pointer}");
    }
    let (_, note) = api.fetch(None, &format!("/transparency/log/{}/checkpoint", api.tenant)).await;
    let (_, verdict) = verify(json!(String::from_utf8(note).unwrap())).await;
    assert_eq!(verdict["data"]["valid"], true, "{verdict}");

    let (_, answer) = api.get(&who, "/transparency/consistency?from_date=2024-01-01&to_date=2024-01-03").await;
    let data = &answer["data"];
    assert_eq!((&data["consistent"], data["chain"].as_array().unwrap().len()), (&json!(true), 3), "{answer}");
    let sizes = [&data["from_size"], &data["to_size"]].map(|s| s.as_u64().unwrap());
    let (old, new) = (hash_of(&data["from_root"]), hash_of(&data["to_root"]));
    assert_eq!(verify_consistency((sizes[0], old), (sizes[1], new), &hashes(&data["proof"])), Ok(()));

    // The whole ledger agrees with every checkpoint and every day.
    let (_, verified) = api.get(&who, "/audit/logs/verify").await;
    assert_eq!((&verified["data"]["valid"], &verified["data"]["complete"]), (&json!(true), &json!(true)), "{verified}");
    assert!(verified["data"]["roots_checked"].as_u64().unwrap() >= 5, "{verified}");
}
