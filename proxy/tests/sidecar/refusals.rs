//! Calls that are refused before a verdict: identifiers, statuses, what is recorded.

use aegis_core::decision::Decision;
use serde_json::json;

use crate::harness::{Got, Harness, KEY, agent, stranger, tenant};

/// A request with these headers only.
async fn with(harness: &Harness, headers: &[(&str, String)], body: &str) -> Got {
    let mut request =
        harness.client.post(format!("{}/execute", harness.base)).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Got::of(request.body(body.to_owned()).send().await.unwrap()).await
}

const GOOD: &str = r#"{"tool_name":"sample.ok","payload":{}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_call_is_told_why_in_the_right_order() {
    let harness = Harness::start().await;
    let (other_tenant, other_agent, other_key) = stranger();
    let key = |key: &str| ("authorization", format!("Bearer {key}"));
    let of_tenant = |id: String| ("x-tenant-id", id);
    let of_agent = |id: String| ("x-agent-id", id);
    let (t, a) = (tenant().to_string(), agent().to_string());
    let cases = [
        (vec![of_tenant(t.clone()), of_agent(a.clone())], 401, "invalid_token"),
        (vec![key("nonsense"), of_tenant(t.clone()), of_agent(a.clone())], 401, "invalid_token"),
        (vec![key(KEY), ("x-api-key", KEY.into()), of_tenant(t.clone()), of_agent(a.clone())], 401, "invalid_token"),
        (vec![key("acp_CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), of_tenant(t.clone())], 401, "invalid_token"),
        (vec![key(KEY), of_agent(a.clone())], 400, "tenant_header_required"),
        (vec![key(KEY), of_tenant("x".into()), of_agent(a.clone())], 400, "invalid_tenant_id"),
        (vec![key(KEY), of_tenant(t.clone()), of_tenant(t.clone()), of_agent(a.clone())], 400, "invalid_tenant_id"),
        (vec![key(KEY), of_tenant(other_tenant.to_string()), of_agent(a.clone())], 403, "tenant_mismatch"),
        (vec![key(other_key), of_tenant(t.clone()), of_agent(a.clone())], 403, "tenant_mismatch"),
        (vec![key(KEY), of_tenant(t.clone())], 400, "agent_header_required"),
        (vec![key(KEY), of_tenant(t.clone()), of_agent("x".into())], 400, "invalid_agent_id"),
        (vec![key(KEY), of_tenant(t.clone()), of_agent(other_agent.to_string())], 403, "agent_mismatch"),
        (vec![("x-api-key", KEY.into()), of_tenant(t.clone()), of_agent(a.clone())], 200, ""),
    ];
    for (headers, status, error) in cases {
        let got = with(&harness, &headers, GOOD).await;
        assert_eq!((got.status, got.error()), (status, error), "{headers:?} {}", got.body);
    }
    assert_eq!(harness.upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_call_are_refused_by_name() {
    let harness = Harness::start().await;
    let deep = format!("{{\"tool_name\":\"sample.ok\",\"payload\":{{\"a\":{}1{}}}}}", "[".repeat(70), "]".repeat(70));
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"".to_vec(), 400, "malformed_body"),
        (b"{".to_vec(), 400, "malformed_body"),
        (b"\xff\xfe".to_vec(), 400, "malformed_body"),
        (br#"{"tool_name":"sample.ok","payload":{"a":1,"a":2}}"#.to_vec(), 400, "malformed_body"),
        (br#"{"tool_name":"sample.ok","payload":{"a":"\ud800"}}"#.to_vec(), 400, "malformed_body"),
        (br#"{"tool_name":"sample.ok","payload":{},"input":{}}"#.to_vec(), 400, "malformed_body"),
        (deep.into_bytes(), 400, "malformed_body"),
        (br#"{"payload":{}}"#.to_vec(), 400, "tool_name_required"),
        (br#"{"tool_name":"sample.ok"}"#.to_vec(), 422, "validation_failed"),
        (br#"{"tool_name":"unrouted.tool","payload":{}}"#.to_vec(), 404, "unknown_tool"),
    ];
    for (body, status, error) in cases {
        let shown = String::from_utf8_lossy(&body).chars().take(80).collect::<String>();
        let request = harness.post("/execute").header("content-type", "application/json").body(body);
        let got = Got::of(request.send().await.unwrap()).await;
        assert_eq!((got.status, got.error()), (status, error), "{shown}");
        assert_eq!(got.body["meta"]["code"], status, "{shown}");
    }
    let text = harness.post("/execute").header("content-type", "text/plain").body(GOOD);
    assert_eq!(Got::of(text.send().await.unwrap()).await.error(), "unsupported_media_type");
    let get = harness.client.get(format!("{}/execute", harness.base)).send().await.unwrap();
    assert_eq!(Got::of(get).await.error(), "method_not_allowed");
    assert_eq!(harness.upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_two_mebibytes_is_refused_with_the_limit() {
    let harness = Harness::start().await;
    let body = format!(r#"{{"tool_name":"sample.ok","payload":{{"a":"{}"}}}}"#, "x".repeat(2 << 20));
    let declared = harness.post("/execute").header("content-type", "application/json").body(body.clone());
    let chunks = futures::stream::iter(
        body.into_bytes().chunks(65_536).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>(),
    );
    let chunked =
        harness.post("/execute").header("content-type", "application/json").body(reqwest::Body::wrap_stream(chunks));
    for request in [declared, chunked] {
        let got = Got::of(request.send().await.unwrap()).await;
        assert_eq!((got.status, got.error()), (413, "payload_too_large"));
        assert_eq!(got.body["data"], json!({"limit_bytes": 1_048_576}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alike_gate_refusals_share_a_row_and_strangers_leave_none() {
    let harness = Harness::start().await;
    for _ in 0..5 {
        assert_eq!(harness.call("unrouted.tool").await.status, 404);
        assert_eq!(with(&harness, &[], GOOD).await.status, 401);
    }
    // The calls may straddle a second: the counts add up either way.
    let (decisions, _) = harness.rows().await;
    assert!(
        decisions.iter().all(|r| r.decision == Decision::Refused && r.reason.starts_with("unknown_tool")),
        "{decisions:?}"
    );
    assert_eq!(decisions.iter().map(|r| r.count).sum::<u64>(), 5);
    assert!(decisions.len() < 5);
    assert_eq!(harness.engine.metrics.auth_failures.get(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_outbox_nothing_is_executed() {
    let harness = Harness::start().await;
    harness.engine.outbox.close("test").await;
    for tool in ["sample.ok", "strict.write", "hidden.tool"] {
        let got = harness.call(tool).await;
        assert_eq!((got.status, got.error()), (503, "audit_unavailable"), "{tool}");
    }
    assert_eq!(harness.upstream.calls(), 0);
}
