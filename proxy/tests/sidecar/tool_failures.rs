//! Tools that hang, lie, flood or are away.

use aegis_core::decision::Outcome;
use serde_json::{Value, json};

use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn every_way_a_tool_fails_has_its_answer_and_one_row() {
    let harness = Harness::start().await;
    let cases = [
        ("sample.hang", 504, "upstream_timeout", Outcome::Unknown),
        ("sample.reset", 502, "upstream_error", Outcome::Unknown),
        ("sample.endless", 502, "upstream_error", Outcome::Failed),
        ("sample.short", 502, "upstream_error", Outcome::Failed),
        ("sample.bomb", 502, "upstream_error", Outcome::Failed),
        ("sample.unknown_encoding", 502, "upstream_error", Outcome::Failed),
        ("sample.failing", 502, "upstream_error", Outcome::Failed),
        ("away.tool", 502, "upstream_unreachable", Outcome::Failed),
    ];
    for (tool, status, error, outcome) in cases {
        let got = harness.call(tool).await;
        assert_eq!((got.status, got.error()), (status, error), "{tool}: {}", got.body);
        assert_eq!(got.body["data"]["tool_name"], tool);
        assert!(!got.body.to_string().contains("internal detail"), "{tool}");
        let (decisions, outcomes) = harness.rows().await;
        let rows: Vec<_> = decisions.iter().filter(|r| r.tool == tool).collect();
        assert_eq!((rows.len(), outcomes.len()), (1, 0), "{tool}");
        assert_eq!(rows[0].outcome, outcome, "{tool}");
        assert_eq!(got.header("x-aegis-execution-id"), rows[0].execution_id.to_string(), "{tool}");
        assert!(!got.header("x-aegis-audit-id").is_empty(), "{tool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_keeps_failing_is_given_a_rest() {
    let harness = Harness::start().await;
    // Different payloads, so that it is not taken for a loop.
    for n in 0..5 {
        assert_eq!(harness.call_with("broken.failing", &json!({ "n": n })).await.error(), "upstream_error");
    }
    let got = harness.call_with("broken.failing", &json!({"n": 5})).await;
    assert_eq!((got.status, got.error()), (503, "circuit_open"));
    assert_eq!(harness.upstream.calls(), 5);
    let (decisions, _) = harness.rows().await;
    assert_eq!(decisions.last().map(|r| r.outcome), Some(Outcome::NotExecuted));
    assert_eq!(harness.call("sample.ok").await.status, 200, "other tools go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tool_is_busy_and_others_are_not() {
    let harness = Harness::start().await;
    let first = async { harness.call("narrow.gated").await };
    let then = async {
        while harness.upstream.calls() == 0 {
            tokio::task::yield_now().await;
        }
        let busy = harness.call("narrow.gated").await;
        let other = harness.call("sample.ok").await;
        harness.upstream.gate.notify_one();
        (busy, other)
    };
    let (first, (busy, other)) = tokio::join!(first, then);
    assert_eq!((busy.status, busy.error()), (503, "tool_busy"));
    assert_eq!((first.status, other.status), (200, 200));
    assert_ne!(first.body["data"]["result"], Value::Null);
}
