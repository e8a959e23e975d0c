//! Readiness, metrics and an end that cuts nothing.

use std::time::Duration;

use aegis_core::decision::Stage;
use aegis_ledger::entry::Body;

use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_sidecar_says_so_first_and_finishes_its_calls() {
    let mut harness = Harness::start().await;
    assert_eq!(harness.get(format!("{}/readyz", harness.admin)).await.status, 200);
    let running = harness.running.take().unwrap();
    let call = async { harness.call("sample.gated").await };
    let stop = async {
        while harness.upstream.calls() == 0 {
            tokio::task::yield_now().await;
        }
        let stopping = tokio::spawn(running.stop());
        let mut ready = 200;
        while ready != 503 {
            ready = harness.get(format!("{}/readyz", harness.admin)).await.status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!stopping.is_finished(), "it waits for the call");
        harness.upstream.gate.notify_one();
        stopping.await.unwrap();
    };
    let (got, ()) = tokio::join!(call, stop);
    assert_eq!(got.status, 200, "{}", got.body);
    let entries = harness.entries();
    assert!(matches!(entries.last().map(|e| &e.body), Some(Body::Close(_))), "{entries:?}");
    assert!(harness.client.get(&harness.base).send().await.is_err(), "nobody new is let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_tells_state_and_metrics() {
    let harness = Harness::start().await;
    harness.call("sample.ok").await;
    harness.call("unrouted.tool").await;
    let ready = harness.get(format!("{}/readyz", harness.admin)).await;
    assert_eq!((&ready.body["status"], &ready.body["snapshot_version"]), (&"ready".into(), &1.into()));
    assert_eq!(harness.get(format!("{}/livez", harness.admin)).await.status, 200);
    // A call is over for the sidecar a moment after its client has the answer.
    let quiet = async {
        loop {
            let asked = harness.client.get(format!("{}/metrics", harness.admin)).send().await.unwrap();
            let metrics = asked.text().await.unwrap();
            if metrics.contains("aegis_proxy_calls_in_flight 0") {
                return metrics;
            }
        }
    };
    let metrics = tokio::time::timeout(std::time::Duration::from_secs(10), quiet).await.unwrap();
    for line in [
        "aegis_proxy_refusals_total{reason=\"unknown_tool\"} 1",
        "aegis_proxy_decisions_total{action=\"ALLOW\"} 1",
        "aegis_proxy_tool_seconds_count{tool=\"sample.*\"} 1",
        "aegis_proxy_snapshot_version 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    for name in ["outbox_rows", "outbox_age_seconds", "snapshot_age_seconds", "degraded", "outbox_alarm"] {
        assert!(metrics.contains(&format!("\naegis_proxy_{name} ")), "{name}\n{metrics}");
    }
    for stage in Stage::ALL {
        let series = format!("aegis_proxy_stage_seconds_count{{stage=\"{}\"}} ", stage.as_str());
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        assert!(line.is_some_and(|count| count != "0"), "{series}\n{metrics}");
    }
}
