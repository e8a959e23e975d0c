//! Risk through the router, over weeks of delivered calls.

#![expect(clippy::cast_precision_loss, reason = "small numbers, compared with a tolerance")]

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::decision::{Decision, Outcome};
use aegis_core::principal::Role;
use aegis_core::snapshot::Item;
use aegis_core::time::MICROS_PER_HOUR;
use aegis_store::item;
use aegis_store::ledger::ingest::ingest;
use aegis_store::testing::history::{self, Call};
use aegis_store::testing::sidecar::{TestSidecar, decision_of};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{TestApi, wrong_fields};

fn is_threat(call: &Call) -> bool {
    matches!(call.decision, Decision::Kill | Decision::Escalate)
}

#[tokio::test]
async fn the_timeline_has_every_day_and_its_sums() {
    let api = TestApi::start().await;
    let calls = history::seed(&api.store, api.tenant).await;
    let (status, answer) = api.get(&api.user(Role::Viewer), "/risk/timeline?days=60").await;
    let days = answer["data"].as_array().unwrap();
    assert_eq!((status, days.len()), (StatusCode::OK, 60));
    let today = api.app.store.now().day();
    for (n, day) in (0_i64..).zip(days) {
        let of_day: Vec<&Call> = calls.iter().filter(|c| c.ts.day() == today - 59 + n).collect();
        let risk: u64 = of_day.iter().map(|c| u64::from(c.risk)).sum();
        let mean = if of_day.is_empty() { 0.0 } else { risk as f64 / of_day.len() as f64 };
        assert_eq!(day["count"], of_day.len(), "{day}");
        assert_eq!(day["threats"], of_day.iter().filter(|call| is_threat(call)).count(), "{day}");
        assert!((day["avg_risk"].as_f64().unwrap() - mean).abs() < 0.006, "{day} {mean}");
    }
    let (_, summary) = api.get(&api.user(Role::Viewer), "/risk/summary").await;
    let (_, same) = api.get(&api.user(Role::Viewer), "/audit/logs/summary").await;
    assert_eq!((&summary["data"], &summary["data"]["total_calls"]), (&same["data"], &json!(calls.len())));
    let denied = calls.iter().filter(|c| c.is_denied()).count();
    assert_eq!(
        (&summary["data"]["total_denials"], &summary["data"]["threats_blocked"]),
        (&json!(denied), &json!(denied))
    );
    let (status, wrong) = api.get(&api.user(Role::Viewer), "/risk/timeline?days=91").await;
    assert_eq!((status, wrong_fields(&wrong)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["query.days".to_owned()]));
}

#[tokio::test]
async fn threats_are_ranked_by_agent() {
    let api = TestApi::start().await;
    let calls = history::seed(&api.store, api.tenant).await;
    let mut threats: BTreeMap<String, usize> = BTreeMap::new();
    calls.iter().filter(|call| is_threat(call)).for_each(|c| *threats.entry(c.agent.to_string()).or_default() += 1);
    let (_, answer) = api.get(&api.user(Role::Viewer), "/risk/top-threats?limit=3").await;
    let told = answer["data"].as_array().unwrap();
    assert_eq!(told.len(), 3);
    let mut counts: Vec<usize> = threats.values().copied().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    for (agent, count) in told.iter().zip(counts) {
        assert_eq!((&agent["threat_count"], threats[agent["agent_id"].as_str().unwrap()]), (&json!(count), count));
    }
    let (_, none) = api.get(&api.user_of(api.other, Role::Admin), "/risk/top-threats").await;
    assert_eq!(none["data"], json!([]));
}

fn weights(policy: f64, inference: f64) -> Value {
    json!({ "inference": inference, "policy": policy, "behavior": 0.2, "autonomy": 0.1, "agent_risk_level": 0.1 })
}

#[tokio::test]
async fn weights_are_set_recorded_and_pushed() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    let path = "/risk/signal-weights";
    let (_, fresh) = api.get(&who, path).await;
    assert_eq!((&fresh["data"]["source"], &fresh["data"]["weights"]["policy"]), (&json!("default"), &json!(0.4)));
    assert_eq!((&fresh["data"]["updated_at"], fresh["data"]["signals"].as_array().unwrap().len()), (&Value::Null, 5));
    let before = api.entries().await;
    let (status, set) = api.call(&who, Method::PUT, path, Some(weights(0.5, 0.1))).await;
    assert_eq!(
        (status, &set["data"]["source"], &set["data"]["weights"]["policy"]),
        (StatusCode::OK, &json!("tenant"), &json!(0.5))
    );
    assert_eq!(set["data"]["updated_by"], format!("user:{}", who.user));
    assert_eq!((&api.get(&who, path).await.1["data"], api.entries().await), (&set["data"], before + 1));
    let mut tx = api.store.store.read(api.tenant).await.unwrap();
    let Some(Item::Tenant(pushed)) = item::get(&mut tx, api.tenant, "tenant").await.unwrap() else {
        panic!("no tenant")
    };
    assert_eq!((pushed.weights.policy.get(), pushed.weights.inference.get()), (5_000, 1_000));
    let theirs = api.get(&api.user_of(api.other, Role::Viewer), path).await.1;
    assert_eq!(theirs["data"]["source"], "default");
}

#[tokio::test]
async fn weights_that_do_not_sum_to_one_are_refused() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let path = "/risk/signal-weights";
    for (policy, inference, status) in
        [(0.5, 0.1, 200), (0.5, 0.101, 200), (0.5, 0.099, 200), (0.5, 0.1012, 422), (0.5, 0.0988, 422)]
    {
        let (got, answer) = api.call(&who, Method::PUT, path, Some(weights(policy, inference))).await;
        assert_eq!(got.as_u16(), status, "{inference} {answer}");
    }
    let mut negative = weights(1.1, -0.5);
    let (_, answer) = api.call(&who, Method::PUT, path, Some(negative.clone())).await;
    assert_eq!(wrong_fields(&answer), ["body.inference", "body.policy"]);
    negative.as_object_mut().unwrap().remove("behavior");
    let (_, answer) = api.call(&who, Method::PUT, path, Some(negative)).await;
    assert_eq!(wrong_fields(&answer), ["body.behavior"]);
    let viewer = api.user(Role::Viewer);
    assert_eq!(api.call(&viewer, Method::PUT, path, Some(weights(0.5, 0.1))).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn insights_name_their_numbers_and_rows() {
    let api = TestApi::start().await;
    let mut sidecar = TestSidecar::enrol(&api.store, api.tenant).await;
    let (agent, end) = (history::agent(1), api.app.store.now());
    let mut entries = vec![sidecar.next(sidecar.open())];
    // A call an hour for four days, then fifty in one hour, one of another tool, and one denied.
    for hours in (3..100_u64).rev() {
        let ts = end.minus(Duration::from_hours(hours));
        entries.push(sidecar.next_at(ts, decision_of(agent, ts, Decision::Allow, Outcome::Executed)));
    }
    let ts = end.minus(Duration::from_mins(110));
    entries.extend((0..50).map(|_| sidecar.next_at(ts, decision_of(agent, ts, Decision::Allow, Outcome::Executed))));
    let mut other = decision_of(agent, ts, Decision::Allow, Outcome::Executed);
    if let aegis_ledger::entry::Body::Decision(row) = &mut other {
        row.tool = "mail.send".into();
    }
    let new_tool = sidecar.next_at(ts, other);
    let denied = sidecar.next_at(ts, decision_of(agent, ts, Decision::Kill, Outcome::NotExecuted));
    entries.extend([new_tool.clone(), denied.clone()]);
    for part in entries.chunks(64) {
        ingest(&api.store.store, sidecar.source, sidecar.lines(part).concat()).await.unwrap();
    }
    let (status, answer) = api.get(&api.user(Role::Viewer), "/insights/recent").await;
    let told = answer["data"].as_array().unwrap();
    let of =
        |kind: &str| told.iter().find(|i| i["threat_classification"] == kind).unwrap_or_else(|| panic!("{answer}"));
    assert_eq!((status, told.len()), (StatusCode::OK, 3), "{answer}");
    let spike = of("spike");
    assert_eq!((&spike["numbers"]["value"], spike["rows"].as_array().unwrap().len()), (&json!(52.0), 3));
    assert_eq!(
        spike["ts"],
        json!(aegis_core::time::Timestamp::from_micros(ts.as_micros() / MICROS_PER_HOUR * MICROS_PER_HOUR))
    );
    assert_eq!(
        (&of("new_tool")["rows"], &of("new_tool")["tool"]),
        (&json!([new_tool.header.audit_id]), &json!("mail.send"))
    );
    assert_eq!(of("first_denial")["rows"], json!([denied.header.audit_id]));
    assert_eq!(api.get(&api.user_of(api.other, Role::Admin), "/insights/recent").await.1["data"], json!([]));
    let path = format!("/insights/recent?tenant_id={}", api.other);
    assert_eq!(api.get(&api.user(Role::Admin), &path).await.0, StatusCode::NOT_FOUND);
}
