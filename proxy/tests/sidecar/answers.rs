//! Calls that go through: the answer, the row, what the tool is sent.

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_ledger::commitment::commit;
use aegis_ledger::hash::Hash;
use aegis_proxy::row::commitment_input;
use serde_json::json;

use crate::harness::{Got, Harness, agent, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_call_is_executed_recorded_and_proved() {
    let harness = Harness::start().await;
    let got = harness.call("sample.ok").await;
    assert_eq!((got.status, got.error()), (200, ""), "{}", got.body);
    let data = &got.body["data"];
    assert_eq!(data["result"], json!({"rows": [1, 2.5], "ok": true}));
    assert_eq!((&data["tool_name"], &data["upstream"]["status"]), (&json!("sample.ok"), &json!(200)));
    assert_eq!(got.header("x-aegis-decision"), data["action"].as_str().unwrap());
    assert_eq!(got.header("x-aegis-audit-id"), data["audit_id"].as_str().unwrap());
    for name in ["x-request-id", "x-trace-id", "x-aegis-risk", "ratelimit-limit", "ratelimit-remaining"] {
        assert!(!got.header(name).is_empty(), "{name}");
    }

    let (decisions, outcomes) = harness.rows().await;
    assert_eq!((decisions.len(), outcomes.len()), (1, 0));
    let row = &decisions[0];
    assert_eq!((row.outcome, row.level, row.count), (Outcome::Executed, Level::Intent, 1));
    assert_eq!(row.execution_id.to_string(), data["execution_id"].as_str().unwrap());
    let receipt = &data["receipt"];
    assert_eq!(receipt["entry"]["execution_id"], data["execution_id"]);
    let salt = *Hash::parse(receipt["input_salt"].as_str().unwrap()).unwrap().as_bytes();
    let input = commitment_input(tenant(), agent(), "sample.ok", r#"{"q":"hello"}"#);
    assert_eq!(row.input_commitment, Some(commit(&salt, input.as_bytes())));
    assert_eq!(row.output_commitment, Some(commit(&salt, br#"{"rows":[1,2.50],"ok":true}"#)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_gets_the_canonical_payload_and_no_header_of_the_client() {
    let harness = Harness::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = harness
        .post("/execute/sample.ok?stages=true")
        .header("content-type", "application/json")
        .header("traceparent", trace)
        .header("x-request-id", "req-7")
        .header("idempotency-key", "key-7")
        .header("x-secret-of-agent", "hidden")
        .header("cookie", "a=b")
        .body("{ \"b\": 1.0, \"a\": \"\\u0041\" }");
    let got = Got::of(request.send().await.unwrap()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!((got.header("x-request-id"), got.header("x-trace-id")), ("req-7", "0af7651916cd43dd8448eb211c80319c"));
    let stages = got.body["meta"]["stages"].as_array().unwrap();
    let numbers: Vec<_> = stages.iter().map(|s| s["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..=10).collect::<Vec<_>>());

    let (head, body) = harness.upstream.requests.lock().remove(0);
    assert_eq!(body, br#"{"a":"A","b":1}"#);
    assert!(head.starts_with("POST /tools/sample.ok HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    for name in
        ["x-tool-key: tool-secret", "x-request-id: req-7", "idempotency-key: key-7", "accept-encoding: identity"]
    {
        assert!(head.contains(name), "{name}: {head}");
    }
    assert!(head.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-") && !head.contains("b7ad6b7169203331"));
    for name in ["authorization", "x-tenant-id", "x-agent-id", "x-secret-of-agent", "cookie", "acp_"] {
        assert!(!head.contains(name), "{name}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_redacted_decoded_and_passed_on_by_status() {
    let harness = Harness::start().await;
    let secret = harness.call("sample.secret").await;
    assert_eq!(secret.status, 200, "{}", secret.body);
    assert!(!secret.body.to_string().contains("AKIAIOSFODNN7EXAMPLQ"), "{}", secret.body);
    assert_eq!(secret.body["data"]["result"]["note"], "fine");
    assert_eq!(secret.body["data"]["redactions"], 1);
    assert_eq!(secret.body["data"]["redactions_by_kind"].as_object().unwrap().len(), 1);

    assert_eq!(harness.call("sample.text").await.body["data"]["result"], "plain text");
    assert_eq!(harness.call("sample.gzip").await.body["data"]["result"], json!({"packed": 1}));
    let missing = harness.call("sample.missing").await;
    assert_eq!((missing.status, &missing.body["data"]["upstream"]["status"]), (200, &json!(404)));
    let redirect = harness.call("sample.redirect").await;
    assert_eq!((redirect.status, &redirect.body["data"]["upstream"]["status"]), (200, &json!(302)));
    assert_eq!(harness.upstream.calls(), 5, "redirects are not followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_call_has_its_decision_on_disk_before_the_tool_and_its_outcome_after() {
    let harness = Harness::start().await;
    let got = harness.call("strict.write").await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.body["data"]["receipt"]["level"], "local");
    let (decisions, outcomes) = harness.rows().await;
    assert_eq!((decisions.len(), outcomes.len()), (1, 1));
    assert_eq!((decisions[0].outcome, decisions[0].level), (Outcome::Pending, Level::Local));
    assert_eq!((outcomes[0].outcome, outcomes[0].execution_id), (Outcome::Executed, decisions[0].execution_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_in_paths_stay_one_segment() {
    let harness = Harness::start().await;
    assert_eq!(harness.call_with("record.get", &json!({"id": "a b"})).await.status, 200);
    assert!(harness.upstream.requests.lock()[0].0.starts_with("POST /tools/record/a%20b "));
    for id in ["x/y", "..", "a%2Fb"] {
        let got = harness.call_with("record.get", &json!({ "id": id })).await;
        assert_eq!((got.status, got.error()), (422, "validation_failed"), "{id}");
        assert_eq!(got.body["meta"]["details"][0]["loc"], json!(["body", "payload", "id"]));
    }
    assert_eq!(harness.upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_reaches_no_tool_and_has_its_row() {
    let harness = Harness::start().await;
    let got = harness.call("hidden.tool").await;
    assert_eq!((got.status, got.error()), (403, "policy_denied"), "{}", got.body);
    let data = &got.body["data"];
    for field in [
        "action",
        "rule_id",
        "findings",
        "score",
        "signals_evaluated",
        "explanation",
        "audit_id",
        "execution_id",
        "receipt_url",
    ] {
        assert!(!data[field].is_null(), "{field}: {data}");
    }
    let (decisions, _) = harness.rows().await;
    assert_eq!(
        (decisions.len(), decisions[0].outcome, decisions[0].decision),
        (1, Outcome::NotExecuted, Decision::Kill)
    );
    assert_eq!(harness.upstream.calls(), 0);
}
