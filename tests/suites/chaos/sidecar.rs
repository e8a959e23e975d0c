//! The sidecar is killed; rows of answered calls are not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aegis_core::entropy::{SystemEntropy, random};
use aegis_tests::client::Answer;
use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::wait::until;
use serde_json::{Value, json};

use crate::load::{Load, TOOLS};

const KILLS: usize = 50;

/// Every answered call has one row, every executed call has one, the chain holds.
pub(crate) async fn check(d: &Deployment, answered: &[String]) {
    d.drained().await;
    let rows = until("all rows arrive", async || {
        let rows = d.admin.call_rows().await;
        let known: BTreeSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        answered.iter().all(|id| known.contains(id.as_str())).then_some(rows)
    })
    .await;
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *count.entry(row["id"].as_str().unwrap()).or_default() += 1;
    }
    let doubled: Vec<_> = count.iter().filter(|(_, n)| **n > 1).collect();
    assert!(doubled.is_empty(), "rows that exist twice: {doubled:?}");

    let recorded: BTreeSet<String> = rows.iter().filter_map(execution_id).collect();
    let acted: BTreeSet<String> = d.upstream.executed().into_iter().map(|call| call.execution_id).collect();
    let unrecorded: Vec<_> = acted.difference(&recorded).collect();
    assert!(
        unrecorded.is_empty(),
        "{} of {} executed calls have no row: {unrecorded:?}",
        unrecorded.len(),
        acted.len()
    );

    let chain = d.admin.verify().await;
    assert_eq!(
        (chain["valid"].as_bool(), chain["complete"].as_bool()),
        (Some(true), Some(true)),
        "{chain}\n{}",
        d.logs()
    );
}

fn execution_id(row: &Value) -> Option<String> {
    let id = row["execution_id"].as_str().or_else(|| row["metadata_json"]["execution_id"].as_str());
    id.map(str::to_owned)
}

#[tokio::test]
async fn a_sidecar_killed_fifty_times_loses_and_doubles_nothing() {
    let mut d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("stubborn", &TOOLS).await;
    let load = Load::start(&[(agent, d.url().to_owned())], 8);
    for _ in 0..KILLS {
        let before = load.count();
        until("calls are answered", async || (load.count() >= before + 5).then_some(())).await;
        // A random moment of a busy sidecar, not a wait for anything.
        let moment = u64::from(u16::from_le_bytes(random::<2>(&SystemEntropy))) % 60_000;
        tokio::time::sleep(Duration::from_micros(moment)).await;
        d.sidecars[0].kill().await;
        d.sidecars[0].start().await;
    }
    let answered = load.stop().await;
    check(&d, &answered).await;
}

#[tokio::test]
async fn a_crash_between_tool_and_answer_leaves_a_row_with_unknown_outcome() {
    let mut d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("unlucky", &["test.echo", "test.slow"]).await;
    let (caller, url) = (agent.clone(), d.url().to_owned());
    let call = tokio::spawn(async move { caller.try_call(&url, "test.slow", &json!({ "ms": 20_000 })).await });
    until("the tool is at work", async || (d.upstream.count("test.slow") == 1).then_some(())).await;
    d.sidecars[0].kill().await;
    assert!(call.await.unwrap().is_none(), "the caller got no answer");
    d.sidecars[0].start().await;
    let execution = d.upstream.executed().into_iter().find(|call| call.tool == "test.slow").unwrap().execution_id;
    let row = until("the row arrives", async || {
        d.admin.call_rows().await.into_iter().find(|row| execution_id(row).as_deref() == Some(&execution))
    })
    .await;
    assert!(row.to_string().contains("unknown"), "{row}");
}

#[tokio::test]
async fn an_answered_key_is_not_run_again_after_a_crash() {
    let mut d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("keyed", &["test.echo"]).await;
    let before = d.upstream.count("test.echo");
    let send = async |d: &Deployment| {
        let payload = json!({ "order": 7 });
        let request = agent.request(d.url(), "test.echo", &payload).header("x-idempotency-key", "order-7");
        Answer::of(request).await.unwrap()
    };
    let first = send(&d).await;
    let execution_id = first.data()["execution_id"].clone();
    d.sidecars[0].kill().await;
    d.sidecars[0].start().await;
    let again = send(&d).await;
    again.expect(409, "outcome_unknown");
    assert_eq!(again.body["data"]["execution_id"], execution_id);
    assert_eq!(d.upstream.count("test.echo"), before + 1);
}

#[tokio::test]
async fn two_sidecars_of_a_tenant_share_one_chain() {
    let d = Deployment::with_sidecars(Database::Sqlite, 2, &[]).await;
    let agent = d.agent("shared", &TOOLS).await;
    let second = d.sidecars[1].url.clone();
    until("the second knows the agent", async || {
        let answer = agent.call(&second, "test.echo", &json!({ "probe": 2 })).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let load = Load::start(&[(agent.clone(), d.url().to_owned()), (agent, second)], 4);
    until("calls are answered", async || (load.count() >= 500).then_some(())).await;
    let answered = load.stop().await;
    check(&d, &answered).await;
}
