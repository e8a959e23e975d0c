//! The control plane away, and the sidecar stopped gently.

use std::time::Duration;

use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::wait::until;
use serde_json::json;

use crate::both;

both! {
    async fn calls_go_on_without_the_control_plane_even_after_a_restart(d) {
        let mut d = d;
        let agent = d.agent("alone", &["test.echo"]).await;
        d.kill_control().await;
        let mut audit_ids = Vec::new();
        for n in 0..20 {
            let answer = agent.call(d.url(), "test.echo", &json!({ "n": n })).await;
            audit_ids.push(answer.data()["audit_id"].as_str().unwrap().to_owned());
        }
        d.sidecars[0].kill().await;
        d.sidecars[0].start().await;
        for n in 20..40 {
            let answer = agent.call(d.url(), "test.echo", &json!({ "n": n })).await;
            audit_ids.push(answer.data()["audit_id"].as_str().unwrap().to_owned());
        }
        let ready = until("it says that it is cut off", async || {
            d.sidecars[0].readyz().await.filter(|ready| ready.body["status"] == "degraded")
        }).await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        assert_eq!(ready.body["control_plane"], "away", "{}", ready.body);

        d.start_control().await;
        let rows = until("all rows arrive", async || {
            let rows = d.admin.call_rows().await;
            audit_ids.iter().all(|id| rows.iter().any(|row| row["id"] == **id)).then_some(rows)
        }).await;
        for id in &audit_ids {
            assert_eq!(rows.iter().filter(|row| row["id"] == **id).count(), 1, "{id}");
        }
        let chain = d.admin.verify().await;
        assert_eq!((chain["valid"].as_bool(), chain["complete"].as_bool()), (Some(true), Some(true)), "{chain}");
    }
}

#[tokio::test]
async fn a_stopped_sidecar_finishes_what_it_accepted() {
    let mut d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("patient", &["test.echo", "test.slow"]).await;
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let (agent, url) = (agent.clone(), d.url().to_owned());
            tokio::spawn(async move { agent.try_call(&url, "test.slow", &json!({ "ms": 1_500, "n": n })).await })
        })
        .collect();
    until("the tools are at work", async || (d.upstream.count("test.slow") == 8).then_some(())).await;
    let mut process = d.sidecars[0].process.take().unwrap();
    process.terminate();
    // It says so before it stops listening.
    let ready = until("it is draining", async || match d.sidecars[0].readyz().await {
        Some(answer) if answer.status == 503 => Some(true),
        Some(_) => None,
        None => Some(false),
    })
    .await;
    assert!(ready, "/readyz went away without saying 503 first");
    for call in calls {
        let answer = call.await.unwrap().expect("an answer");
        assert_eq!(answer.data()["result"]["slept"], 1_500);
    }
    let status = tokio::time::timeout(Duration::from_secs(40), process.wait()).await.expect("it ends");
    assert!(status.success(), "{status:?}");
}
