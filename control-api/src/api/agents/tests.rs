//! Agents and permissions through the router.

use aegis_core::id::{AgentId, GrantId};
use aegis_core::principal::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::testing::{Asker, TestApi, wrong_fields};

const ABOUT: &str = "Reads orders for customers.";

async fn register(api: &TestApi, who: &Asker, name: &str) -> String {
    let (status, made) = api.post(who, "/agents", json!({ "name": name, "description": ABOUT })).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["data"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_agent_is_registered_shown_listed_and_counted() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    let body = json!({
        "name": "order-reader", "description": ABOUT, "risk_level": "high", "metadata": { "team": "shop" },
        "requests_per_second": 5, "daily_cost_cap_usd": "12.5", "owner_id": who.user.to_string(),
    });
    let before = api.entries().await;
    let (status, made) = api.post(&who, "/agents", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let made = &made["data"];
    assert_eq!(made["owner_id"], format!("user:{}", who.user));
    assert_eq!(made["org_id"], api.tenant.to_string());
    assert_eq!(
        (&made["status"], &made["deleted_at"], &made["permissions"]),
        (&json!("ACTIVE"), &Value::Null, &json!([]))
    );
    assert_eq!((&made["daily_cost_cap_usd"], &made["requests_per_second"]), (&json!("12.500000"), &json!(5)));
    // The process's first write of a tenant may put an `open` and an `enrol` before it.
    assert!(api.entries().await > before);
    let (_, shown) = api.get(&who, &format!("/agents/{}", made["id"].as_str().unwrap())).await;
    assert_eq!(&shown["data"], made);
    let (_, page) = api.get(&who, "/agents?status=ACTIVE&size=1").await;
    assert_eq!(
        (&page["data"]["items"][0], &page["data"]["total"], &page["data"]["pages"]),
        (made, &json!(1), &json!(1))
    );
    let (_, mine) = api.get(&who, &format!("/agents?owner_id={}", who.user)).await;
    assert_eq!(mine["data"]["total"], 1);
    let (_, none) = api.get(&who, "/agents?owner_id=somebody").await;
    assert_eq!(none["data"]["total"], 0);
    let (_, summary) = api.get(&who, "/agents/summary").await;
    let expected = json!({ "total": 1, "active": 1, "quarantined": 0, "terminated": 0, "high_risk": 1 });
    assert_eq!(summary["data"], expected);
}

#[tokio::test]
async fn wrong_agents_are_refused_field_by_field() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let labels: serde_json::Map<_, _> = (0..21).map(|n| (format!("k{n}"), json!("v"))).collect();
    let with = |field: &str, value: Value| {
        let mut body = json!({ "name": "order-reader", "description": ABOUT });
        body[field] = value;
        body
    };
    for (field, value) in [
        ("name", json!("ab")),
        ("name", json!("-ab")),
        ("name", json!("Order")),
        ("name", json!("a".repeat(101))),
        ("name", json!(7)),
        ("description", json!("too short")),
        ("description", json!("x".repeat(501))),
        ("risk_level", json!("extreme")),
        ("metadata", Value::Object(labels)),
        ("metadata", json!({ ("k".repeat(51)): "v" })),
        ("requests_per_second", json!(0)),
        ("requests_per_second", json!(100_001)),
        ("daily_cost_cap_usd", json!("-1")),
        ("daily_cost_cap_usd", json!(true)),
        ("parent_agent_id", json!("nobody")),
        ("parent_agent_id", json!(Uuid::nil())),
        ("owner_id", json!("somebody else")),
        ("tenant_id", json!(api.other)),
        ("colour", json!("red")),
    ] {
        let (status, answer) = api.post(&who, "/agents", with(field, value.clone())).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{field} {value}: {answer}");
        assert_eq!(wrong_fields(&answer), [format!("body.{field}")], "{answer}");
    }
    let (status, answer) = api.post(&who, "/agents", json!({ "name": "order-reader" })).await;
    assert_eq!((status, wrong_fields(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["body.description".into()]));
    for query in ["page=0", "size=0", "size=101", "size=x", "status=GONE", "colour=red"] {
        let (status, answer) = api.get(&who, &format!("/agents?{query}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {answer}");
    }
    assert_eq!(api.get(&who, "/agents").await.1["data"]["total"], 0);
}

#[tokio::test]
async fn a_change_touches_what_it_names_only() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let path = format!("/agents/{}", register(&api, &who, "order-reader").await);
    let (status, changed) =
        api.patch(&who, &path, json!({ "status": "SUSPENDED", "requests_per_second": 9, "description": null })).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let changed = &changed["data"];
    assert_eq!((&changed["status"], &changed["description"]), (&json!("SUSPENDED"), &json!(ABOUT)));
    let before = api.entries().await;
    let (_, same) = api.patch(&who, &path, json!({ "status": "SUSPENDED" })).await;
    assert_eq!((&same["data"], api.entries().await), (changed, before), "nothing changed, nothing is recorded");
    let (_, cleared) = api.patch(&who, &path, json!({ "requests_per_second": null, "metadata": { "a": "b" } })).await;
    assert_eq!(
        (&cleared["data"]["requests_per_second"], &cleared["data"]["metadata"]),
        (&Value::Null, &json!({ "a": "b" }))
    );
    assert_eq!(api.entries().await, before + 1);
    register(&api, &who, "other-one").await;
    let (status, taken) = api.patch(&who, &path, json!({ "name": "other-one" })).await;
    assert_eq!((status, &taken["error"]), (StatusCode::CONFLICT, &json!("name_taken")));
    assert_eq!(api.patch(&who, &path, json!({ "status": "TERMINATED" })).await.0, StatusCode::OK);
    let (status, ended) = api.patch(&who, &path, json!({ "status": "ACTIVE" })).await;
    assert_eq!((status, &ended["error"]), (StatusCode::CONFLICT, &json!("terminated")));
}

#[tokio::test]
async fn a_deleted_agent_shows_its_last_state_and_frees_its_name() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let path = format!("/agents/{}", register(&api, &who, "order-reader").await);
    let (status, gone) = api.delete(&who, &path).await;
    assert_eq!((status, gone["data"]["deleted_at"].is_string()), (StatusCode::OK, true));
    assert_eq!(api.delete(&who, &path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.patch(&who, &path, json!({ "status": "INACTIVE" })).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.get(&who, &path).await.1["data"], gone["data"]);
    register(&api, &who, "order-reader").await;
    assert_eq!(api.get(&who, "/agents").await.1["data"]["total"], 1);
    assert_eq!(api.get(&who, "/agents?include_deleted=true").await.1["data"]["total"], 2);
}

#[tokio::test]
async fn permissions_are_granted_renewed_and_taken_away() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    let path = format!("/agents/{}/permissions", register(&api, &who, "order-reader").await);
    let (status, made) = api.post(&who, &path, json!({ "tool_name": "db.*" })).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let made = &made["data"];
    assert_eq!((&made["action"], &made["granted_by"]), (&json!("ALLOW"), &json!(format!("user:{}", who.user))));
    let (_, again) = api.post(&who, &path, json!({ "tool_name": "db.*", "expires_at": "2024-01-01T01:00:00Z" })).await;
    assert_eq!(again["data"]["id"], made["id"]);
    api.post(&who, &path, json!({ "tool_name": "db.drop", "action": "DENY" })).await;
    let (_, listed) = api.get(&who, &path).await;
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["meta"]["total"]), (2, &json!(2)));
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let (status, gone) = api.delete(&who, &one).await;
    assert_eq!((status, &gone["data"]["tool_name"]), (StatusCode::OK, &json!("db.*")));
    assert_eq!(api.delete(&who, &one).await.0, StatusCode::NOT_FOUND);
    for (field, value) in [
        ("tool_name", json!("db..query")),
        ("tool_name", json!("**")),
        ("action", json!("MAYBE")),
        ("expires_at", json!("2023-12-31T23:59:59Z")),
        ("expires_at", json!("tomorrow")),
        ("granted_by", json!("system")),
        ("until", json!("x")),
    ] {
        let mut body = json!({ "tool_name": "db.query" });
        body[field] = value;
        let (status, answer) = api.post(&who, &path, body).await;
        assert_eq!((status, wrong_fields(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, vec![format!("body.{field}")]));
    }
}

#[tokio::test]
async fn another_tenants_agent_is_not_there() {
    let api = TestApi::start().await;
    let (ours, theirs) = (api.user(Role::Admin), api.user_of(api.other, Role::Admin));
    let path = format!("/agents/{}", register(&api, &theirs, "hidden-one").await);
    let unknown = format!("/agents/{}", AgentId::from_uuid(Uuid::nil()));
    let grant = GrantId::from_uuid(Uuid::nil());
    for path in [path, unknown] {
        let body = json!({ "tool_name": "*" });
        for (method, path, body) in [
            (Method::GET, path.clone(), None),
            (Method::GET, format!("{path}/profile"), None),
            (Method::PATCH, path.clone(), Some(json!({ "status": "INACTIVE" }))),
            (Method::DELETE, path.clone(), None),
            (Method::GET, format!("{path}/permissions"), None),
            (Method::POST, format!("{path}/permissions"), Some(body)),
            (Method::DELETE, format!("{path}/permissions/{grant}"), None),
        ] {
            let (status, answer) = api.call(&ours, method.clone(), &path, body).await;
            assert_eq!((status, &answer["error"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{method} {path}");
        }
    }
    assert_eq!(api.get(&ours, "/agents?include_deleted=true").await.1["data"]["total"], 0);
}

#[tokio::test]
async fn readers_read_and_writers_write() {
    let api = TestApi::start().await;
    let path = format!("/agents/{}", register(&api, &api.user(Role::Admin), "order-reader").await);
    for role in [Role::Viewer, Role::Auditor] {
        let who = api.user(role);
        for read in [
            "/agents".into(),
            "/agents/summary".into(),
            path.clone(),
            format!("{path}/profile"),
            format!("{path}/permissions"),
        ] {
            assert_eq!(api.get(&who, &read).await.0, StatusCode::OK, "{role} {read}");
        }
        assert_eq!(api.delete(&who, &path).await.0, StatusCode::FORBIDDEN);
        assert_eq!(api.patch(&who, &path, json!({})).await.0, StatusCode::FORBIDDEN);
        // The role is checked before the body.
        assert_eq!(api.post(&who, "/agents", json!({ "x": 1 })).await.0, StatusCode::FORBIDDEN);
        assert_eq!(api.post(&who, &format!("{path}/permissions"), json!({})).await.0, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_profile_without_calls_says_zero_and_why_fields_are_missing() {
    let api = TestApi::start().await;
    let who = api.user(Role::Viewer);
    let id = register(&api, &api.user(Role::Admin), "order-reader").await;
    let (status, profile) = api.get(&who, &format!("/agents/{id}/profile")).await;
    assert_eq!(status, StatusCode::OK);
    let profile = &profile["data"];
    assert_eq!((&profile["total_decisions"], &profile["block_rate"]), (&json!(0), &json!(0.0)));
    assert_eq!(
        (&profile["risk_trend"], &profile["agent"]["id"]),
        (&json!([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), &json!(id))
    );
    for field in ["open_incidents", "contract", "baseline", "anomaly_score"] {
        assert!(profile[field].is_null() && profile["not_available"][field].is_string(), "{field}");
    }
}

#[tokio::test]
async fn the_registry_names_what_is_granted() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    assert_eq!(api.get(&who, "/registry/tools").await.1["data"], json!([]));
    let path = format!("/agents/{}/permissions", register(&api, &who, "order-reader").await);
    api.post(&who, &path, json!({ "tool_name": "db.*" })).await;
    let (_, tools) = api.get(&api.user(Role::Viewer), "/registry/tools").await;
    let tool = &tools["data"][0];
    assert_eq!((&tool["name"], &tool["source"], &tool["route"]), (&json!("db.*"), &json!("grant"), &Value::Null));
    assert_eq!((&tool["calls"], &tool["deny_rate"]), (&json!(0), &Value::Null));
    assert_eq!(api.get(&api.user_of(api.other, Role::Admin), "/registry/tools").await.1["data"], json!([]));
}
