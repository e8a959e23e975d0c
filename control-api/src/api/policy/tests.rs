//! Policies through the router.

use aegis_core::principal::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{Asker, TestApi, wrong_fields};

const GOOD: &str = r#"package aegis.decision
import rego.v1

deny contains {"id": "own.deny.friday", "severity": "high"} if input.time.weekday == 5

test_friday_is_denied if count(deny) == 1 with input as {"time": {"weekday": 5}}
"#;

fn failing() -> String {
    GOOD.replace("count(deny) == 1", "count(deny) == 2")
}

async fn upload(api: &TestApi, who: &Asker, rego: &str, mode: &str) -> (StatusCode, Value) {
    api.post(who, "/policy/upload", json!({ "name": "fridays", "rego": rego, "description": "d", "mode": mode })).await
}

async fn active_version(api: &TestApi, who: &Asker) -> Value {
    let (_, listed) = api.get(who, "/policy/policies").await;
    let own = listed["data"].as_array().unwrap().iter().find(|policy| policy["name"] == "fridays");
    own.map_or(Value::Null, |policy| policy["active_version"].clone())
}

#[tokio::test]
async fn a_good_policy_is_versioned_activated_and_rolled_back() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    let (status, first) = upload(&api, &who, GOOD, "active").await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    let first = &first["data"];
    assert_eq!((&first["version"], &first["mode"], &first["rules"]), (&json!(1), &json!("active"), &json!(["deny"])));
    assert_eq!(
        (&first["tests"], &first["created_by"]),
        (&json!({ "passed": 1, "failed": 0 }), &json!(format!("user:{}", who.user)))
    );
    let before = api.entries().await;
    assert_eq!(upload(&api, &who, &GOOD.replace("high", "low"), "active").await.0, StatusCode::CREATED);
    assert_eq!(api.entries().await, before + 2, "one version comes, one retires");
    assert_eq!(active_version(&api, &who).await, 2);
    let (status, back) = api.post(&who, "/policy/policies/fridays/activate", json!({ "version": 1 })).await;
    assert_eq!(status, StatusCode::OK, "{back}");
    assert_eq!((&back["data"]["revision"], &back["data"]["applied"]), (&first["revision"], &json!([])));
    assert_eq!(active_version(&api, &who).await, 1);
    let (_, shown) = api.get(&who, "/policy/policies/fridays?version=2").await;
    assert_eq!((&shown["data"]["mode"], shown["data"]["versions"].as_array().unwrap().len()), (&json!("retired"), 2));
    let (_, shown) = api.get(&who, "/policy/policies/fridays").await;
    assert_eq!((&shown["data"]["version"], &shown["data"]["rego"]), (&json!(1), &json!(GOOD)));
}

#[tokio::test]
async fn a_policy_that_does_not_compile_is_refused_with_its_place() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let broken = "package aegis.decision\nimport rego.v1\ndeny contains {\"id\": } if true\n";
    let (status, answer) = upload(&api, &who, broken, "draft").await;
    assert_eq!((status, &answer["error"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("policy_invalid")), "{answer}");
    assert_eq!((&answer["data"]["file"], &answer["data"]["line"]), (&json!("fridays.rego"), &json!(3)));
    assert!(answer["data"]["column"].is_u64() && answer["data"]["message"].is_string());
    let foreign = "package aegis.facts\nimport rego.v1\nfound contains \"x\" if true\n";
    assert_eq!(upload(&api, &who, foreign, "active").await.1["error"], "policy_invalid");
    assert_eq!(active_version(&api, &who).await, Value::Null);
}

#[tokio::test]
async fn a_failing_test_keeps_a_policy_out_of_force() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    assert_eq!(upload(&api, &who, GOOD, "active").await.0, StatusCode::CREATED);
    let (status, answer) = upload(&api, &who, &failing(), "active").await;
    assert_eq!(
        (status, &answer["error"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("policy_tests_failed")),
        "{answer}"
    );
    assert_eq!(answer["data"]["failed"], json!(["test_friday_is_denied"]));
    let (status, draft) = upload(&api, &who, &failing(), "draft").await;
    assert_eq!((status, &draft["data"]["tests"]["failed"]), (StatusCode::CREATED, &json!(1)));
    let version = &draft["data"]["version"];
    let (status, answer) = api.post(&who, "/policy/policies/fridays/activate", json!({ "version": version })).await;
    assert_eq!((status, &answer["error"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("policy_tests_failed")));
    assert_eq!(active_version(&api, &who).await, 1);
}

#[tokio::test]
async fn a_retired_policy_leaves_the_list() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    upload(&api, &who, GOOD, "active").await;
    let (status, gone) = api.delete(&who, "/policy/policies/fridays").await;
    assert_eq!((status, &gone["data"]["mode"]), (StatusCode::OK, &json!("retired")));
    assert_eq!(active_version(&api, &who).await, Value::Null);
    assert_eq!(api.delete(&who, "/policy/policies/fridays").await.0, StatusCode::NOT_FOUND);
    let (_, listed) = api.get(&who, "/policy/policies").await;
    assert!(listed["data"].as_array().unwrap().iter().all(|policy| policy["platform"] == true));
}

#[tokio::test]
async fn another_tenants_policy_is_not_there() {
    let api = TestApi::start().await;
    let (ours, theirs) = (api.user(Role::Admin), api.user_of(api.other, Role::Admin));
    assert_eq!(upload(&api, &theirs, GOOD, "active").await.0, StatusCode::CREATED);
    let path = "/policy/policies/fridays";
    for (method, path, body) in [
        (Method::GET, path.to_owned(), None),
        (Method::POST, format!("{path}/activate"), Some(json!({ "version": 1 }))),
        (Method::DELETE, path.to_owned(), None),
    ] {
        assert_eq!(api.call(&ours, method, &path, body).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(active_version(&api, &ours).await, Value::Null);
    assert_eq!(active_version(&api, &theirs).await, 1);
}

#[tokio::test]
async fn wrong_uploads_are_refused_and_readers_may_not_write() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    for (field, value) in [
        ("name", json!("a-b")),
        ("name", json!("")),
        ("name", json!("a".repeat(65))),
        ("rego", json!("x".repeat(262_145))),
        ("description", json!("x".repeat(1_001))),
        ("mode", json!("retired")),
        ("extra", json!(1)),
    ] {
        let mut body = json!({ "name": "fridays", "rego": GOOD });
        body[field] = value;
        let (status, answer) = api.post(&who, "/policy/upload", body).await;
        assert_eq!((status, wrong_fields(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, vec![format!("body.{field}")]));
    }
    let viewer = api.user(Role::Viewer);
    assert_eq!(upload(&api, &viewer, GOOD, "active").await.0, StatusCode::FORBIDDEN);
    assert_eq!(api.delete(&viewer, "/policy/policies/fridays").await.0, StatusCode::FORBIDDEN);
    assert_eq!(api.get(&viewer, "/policy/policies").await.0, StatusCode::OK);
}
