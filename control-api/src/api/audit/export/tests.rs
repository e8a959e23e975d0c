//! Exports through the router.

use aegis_core::principal::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::audit::tests::with_rows;
use crate::testing::{Asker, TestApi};

async fn export(api: &TestApi, who: &Asker, body: Value) -> (u64, String) {
    let (head, bytes) = api.bytes(who, Method::POST, "/audit/export", Some(body)).await;
    assert_eq!(head.status, StatusCode::OK, "{bytes:?}");
    let count = head.headers["x-row-count"].to_str().unwrap().parse().unwrap();
    (count, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn every_form_has_the_rows_it_says() {
    let (api, entries) = with_rows().await;
    let who = api.user(Role::Auditor);
    let size = api.entries().await;
    let (count, csv) = export(&api, &who, json!({})).await;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((count, lines.len() as u64), (size, size + 1));
    assert!(lines[0].starts_with("id,timestamp,tenant_id,agent_id,action,tool,decision"), "{}", lines[0]);
    assert!(csv.contains(&format!("{},", entries[2].header.audit_id)), "{csv}");
    let (count, text) = export(&api, &who, json!({ "format": "json", "action": "execute" })).await;
    let whole: Value = serde_json::from_str(&text).unwrap();
    let rows = whole["rows"].as_array().unwrap();
    assert_eq!((count, &whole["count"], rows.len()), (4, &json!(4), 4));
    let billing: Vec<_> = rows.iter().map(|row| row["billing_status"].as_str().unwrap()).collect();
    assert_eq!(billing, ["billable", "not_billable", "billable", "billable"]);
    assert_eq!(rows[1]["metadata_json"]["risk_score"], 42);
    let agent = rows[2]["agent_id"].clone();
    let (count, text) = export(&api, &who, json!({ "format": "ndjson", "agent_id": agent, "limit": 5 })).await;
    assert_eq!((count, text.lines().count()), (1, 1));
    let (head, bytes) = api.bytes(&who, Method::GET, "/audit/export?limit=3", None).await;
    assert_eq!((head.status, head.headers["content-type"].to_str().unwrap()), (StatusCode::OK, "application/x-ndjson"));
    let rows: Vec<Value> =
        std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["prev_hash"]), (3, &rows[0]["event_hash"]));
    let (_, log) = api.get(&who, "/audit/logs?kind=admin&action=audit.export").await;
    assert_eq!(log["data"]["total"], 4, "each export is an entry");
    assert_eq!(log["data"]["items"][0]["metadata_json"]["detail"]["rows"], 3);
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused_by_name() {
    let (api, _) = with_rows().await;
    let who = api.user(Role::Auditor);
    for format in ["pdf", "parquet"] {
        let (status, answer) = api.post(&who, "/audit/export", json!({ "format": format })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        for supported in ["csv", "json", "ndjson", "evidence"] {
            assert!(answer["meta"]["details"][0]["msg"].as_str().unwrap().contains(supported), "{answer}");
        }
    }
    let (status, _) = api.post(&who, "/audit/export", json!({ "limit": 0 })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.get(&who, "/audit/export?limit=0").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, answer) = api.post(&who, "/audit/export", json!({ "format": "evidence" })).await;
    assert_eq!((status, &answer["error"]), (StatusCode::CONFLICT, &json!("no_checkpoint")));
    let viewer = api.user(Role::Viewer);
    assert_eq!(api.post(&viewer, "/audit/export", json!({})).await.0, StatusCode::FORBIDDEN);
}
