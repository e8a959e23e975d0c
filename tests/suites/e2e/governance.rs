//! Weights and policies from the management API to the verdicts of every sidecar, and back as evidence.

use std::time::Duration;

use aegis_tests::client::{Agent, Answer};
use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::wait::{until, until_within};
use reqwest::Method;
use serde_json::{Value, json};

use crate::both;

const WITHIN: Duration = Duration::from_secs(1);

/// Denies calls that say `word`, with a test of its own that expects `tested` to be denied.
fn denying(word: &str, tested: &str) -> String {
    format!(
        "package aegis.decision\n\nimport rego.v1\n\ndeny contains {{\"id\": \"own.deny.word\", \"severity\": \"high\"}} if {{\n\
         \tinput.payload.word == \"{word}\"\n}}\n\ntest_word if {{\n\
         \tsome rule in deny with input as {{\"payload\": {{\"word\": \"{tested}\"}}}}\n\trule.id == \"own.deny.word\"\n}}\n"
    )
}

async fn said(agent: &Agent, sidecar: &str, word: &str) -> Answer {
    agent.call(sidecar, "test.echo", &json!({ "word": word })).await
}

/// Waits until calls that say `word` are refused (or not) by the policy.
async fn until_denied(agent: &Agent, sidecar: &str, word: &str, denied: bool) {
    until_within("the policy holds", WITHIN, async || {
        let status = said(agent, sidecar, word).await.status;
        (status == if denied { 403 } else { 200 }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn weights_hold_for_the_next_call_of_every_sidecar() {
    let d = Deployment::with_sidecars(Database::Sqlite, 2, &[]).await;
    let agent = d.agent("weighed", &["test.echo"]).await;
    d.admin.ask(Method::PATCH, &format!("/agents/{}", agent.id), Some(json!({ "risk_level": "high" }))).await.data();
    let weigh = async |level: f64| {
        let weights = json!({
            "inference": 0, "policy": 1.0 - level, "behavior": 0, "autonomy": 0, "agent_risk_level": level,
        });
        d.admin.ask(Method::PUT, "/risk/signal-weights", Some(weights)).await.data().clone()
    };
    let mut asked = 0;
    for (level, action) in [(0.5, "MONITOR"), (0.0, "ALLOW"), (0.6, "MONITOR")] {
        let set = weigh(level).await;
        assert_eq!((&set["source"], &set["weights"]["agent_risk_level"]), (&json!("tenant"), &json!(level)));
        for sidecar in &d.sidecars {
            until_within("the sidecar weighs anew", WITHIN, async || {
                asked += 1;
                let answer = agent.call(&sidecar.url, "test.echo", &json!({ "n": asked })).await;
                // While it waits for the weights, it may ask too often: a verdict too, another one.
                (answer.status == 200 && answer.data()["action"] == action).then_some(())
            })
            .await;
        }
    }
    assert_eq!(d.admin.get("/risk/signal-weights").await["weights"]["agent_risk_level"], json!(0.6));
}

both! {
    async fn a_policy_goes_from_draft_to_active_and_back(d) {
        let (agent, url) = (d.agent("governed", &["test.echo"]).await, d.url().to_owned());
        let first = d.admin.post("/policy/upload", json!({ "name": "own", "rego": denying("stop", "stop") })).await;
        assert_eq!((&first["version"], &first["mode"]), (&json!(1), &json!("active")), "{first}");
        until_denied(&agent, &url, "stop", true).await;

        // Tried out, then judged beside the active one.
        let next = denying("halt", "halt");
        let case = |word: &str, expected: &str| {
            json!({ "tool_name": "test.echo", "payload": { "word": word }, "expected": expected })
        };
        let cases = [case("halt", "deny"), case("stop", "allow")];
        let tried = d.admin.post("/policy/test", json!({ "rego": next, "test_cases": cases })).await;
        assert_eq!((&tried["total"], &tried["all_passed"]), (&json!(3), &json!(true)), "{tried}");
        let shadow = d.admin.post("/policy/upload", json!({ "name": "own", "rego": next, "mode": "shadow" })).await;
        assert_eq!((&shadow["version"], &shadow["mode"]), (&json!(2), &json!("shadow")));
        let report = until("both calls are judged beside", async || {
            said(&agent, &url, "halt").await.data();
            said(&agent, &url, "stop").await.expect(403, "policy_denied");
            let report = d.admin.get("/policy/policies/own/shadow-report").await;
            (report["newly_blocked"] != 0 && report["newly_allowed"] != 0).then_some(report)
        }).await;
        let rules = report["diff"].as_array().unwrap().iter().find(|row| row["new_action"] == "KILL").expect("a KILL");
        assert_eq!(rules["rule_ids"][0], "own.deny.word", "{report}");
        let replayed = d.admin.post("/policy/simulate", json!({ "name": "own", "rego": next })).await;
        assert!(replayed["total"].as_u64() >= Some(2), "{replayed}");

        d.admin.post("/policy/policies/own/activate", json!({ "version": 2 })).await;
        until_denied(&agent, &url, "halt", true).await;
        assert_eq!(said(&agent, &url, "stop").await.status, 200);
        d.admin.post("/policy/policies/own/activate", json!({ "version": 1 })).await;
        until_denied(&agent, &url, "halt", false).await;
        let refused = said(&agent, &url, "stop").await;
        refused.expect(403, "policy_denied");
        explained(&d, &refused).await;
    }

    async fn a_bad_policy_never_becomes_active(d) {
        let (agent, url) = (d.agent("kept", &["test.echo"]).await, d.url().to_owned());
        d.admin.post("/policy/upload", json!({ "name": "own", "rego": denying("stop", "stop") })).await;
        until_denied(&agent, &url, "stop", true).await;
        let does_not_compile = "package aegis.decision\nimport rego.v1\ndeny contains {\n";
        for rego in [does_not_compile.to_owned(), denying("stop", "go")] {
            for mode in ["active", "shadow"] {
                let body = json!({ "name": "own", "rego": rego, "mode": mode });
                let answer = d.admin.ask(Method::POST, "/policy/upload", Some(body)).await;
                assert_eq!(answer.status, 422, "{}", answer.body);
            }
        }
        let answer = d.admin.ask(Method::POST, "/policy/policies/own/activate", Some(json!({ "version": 2 }))).await;
        assert_eq!(answer.status, 404, "{}", answer.body);
        let kept = d.admin.get("/policy/policies/own").await;
        assert_eq!((&kept["version"], kept["versions"].as_array().map(Vec::len)), (&json!(1), Some(1)), "{kept}");
        said(&agent, &url, "stop").await.expect(403, "policy_denied");
        assert_eq!(said(&agent, &url, "fine").await.status, 200);
    }
}

/// The row says which rule of which version spoke, where it stands, and what it read.
async fn explained(d: &Deployment, refused: &Answer) {
    d.drained().await;
    let rows = d.admin.get("/decision/history?limit=1").await;
    let row = &rows["items"][0];
    assert_eq!(row["decision"], "KILL", "{row}");
    let path = format!("/audit/logs/{}/explain", row["id"].as_str().expect("an id"));
    let told: Value = d.admin.get(&path).await;
    let rule = &told["rules"][0];
    assert_eq!((&rule["id"], &refused.body["data"]["rule_id"]), (&json!("own.deny.word"), &json!("own.deny.word")));
    assert_eq!((&rule["policy"], &rule["version"], &rule["line"]), (&json!("own"), &json!(1), &json!(5)), "{rule}");
    assert_eq!(rule["input"][0]["path"], "input.payload.word", "{rule}");
}
