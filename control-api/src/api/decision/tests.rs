//! Decisions and the kill switch through the router.

use aegis_core::principal::Role;
use aegis_store::testing::history;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{TestApi, wrong_fields};

#[tokio::test]
async fn the_switch_is_engaged_once_and_disengaged() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    let path = format!("/decision/kill-switch/{}", api.tenant);
    let (status, fresh) = api.get(&who, &path).await;
    assert_eq!(
        (status, &fresh["data"]["status"], &fresh["data"]["engaged_at"]),
        (StatusCode::OK, &json!("disengaged"), &Value::Null)
    );
    let (status, on) = api.post(&who, &path, json!({ "reason": "drill" })).await;
    assert_eq!(
        (status, &on["data"]["status"], &on["data"]["reason"]),
        (StatusCode::OK, &json!("engaged"), &json!("drill"))
    );
    assert_eq!(on["data"]["engaged_by"], format!("user:{}", who.user));
    let before = api.entries().await;
    let (_, again) = api.post(&api.user(Role::Admin), &path, json!({ "action": "engage", "reason": "other" })).await;
    assert_eq!((&again["data"], api.entries().await), (&on["data"], before), "who was first, and why, stays");
    let (_, off) = api.post(&who, &path, json!({ "action": "disengage" })).await;
    assert_eq!((&off["data"]["engaged"], &off["data"]["reason"]), (&json!(false), &json!("drill")));
    assert_eq!(api.entries().await, before + 1);
    api.call(&who, Method::POST, &path, None).await;
    let (status, lifted) = api.delete(&who, &path).await;
    assert_eq!((status, &lifted["data"]["status"]), (StatusCode::OK, &json!("disengaged")));
    assert_eq!(api.delete(&who, &path).await.1["data"], lifted["data"]);
    assert_eq!(api.get(&who, &path).await.1["data"], lifted["data"]);
}

#[tokio::test]
async fn another_tenants_switch_is_not_there_and_readers_only_look() {
    let api = TestApi::start().await;
    let (own, foreign) =
        (format!("/decision/kill-switch/{}", api.tenant), format!("/decision/kill-switch/{}", api.other));
    let (admin, viewer) = (api.user(Role::Admin), api.user(Role::Viewer));
    for method in [Method::GET, Method::POST, Method::DELETE] {
        assert_eq!(api.call(&admin, method, &foreign, None).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(api.get(&viewer, &own).await.0, StatusCode::OK);
    assert_eq!(api.call(&viewer, Method::POST, &own, None).await.0, StatusCode::FORBIDDEN);
    assert_eq!(api.delete(&viewer, &own).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn wrong_bodies_change_nothing() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let path = format!("/decision/kill-switch/{}", api.tenant);
    for (field, value) in [("action", json!("toggle")), ("reason", json!("x".repeat(501))), ("force", json!(true))] {
        let (status, answer) = api.post(&who, &path, json!({ field: value })).await;
        assert_eq!((status, wrong_fields(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, vec![format!("body.{field}")]));
    }
    assert_eq!(api.post(&who, "/decision/kill-switch/here", json!({})).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.get(&who, &path).await.1["data"]["engaged"], false);
}

#[tokio::test]
async fn the_summary_and_the_history_tell_what_was_decided() {
    let api = TestApi::start().await;
    let calls = history::seed(&api.store, api.tenant).await;
    let who = api.user(Role::Auditor);
    let (status, summary) = api.get(&who, "/decision/summary").await;
    let denied = calls.iter().filter(|call| call.is_denied()).count();
    assert_eq!((status, &summary["data"]["threats_blocked"]), (StatusCode::OK, &json!(denied)));
    assert_eq!(summary["data"]["total_requests"], calls.len());
    let hours = summary["data"]["metrics"].as_array().unwrap();
    assert_eq!((hours.len(), &hours[7]["time"]), (24, &json!("07:00")));
    let today = api.app.store.now().day();
    for (hour, told) in (0_u8..).zip(hours) {
        let of_hour: Vec<u64> = calls
            .iter()
            .filter(|call| call.ts.day() == today && call.ts.hour() == hour)
            .map(|call| u64::from(call.risk))
            .collect();
        let count = (of_hour.len() as u64).max(1);
        let mean = (of_hour.iter().sum::<u64>() + count / 2) / count;
        assert_eq!((&told["calls"], &told["score"]), (&json!(of_hour.len()), &json!(mean)), "{hour}");
    }
    let (_, first) = api.get(&who, "/decision/history?limit=200").await;
    let rows = first["data"]["items"].as_array().unwrap();
    let newest: Vec<Value> = calls.iter().rev().take(200).map(|call| json!(call.audit_id)).collect();
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), newest);
    let next = format!("/decision/history?cursor={}", first["meta"]["next_cursor"].as_str().unwrap());
    let (_, second) = api.get(&who, &next).await;
    assert_eq!(second["data"]["items"][0]["id"], json!(calls[calls.len() - 201].audit_id));
    assert_eq!(second["data"]["items"].as_array().unwrap().len(), 20);
    assert_eq!(api.get(&who, "/decision/history?limit=201").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.get(&who, "/decision/history?cursor=x").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.get(&api.user(Role::Viewer), "/decision/history").await.0, StatusCode::FORBIDDEN);
}
