//! Trying, simulating and shadowing policies, and explaining by them, through the router.

use std::collections::BTreeMap;

use aegis_core::agent::{AgentRecord, AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::decision::{Decision, Outcome};
use aegis_core::finding::{FindingId, Severity};
use aegis_core::id::{GrantId, OrgId};
use aegis_core::pattern::ToolPattern;
use aegis_core::principal::Role;
use aegis_core::score::BasisPoints;
use aegis_core::snapshot::Item;
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::rows::{DecisionRow, PolicyRef, RowFinding, ShadowRow};
use aegis_pipeline::policy::overlay_revision;
use aegis_store::ledger::ingest::ingest;
use aegis_store::testing::history::agent;
use aegis_store::testing::sidecar::{TestSidecar, decision_of};
use aegis_store::testing::{START, admin};
use aegis_store::{item, policy};
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::testing::{Asker, TestApi, wrong_fields};

/// Denies calls of a tool.
fn denying(tool: &str) -> String {
    format!(
        "package aegis.decision\nimport rego.v1\n\ndeny contains {{\"id\": \"own.deny\", \"severity\": \"high\"}} if {{\n\
         \tinput.tool_name == \"{tool}\"\n\tinput.agent.risk_level == \"low\"\n}}\n"
    )
}

/// A row of a call of agent 1 that some policy was asked about.
fn row(tool: &str, decision: Decision, rule: Option<&str>, policy: PolicyRef) -> DecisionRow {
    let outcome = if decision == Decision::Allow { Outcome::Executed } else { Outcome::NotExecuted };
    let Body::Decision(mut row) = decision_of(agent(1), START, decision, outcome) else { panic!("not a decision") };
    row.tool = tool.into();
    row.findings.clear();
    row.rule_ids = rule.iter().map(|id| (*id).to_owned()).collect();
    row.policy = Some(policy);
    row.score_bp = BasisPoints::ZERO;
    row.risk_score = 0;
    *row
}

fn shipped(api: &TestApi) -> PolicyRef {
    PolicyRef { bundle: api.app.platform.revision().to_owned(), revision: "none".into() }
}

/// What is in force now.
async fn in_force(api: &TestApi) -> PolicyRef {
    let mut tx = api.store.store.read(api.tenant).await.unwrap();
    let files = policy::active(&mut tx, api.tenant).await.unwrap();
    PolicyRef { revision: overlay_revision(files.iter()), ..shipped(api) }
}

async fn deliver(api: &TestApi, rows: impl IntoIterator<Item = DecisionRow>) -> Vec<Entry> {
    let mut sidecar = TestSidecar::enrol(&api.store, api.tenant).await;
    let mut entries = vec![sidecar.next(sidecar.open())];
    entries.extend(rows.into_iter().map(|row| sidecar.next(Body::Decision(Box::new(row)))));
    for part in entries.chunks(64) {
        ingest(&api.store.store, sidecar.source, sidecar.lines(part).concat()).await.unwrap();
    }
    entries.split_off(1)
}

/// Agent 1, active, of low risk, with every tool granted.
async fn with_agent(api: &TestApi) {
    let grant = Grant {
        id: GrantId::from_uuid(Uuid::nil()),
        tool: ToolPattern::Any,
        effect: GrantEffect::Allow,
        expires_at: None,
    };
    let record = AgentRecord {
        id: agent(1),
        org_id: OrgId::from_uuid(Uuid::nil()),
        name: "one".into(),
        status: AgentStatus::Active,
        risk_level: RiskLevel::Low,
        metadata: BTreeMap::new(),
        grants: vec![grant],
        requests_per_second: None,
        daily_cost_cap_micro_usd: None,
        parent: None,
    };
    let mut tx = api.store.store.write(api.tenant).await.unwrap();
    tx.item_put(&Item::Agent(record));
    tx.record(admin("agent.create", "agent:1")).await.unwrap().commit().await.unwrap();
}

async fn upload(api: &TestApi, who: &Asker, rego: &str, mode: &str) -> Value {
    let body = json!({ "name": "own", "rego": rego, "mode": mode });
    let (status, answer) = api.post(who, "/policy/upload", body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer["data"].clone()
}

async fn simulated(api: &TestApi, body: Value) -> Value {
    let (status, answer) = api.post(&api.user(Role::Security), "/policy/simulate", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["data"].clone()
}

#[tokio::test]
async fn a_simulation_decides_stored_calls_again() {
    let api = TestApi::start().await;
    with_agent(&api).await;
    let destructive =
        RowFinding { id: FindingId::DestructiveSql, severity: Severity::Critical, score: 95, pointer: "/query".into() };
    let mut killed = row("db.query", Decision::Kill, Some("agent.deny.destructive_sql"), shipped(&api));
    killed.findings = vec![destructive];
    let read = || row("notes.read", Decision::Allow, None, shipped(&api));
    // Killed by a rule that read the payload; refused by a gate.
    let by_payload = row("finance.wire", Decision::Kill, Some("finance.deny.wire_above_cap"), shipped(&api));
    let gate = DecisionRow { policy: None, ..row("notes.read", Decision::Refused, None, shipped(&api)) };
    let entries = deliver(&api, [read(), killed, read(), by_payload, gate, read()]).await;
    let wanted = json!({
        "total": 6, "would_allow": 0, "would_deny": 4, "would_escalate": 0, "would_throttle": 0, "newly_blocked": 3,
        "newly_allowed": 0, "no_change": 1, "not_replayable": 2, "replayed_on_findings": 4, "truncated": false,
    });
    let conditions = json!([{
        "action": "deny", "description": "no notes",
        "conditions": [{ "field": "tool_name", "operator": "starts_with", "value": "notes." }],
    }]);
    for draft in [json!({ "rego": denying("notes.read") }), json!({ "policy": conditions, "time_range": "1h" })] {
        let mut told = simulated(&api, draft).await;
        let diff = told["diff"].take();
        told.as_object_mut().unwrap().remove("diff");
        assert_eq!(told, wanted);
        assert_eq!((diff.as_array().unwrap().len(), &diff[0]["audit_id"]), (3, &json!(entries[5].header.audit_id)));
        assert_eq!((&diff[0]["old_action"], &diff[0]["new_action"]), (&json!("ALLOW"), &json!("KILL")));
        assert_eq!(diff[0]["risk_score"], 95);
    }
    let other = json!({ "rego": denying("notes.read"), "agent_id": agent(2) });
    assert_eq!(simulated(&api, other).await["total"], 0);
}

#[tokio::test]
async fn a_simulation_tells_what_a_milder_version_would_let_through() {
    let api = TestApi::start().await;
    with_agent(&api).await;
    upload(&api, &api.user(Role::Admin), &denying("notes.read"), "active").await;
    let policy = in_force(&api).await;
    deliver(&api, [row("notes.read", Decision::Kill, Some("own.deny"), policy)]).await;
    let milder = json!({ "name": "own", "rego": denying("notes.write") });
    let told = simulated(&api, milder).await;
    assert_eq!((&told["newly_allowed"], &told["would_allow"]), (&json!(1), &json!(1)), "{told}");
    let beside = json!({ "rego": denying("notes.write") });
    assert_eq!(simulated(&api, beside).await["no_change"], 1, "a draft without a name joins what is in force");
}

#[tokio::test]
async fn wrong_simulations_are_refused() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    for (body, field) in [
        (json!({}), "body.rego"),
        (json!({ "rego": "x", "policy": [] }), "body.rego"),
        (json!({ "rego": "x", "window_hours": 721 }), "body.window_hours"),
        (json!({ "rego": "x", "window_hours": 1, "time_range": "1h" }), "body.time_range"),
        (json!({ "policy": [] }), "body.policy"),
        (json!({ "policy": [{ "conditions": [], "action": "deny" }] }), "body.policy"),
        (json!({ "rego": "x", "time_range": "2h" }), "body.time_range"),
    ] {
        let (status, answer) = api.post(&who, "/policy/simulate", body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(wrong_fields(&answer).contains(&field.to_owned()), "{body} {answer}");
    }
    let (status, broken) =
        api.post(&who, "/policy/simulate", json!({ "rego": "package aegis.decision\ndeny contains {" })).await;
    assert_eq!((status, &broken["error"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("policy_invalid")));
    assert_eq!((&broken["data"]["file"], &broken["data"]["line"]), (&json!("draft.rego"), &json!(2)));
    assert!(broken["data"]["hint"].is_string() && broken["data"]["column"].is_u64(), "{broken}");
    let auditor = api.user(Role::Auditor);
    assert_eq!(api.post(&auditor, "/policy/simulate", json!({ "rego": "x" })).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_trial_runs_tests_and_cases_and_tells_the_lines_they_reached() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    let rego = format!(
        "{}\nmonitor contains \"own.never\" if {{\n\tinput.tool_name == \"never.called\"\n\tcount(input.findings) > 100\n}}\n\n\
         test_denies if count(deny) == 1 with input as {{\"tool_name\": \"notes.read\", \"agent\": {{\"risk_level\": \"low\"}}}}\n\
         test_wrong if count(deny) == 2 with input as {{\"tool_name\": \"notes.read\"}}\n",
        denying("notes.read")
    );
    let drop_table = json!({ "query": "DROP TABLE customers" });
    let cases = json!([
        { "tool_name": "notes.read", "expected": "deny" },
        { "tool_name": "notes.read", "agent": { "risk_level": "high" }, "expected": "allow" },
        { "tool_name": "db.query", "payload": drop_table, "expected": "deny" },
        { "tool_name": "db.query", "agent": { "granted": false }, "expected": "allow" },
    ]);
    let (status, answer) = api.post(&who, "/policy/test", json!({ "rego": rego, "test_cases": cases })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let data = &answer["data"];
    let told: Vec<_> = data["results"].as_array().unwrap().iter().map(|r| r["passed"].as_bool().unwrap()).collect();
    assert_eq!(told, [true, false, true, true, true, false], "{data}");
    assert_eq!((&data["total"], &data["passed_count"], &data["all_passed"]), (&json!(6), &json!(4), &json!(false)));
    assert_eq!(data["results"][0]["name"], "draft.rego: test_denies");
    assert_eq!(
        (&data["results"][2]["actual"], &data["results"][2]["rule_ids"]),
        (&json!("deny"), &json!(["own.deny"]))
    );
    assert!(
        data["results"][4]["rule_ids"].as_array().unwrap().contains(&json!("agent.deny.destructive_sql")),
        "{data}"
    );
    assert_eq!(data["results"][5]["rule_ids"], json!(["agent.deny.not_granted"]));
    // Its second condition is on line 11, and nothing gets there.
    let coverage = &data["coverage"];
    assert!(coverage["files"][0]["not_covered"].as_array().unwrap().contains(&json!(11)), "{coverage}");
    assert!(
        coverage["covered_lines"].as_u64().unwrap() >= 3 && coverage["percent"].as_f64().unwrap() < 100.0,
        "{coverage}"
    );
}

#[tokio::test]
async fn without_a_text_what_is_in_force_is_tried() {
    let api = TestApi::start().await;
    let who = api.user(Role::Admin);
    let case = json!({ "test_cases": [{ "tool_name": "notes.read", "expected": "deny" }] });
    let (_, shipped) = api.post(&who, "/policy/test", case.clone()).await;
    assert_eq!(
        (&shipped["data"]["all_passed"], &shipped["data"]["results"][0]["actual"]),
        (&json!(false), &json!("allow"))
    );
    assert!(shipped["data"]["coverage"]["total_lines"].as_u64().unwrap() > 100, "the platform's own files: {shipped}");
    upload(&api, &who, &denying("notes.read"), "active").await;
    let (_, own) = api.post(&who, "/policy/test", case).await;
    assert_eq!(
        (&own["data"]["all_passed"], &own["data"]["coverage"]["files"][0]["file"]),
        (&json!(true), &json!("own.rego"))
    );
    let (status, _) =
        api.post(&who, "/policy/test", json!({ "test_cases": [{ "tool_name": "a b", "expected": "deny" }] })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_shadow_stands_beside_until_activated_or_taken_back() {
    let api = TestApi::start().await;
    let who = api.user(Role::Security);
    upload(&api, &who, &denying("notes.read"), "active").await;
    let shadow = upload(&api, &who, &denying("notes.write"), "shadow").await;
    assert_eq!((&shadow["version"], &shadow["mode"]), (&json!(2), &json!("shadow")));
    let pushed = async |key: &str| {
        let mut tx = api.store.store.read(api.tenant).await.unwrap();
        item::get(&mut tx, api.tenant, key).await.unwrap()
    };
    assert!(matches!(pushed("shadow_policy/own").await, Some(Item::ShadowPolicy(file)) if file.version == 2));
    let (_, listed) = api.get(&who, "/policy/policies").await;
    assert_eq!((&listed["data"][0]["active_version"], &listed["data"][0]["shadow_version"]), (&json!(1), &json!(2)));
    let path = "/policy/policies/own/activate";
    let activate =
        async |version: u32, mode: &str| api.post(&who, path, json!({ "version": version, "mode": mode })).await;
    assert_eq!(activate(1, "shadow").await.1["error"], "already_active");
    assert_eq!(activate(1, "draft").await.1["error"], "not_a_shadow");
    let (status, back) = activate(2, "draft").await;
    assert_eq!(
        (status, &back["data"]["mode"], pushed("shadow_policy/own").await),
        (StatusCode::OK, &json!("draft"), None)
    );
    assert_eq!(activate(2, "shadow").await.0, StatusCode::OK);
    let before = api.entries().await;
    assert_eq!(activate(2, "active").await.0, StatusCode::OK);
    assert_eq!((pushed("shadow_policy/own").await, api.entries().await), (None, before + 2));
    for name in ["a", "b", "c", "d"] {
        let body = json!({ "name": name, "rego": denying("x.y"), "mode": "shadow" });
        let (status, answer) = api.post(&who, "/policy/upload", body).await;
        assert_eq!(status.is_success(), name != "d", "{answer}");
    }
}

#[tokio::test]
async fn the_shadow_report_counts_what_would_have_changed() {
    let api = TestApi::start().await;
    let who = api.user(Role::Viewer);
    upload(&api, &api.user(Role::Admin), &denying("notes.read"), "shadow").await;
    let beside = |decision, shadow, name: &str| {
        let rule_ids = vec!["own.deny".to_owned()];
        let shadow =
            ShadowRow { name: name.into(), version: 1, decision: shadow, score_bp: BasisPoints::MAX, rule_ids };
        DecisionRow { shadow: vec![shadow], ..row("notes.read", decision, None, shipped(&api)) }
    };
    let rows = [
        beside(Decision::Allow, Decision::Kill, "own"),
        beside(Decision::Allow, Decision::Monitor, "own"),
        beside(Decision::Kill, Decision::Allow, "own"),
        beside(Decision::Allow, Decision::Allow, "own"),
        beside(Decision::Allow, Decision::Kill, "owner"),
        row("notes.read", Decision::Allow, None, shipped(&api)),
    ];
    let entries = deliver(&api, rows).await;
    let (status, answer) = api.get(&who, "/policy/policies/own/shadow-report").await;
    let data = &answer["data"];
    assert_eq!((status, &data["total"], &data["versions"]), (StatusCode::OK, &json!(4), &json!([1])), "{answer}");
    assert_eq!((&data["newly_blocked"], &data["newly_allowed"], &data["no_change"]), (&json!(1), &json!(1), &json!(2)));
    let told: Vec<_> = data["diff"].as_array().unwrap().iter().map(|d| d["audit_id"].clone()).collect();
    assert_eq!(told, [2, 1, 0].map(|n| json!(entries[n].header.audit_id)));
    assert_eq!((&data["diff"][2]["new_action"], &data["diff"][2]["risk_score"]), (&json!("KILL"), &json!(100)));
    assert_eq!(api.get(&who, "/policy/policies/other/shadow-report").await.0, StatusCode::NOT_FOUND);
    let (_, whole) = api.get(&api.user(Role::Auditor), "/audit/logs/verify").await;
    assert_eq!(whole["data"]["valid"], true, "{whole}");
}

#[tokio::test]
async fn an_explanation_shows_the_rule_its_line_and_what_it_read() {
    let api = TestApi::start().await;
    let (who, admin) = (api.user(Role::Auditor), api.user(Role::Admin));
    upload(&api, &admin, &denying("notes.read"), "active").await;
    let then = in_force(&api).await;
    upload(&api, &admin, &denying("notes.write"), "active").await;
    let mut own = row("notes.read", Decision::Kill, Some("own.deny"), then);
    own.rule_ids.extend(["agent.deny.destructive_sql".to_owned(), "finding.sql_injection".to_owned()]);
    let entries = deliver(&api, [own]).await;
    let (status, answer) = api.get(&who, &format!("/audit/logs/{}/explain", entries[0].header.audit_id)).await;
    let rules = &answer["data"]["rules"];
    assert_eq!((status, rules.as_array().unwrap().len()), (StatusCode::OK, 3), "{answer}");
    assert_eq!((&rules[0]["policy"], &rules[0]["version"], &rules[0]["line"]), (&json!("own"), &json!(1), &json!(4)));
    assert!(rules[0]["text"].as_str().unwrap().contains("\"notes.read\""), "the version of then: {rules}");
    assert_eq!(
        rules[0]["input"],
        json!([
            { "path": "input.agent.risk_level", "recorded": false, "value": null },
            { "path": "input.tool_name", "recorded": true, "value": "notes.read" },
        ])
    );
    assert_eq!((&rules[1]["policy"], &rules[1]["file"]), (&Value::Null, &json!("agent/agent.rego")));
    assert!(rules[1]["input"].as_array().unwrap().iter().any(|i| i["path"] == "facts.found"), "{rules}");
    assert_eq!((&rules[2]["text"], &rules[2]["not_available"].is_string()), (&Value::Null, &true));
}
