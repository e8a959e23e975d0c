//! Tenants' policies: one that does not compile, and one that is judged beside the other.

use aegis_core::decision::{Decision, Outcome};
use aegis_core::policy::PolicyFile;
use aegis_core::snapshot::Item;
use serde_json::json;

use crate::harness::Harness;

/// Denies calls that say `word`.
fn denying(word: &str, version: u32) -> PolicyFile {
    let rule = format!("deny contains {{\"id\": \"own.deny.{word}\"}} if input.payload.q == \"{word}\"");
    file(&format!("package aegis.decision\nimport rego.v1\n{rule}\n"), version)
}

fn file(rego: &str, version: u32) -> PolicyFile {
    PolicyFile { name: "own".into(), version, revision: format!("revision-{version}"), rego: rego.into() }
}

async fn metrics(harness: &Harness) -> String {
    let answer = harness.client.get(format!("{}/metrics", harness.admin)).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_compile_leaves_the_last_good_one_in_force_and_is_told() {
    let harness = Harness::start().await;
    harness.set([Item::Policy(denying("stop", 1))]);
    let refused = harness.call_with("sample.ok", &json!({ "q": "stop" })).await;
    assert_eq!((refused.status, refused.error()), (403, "policy_denied"));
    assert!(metrics(&harness).await.contains("aegis_proxy_policy_faults 0\n"));

    harness.set([Item::Policy(file("package aegis.decision\nimport rego.v1\ndeny contains {\n", 2))]);
    let refused = harness.call_with("sample.ok", &json!({ "q": "stop" })).await;
    assert_eq!((refused.status, refused.error()), (403, "policy_denied"), "the last good one goes on");
    assert_eq!(harness.call("sample.ok").await.status, 200);
    let ready = harness.get(format!("{}/readyz", harness.admin)).await;
    assert_eq!((ready.status, &ready.body["status"]), (200, &json!("degraded")));
    let fault = &ready.body["policy_faults"][0];
    assert_eq!(
        (&fault["file"], &fault["line"], &fault["older_in_force"]),
        (&json!("own.rego"), &json!(4), &json!(true))
    );
    assert!(metrics(&harness).await.contains("aegis_proxy_policy_faults 1\n"));

    harness.set([Item::Policy(denying("halt", 3))]);
    assert_eq!(harness.call_with("sample.ok", &json!({ "q": "stop" })).await.status, 200);
    assert_eq!(harness.call_with("sample.ok", &json!({ "q": "halt" })).await.status, 403);
    assert!(metrics(&harness).await.contains("aegis_proxy_policy_faults 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_version_is_recorded_and_not_enforced() {
    let harness = Harness::start().await;
    harness.set([Item::Policy(denying("stop", 1)), Item::ShadowPolicy(denying("halt", 2))]);
    assert_eq!(harness.call_with("sample.ok", &json!({ "q": "halt" })).await.status, 200);
    assert_eq!(harness.call_with("sample.ok", &json!({ "q": "stop" })).await.status, 403);
    let (rows, _) = harness.rows().await;
    let told: Vec<_> =
        rows.iter().map(|r| (r.decision, r.outcome, r.shadow[0].version, r.shadow[0].decision)).collect();
    assert_eq!(
        told,
        [
            (Decision::Allow, Outcome::Executed, 2, Decision::Kill),
            (Decision::Kill, Outcome::NotExecuted, 2, Decision::Allow),
        ]
    );
    assert_eq!((rows[0].shadow[0].name.as_str(), rows[0].shadow[0].rule_ids[0].as_str()), ("own", "own.deny.halt"));
    assert_eq!(rows[0].rule_ids, Vec::<String>::new());

    harness.set([Item::ShadowPolicy(file("package aegis.decision\nnonsense", 3))]);
    assert_eq!(harness.call("sample.ok").await.status, 200, "beside a broken shadow the policy in force goes on");
    let (rows, _) = harness.rows().await;
    assert!(rows.last().unwrap().shadow.is_empty());
    let ready = harness.get(format!("{}/readyz", harness.admin)).await;
    assert_eq!(ready.body["policy_faults"][0]["revision"], "revision-3");
}
