//! Repeated idempotency keys.

use serde_json::json;

use crate::harness::{Got, Harness};

async fn keyed(harness: &Harness, tool: &str, key: &str, n: u8) -> Got {
    let body = json!({"tool_name": tool, "payload": {"n": n}});
    Got::of(harness.post("/execute").header("x-idempotency-key", key).json(&body).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_gets_the_first_answer_and_another_body_is_refused() {
    let harness = Harness::start().await;
    let first = keyed(&harness, "sample.ok", "k", 1).await;
    let second = keyed(&harness, "sample.ok", "k", 1).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    assert_eq!(second.header("x-aegis-idempotent-replay"), "true");
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_eq!(keyed(&harness, "sample.ok", "k", 2).await.error(), "idempotency_key_reused");
    assert_eq!(keyed(&harness, "sample.text", "k", 1).await.status, 200, "keys are per tool");
    assert_eq!(harness.upstream.calls(), 2);
    assert_eq!(harness.rows().await.0.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_duplicates_execute_once() {
    let harness = Harness::start().await;
    let calls = futures::future::join_all((0..4).map(|_| keyed(&harness, "sample.gated", "k", 1)));
    let open = async {
        while harness.upstream.calls() == 0 {
            tokio::task::yield_now().await;
        }
        harness.upstream.gate.notify_one();
    };
    let (answers, ()) = tokio::join!(calls, open);
    assert!(answers.iter().all(|a| a.status == 200 && a.body == answers[0].body));
    assert_eq!(harness.upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_may_be_tried_again_and_a_failed_one_is_not_repeated() {
    let harness = Harness::start().await;
    assert_eq!(keyed(&harness, "hidden.tool", "k", 1).await.status, 403);
    assert_eq!(keyed(&harness, "hidden.tool", "k", 1).await.status, 403);
    assert_eq!(harness.rows().await.0.len(), 2);
    assert_eq!(keyed(&harness, "sample.hang", "k", 1).await.status, 504);
    let again = keyed(&harness, "sample.hang", "k", 1).await;
    assert_eq!((again.status, again.header("x-aegis-idempotent-replay")), (504, "true"));
    assert_eq!(harness.upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engaged_switch_beats_a_replay() {
    let harness = Harness::start().await;
    assert_eq!(keyed(&harness, "sample.ok", "k", 1).await.status, 200);
    harness.set_kill_switch(true);
    assert_eq!(keyed(&harness, "sample.ok", "k", 1).await.error(), "kill_switch_engaged");
}
