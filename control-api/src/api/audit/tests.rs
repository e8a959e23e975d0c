//! The audit log and receipts through the router, over rows that a sidecar delivered.

use aegis_core::decision::{Decision, Outcome};
use aegis_core::id::AgentId;
use aegis_core::principal::Role;
use aegis_ledger::entry::{Body, Entry};
use aegis_store::ledger::ingest::ingest;
use aegis_store::testing::START;
use aegis_store::testing::sidecar::{TestSidecar, decision_of, outcome_of};
use http::StatusCode;
use serde_json::{Value, json};

use crate::testing::{TestApi, wrong_fields};

/// Three calls of one agent, one of another: allowed, killed, settled later.
pub(super) async fn with_rows() -> (TestApi, Vec<Entry>) {
    let api = TestApi::start().await;
    let mut sidecar = TestSidecar::enrol(&api.store, api.tenant).await;
    let (one, two) = (agent(1), agent(2));
    let pending = decision_of(one, START, Decision::Allow, Outcome::Pending);
    let bodies = [
        sidecar.open(),
        decision_of(one, START, Decision::Allow, Outcome::Executed),
        decision_of(one, START, Decision::Kill, Outcome::NotExecuted),
        decision_of(two, START, Decision::Allow, Outcome::Executed),
        pending.clone(),
        outcome_of(&pending, Outcome::Failed, 5),
    ];
    let entries: Vec<Entry> = bodies.into_iter().map(|body| sidecar.next(body)).collect();
    ingest(&api.store.store, sidecar.source, sidecar.lines(&entries).concat()).await.unwrap();
    (api, entries)
}

fn agent(n: u128) -> AgentId {
    AgentId::from_uuid(uuid::Uuid::from_u128(n))
}

fn execution(entry: &Entry) -> String {
    let Body::Decision(row) = &entry.body else { panic!("not a decision") };
    row.execution_id.to_string()
}

#[tokio::test]
async fn rows_are_listed_newest_first_and_paged() {
    let (api, entries) = with_rows().await;
    let who = api.user(Role::Auditor);
    let (status, all) = api.get(&who, "/audit/logs").await;
    assert_eq!((status, &all["data"]["total"], &all["meta"]["total"]), (StatusCode::OK, &json!(4), &json!(4)));
    let ids: Vec<&Value> = all["data"]["items"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
    let written: Vec<Value> = [4, 3, 2, 1].map(|i| json!(entries[i].header.audit_id)).into();
    assert_eq!(ids, written.iter().collect::<Vec<_>>());
    assert_eq!(all["data"]["items"][0]["metadata_json"]["outcome"], "failed");
    let (_, first) = api.get(&who, "/audit/logs?limit=3").await;
    let path = format!("/audit/logs?limit=3&cursor={}", first["meta"]["next_cursor"].as_str().unwrap());
    let (_, rest) = api.get(&who, &path).await;
    assert_eq!(rest["data"]["items"], json!([all["data"]["items"][3]]));
    let (_, killed) = api.get(&who, &format!("/audit/logs?decision=KILL&agent_id={}", agent(1))).await;
    assert_eq!((&killed["data"]["total"], &killed["data"]["items"][0]["decision"]), (&json!(1), &json!("KILL")));
    let (status, wrong) = api.get(&who, "/audit/logs?limit=501").await;
    assert_eq!((status, wrong_fields(&wrong)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["query.limit".to_owned()]));
    assert_eq!(api.get(&api.user(Role::Viewer), "/audit/logs").await.0, StatusCode::FORBIDDEN);
    assert_eq!(api.get(&api.user_of(api.other, Role::Admin), "/audit/logs").await.1["data"]["total"], 0);
}

#[tokio::test]
async fn a_search_narrows_by_every_field() {
    let (api, entries) = with_rows().await;
    let who = api.user(Role::Auditor);
    for (body, total) in [
        (json!({}), 4),
        (json!({ "tool": "db.query", "decision": "KILL" }), 1),
        (json!({ "end_date": START.to_string() }), 0),
        (json!({ "start_date": START.to_string() }), 4),
        (json!({ "metadata_filter": { "outcome": "failed" } }), 1),
        (json!({ "metadata_filter": { "finding": "sql_injection", "text": "BECAU" } }), 4),
        (json!({ "metadata_filter": { "execution_id": execution(&entries[2]) } }), 1),
        (json!({ "metadata_filter": { "kind": "outcome" } }), 1),
        (json!({ "metadata_filter": { "risk_min": 43 } }), 0),
    ] {
        let (status, found) = api.post(&who, "/audit/logs/search", body.clone()).await;
        assert_eq!((status, &found["data"]["total"]), (StatusCode::OK, &json!(total)), "{body}");
    }
    for body in [json!({ "limit": 101 }), json!({ "metadata_filter": { "colour": 1 } }), json!({ "decision": "MAYBE" })]
    {
        let (status, _) = api.post(&who, "/audit/logs/search", body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

#[tokio::test]
async fn the_summary_counts_what_the_rows_say() {
    let (api, _) = with_rows().await;
    let (status, answer) = api.get(&api.user(Role::Viewer), "/audit/logs/summary").await;
    let data = &answer["data"];
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&data["total_calls"], &data["total_denials"], &data["allowed_requests"]),
        (&json!(4), &json!(1), &json!(3))
    );
    assert_eq!((&data["most_used_tool"], &data["active_agents_count"]), (&json!("db.query"), &json!(2)));
    assert_eq!((&data["avg_risk_score"], &data["risk_distribution"]["medium"]), (&json!(42.0), &json!(4)));
    let hours = data["requests_by_hour"].as_array().unwrap();
    assert_eq!((hours.len(), &hours[23]), (24, &json!(4)));
    assert_eq!((&data["metadata"]["denials"]["KILL"], &data["metadata"]["failed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn verification_says_what_it_checked() {
    let (api, _) = with_rows().await;
    let who = api.user(Role::Auditor);
    let (status, whole) = api.get(&who, "/audit/logs/verify").await;
    let size = api.entries().await;
    let data = &whole["data"];
    assert_eq!((status, &data["valid"], &data["complete"]), (StatusCode::OK, &json!(true), &json!(true)), "{data}");
    assert_eq!((&data["rows_checked"], &data["checked_to"]), (&json!(size), &json!(size - 1)));
    assert_eq!(data["head"]["root"].as_str().unwrap().len(), 64);
    let (_, part) = api.get(&who, "/audit/logs/verify?from_index=2&to_index=3").await;
    assert_eq!((&part["data"]["valid"], &part["data"]["complete"]), (&json!(true), &json!(false)));
    assert_eq!((&part["data"]["rows_checked"], &part["data"]["head"]["root"]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn a_decision_is_explained_beside_others() {
    let (api, entries) = with_rows().await;
    let who = api.user(Role::Auditor);
    let (status, answer) = api.get(&who, &format!("/audit/logs/{}/explain", entries[2].header.audit_id)).await;
    let data = &answer["data"];
    assert_eq!((status, &data["decision"], &data["risk_score"]), (StatusCode::OK, &json!("KILL"), &json!(42)));
    assert_eq!((&data["findings"], &data["policy_context"]["framework"]), (&json!(["sql_injection"]), &json!("OPA")));
    assert_eq!(data["timeline"].as_array().unwrap().len(), 2);
    assert!(data["explanation"].as_str().unwrap().ends_with("because"));
    for other in [entries[0].header.audit_id.to_string(), agent(9).to_string()] {
        assert_eq!(api.get(&who, &format!("/audit/logs/{other}/explain")).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_receipt_verifies_and_every_change_of_it_does_not() {
    let (api, entries) = with_rows().await;
    let who = api.user(Role::Auditor);
    let (status, answer) = api.get(&who, &format!("/receipts/{}", execution(&entries[1]))).await;
    let data = &answer["data"];
    assert_eq!((status, &data["inclusion"], &data["checkpoint"]), (StatusCode::OK, &Value::Null, &Value::Null));
    let receipt = data["receipt"].clone();
    assert!(receipt["input_salt"].is_string());
    let (_, verdict) = api.post(&who, "/receipts/verify", json!({ "receipt": receipt })).await;
    let claims = json!({ "integrity": "ok", "origin": "ok", "included": "not_checked", "consistent": "not_checked" });
    assert_eq!((&verdict["data"]["valid"], &verdict["data"]["claims"]), (&json!(true), &claims), "{verdict}");
    let (_, viewed) = api.get(&api.user(Role::Viewer), &format!("/receipts/{}", execution(&entries[1]))).await;
    assert_eq!(viewed["data"]["receipt"]["input_salt"], Value::Null);
    let changes: [(&str, Value); 5] = [
        ("/entry/tool", json!("fs.write")),
        ("/entry/seq", json!(2)),
        ("/entry/boot", json!(agent(7))),
        ("/key_id", json!("0".repeat(32))),
        ("/signature", json!("AAAA")),
    ];
    for (pointer, value) in changes {
        let mut forged = receipt.clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        let (_, verdict) = api.post(&who, "/receipts/verify", json!({ "receipt": forged })).await;
        assert_eq!(verdict["data"]["valid"], false, "{pointer}");
        assert!(!verdict["data"]["errors"].as_array().unwrap().is_empty(), "{pointer}");
    }
    let key = api.get(&who, &format!("/receipts/key?key_id={}", receipt["key_id"].as_str().unwrap())).await;
    assert_eq!((key.0, &key.1["data"]["fingerprint"]), (StatusCode::OK, &receipt["key_id"]));
    assert_eq!(api.get(&who, "/receipts/key").await.1["data"]["algorithm"], "ed25519");
    let foreign = api.user_of(api.other, Role::Admin);
    assert_eq!(api.get(&foreign, &format!("/receipts/{}", execution(&entries[1]))).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn notes_are_entries_that_stay_and_are_listed_oldest_first() {
    let (api, entries) = with_rows().await;
    let (analyst, auditor) = (api.user(Role::Security), api.user(Role::Auditor));
    let path = format!("/audit/logs/{}/notes", entries[2].header.audit_id);
    let before = api.entries().await;
    let (status, first) = api.post(&analyst, &path, json!({ "body": "  looked into it \n" })).await;
    assert_eq!((status, &first["data"]["body"]), (StatusCode::CREATED, &json!("looked into it")), "{first}");
    assert_eq!(first["data"]["created_by"], format!("user:{}", analyst.user));
    let more = json!({ "note_type": "false_positive", "body": "planned" });
    assert_eq!(api.post(&analyst, &path, more).await.0, StatusCode::CREATED);
    let (_, listed) = api.get(&auditor, &path).await;
    assert_eq!((&listed["data"][0], listed["data"].as_array().unwrap().len()), (&first["data"], 2));
    assert_eq!(listed["data"][1]["note_type"], "false_positive");
    assert!(api.entries().await >= before + 2);
    let (_, chain) = api.get(&auditor, "/audit/logs/verify").await;
    assert_eq!(chain["data"]["valid"], true, "{chain}");
    for (body, field) in [
        (json!({ "body": " " }), "body.body"),
        (json!({}), "body.body"),
        (json!({ "body": "x", "note_type": "rumour" }), "body.note_type"),
        (json!({ "body": "x", "created_by": "someone else" }), "body.created_by"),
    ] {
        let (status, answer) = api.post(&analyst, &path, body).await;
        assert_eq!((status, wrong_fields(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, vec![field.to_owned()]));
    }
    assert_eq!(api.post(&auditor, &path, json!({ "body": "x" })).await.0, StatusCode::FORBIDDEN);
    let foreign = api.user_of(api.other, Role::Admin);
    assert_eq!(api.get(&foreign, &path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.post(&foreign, &path, json!({ "body": "x" })).await.0, StatusCode::NOT_FOUND);
}
