//! Event streams of tools, filtered and recorded.

use std::time::Duration;

use aegis_core::decision::Outcome;
use serde_json::json;

use crate::harness::Harness;

async fn open(harness: &Harness, tool: &str) -> reqwest::Response {
    let body = json!({"tool_name": tool, "payload": {}});
    harness.post("/execute").header("accept", "text/event-stream").json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_filtered_over_chunk_borders_and_has_two_rows() {
    let harness = Harness::start().await;
    let response = open(&harness, "sample.sse").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(!response.headers()["x-aegis-audit-id"].is_empty() && response.headers().contains_key("x-aegis-decision"));
    let text = response.text().await.unwrap();
    assert!(text.starts_with("data: begin\n\n") && text.ends_with("data: end\n\n"), "{text}");
    assert!(!text.contains("AKIAIOSF"), "{text}");
    let (decisions, outcomes) = harness.rows_when(|_, outcomes| outcomes.len() == 1).await;
    assert_eq!((decisions.len(), decisions[0].outcome), (1, Outcome::Pending));
    assert_eq!((outcomes[0].outcome, outcomes[0].redactions.values().sum::<u64>()), (Outcome::Executed, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_does_not_stream_is_answered_whole() {
    let harness = Harness::start().await;
    let response = open(&harness, "sample.ok").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let (decisions, outcomes) = harness.rows().await;
    assert_eq!((decisions.len(), outcomes.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_switch_is_engaged() {
    let harness = Harness::start().await;
    let mut response = open(&harness, "sample.sse_open").await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: begin\n\n");
    harness.set_kill_switch(true);
    let end = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await.unwrap();
    assert!(end.is_err(), "a cut stream does not look complete: {end:?}");
    let (_, outcomes) = harness.rows_when(|_, outcomes| outcomes.len() == 1).await;
    assert_eq!(outcomes[0].outcome, Outcome::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream_leaves_an_outcome() {
    let harness = Harness::start().await;
    drop(open(&harness, "sample.sse_open").await);
    let (decisions, outcomes) = harness.rows_when(|_, outcomes| outcomes.len() == 1).await;
    assert_eq!((decisions.len(), outcomes.len()), (1, 1));
}
