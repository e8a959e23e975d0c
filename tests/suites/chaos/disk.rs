//! The outbox can't take another row: nothing acts.

use aegis_tests::client::{Agent, Answer};
use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::wait::{LONG, POLL, until};
use serde_json::json;

const TOOLS: [&str; 2] = ["test.echo", "strict.echo"];

/// Calls until the first refusal; fails if a tool acted in a refused call.
async fn refused(d: &Deployment, agent: &Agent, tool: &str) -> Answer {
    until("a call is refused", async || {
        let before = d.upstream.count(tool);
        let answer = agent.call(d.url(), tool, &json!({ "n": before, "fill": "x".repeat(2_000) })).await;
        let acted = d.upstream.count(tool) - before;
        assert_eq!(acted, usize::from(answer.status == 200), "{tool}: {} {}", answer.status, answer.body);
        (answer.status != 200).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_full_outbox_refuses_before_the_tool_acts_and_recovers() {
    let overrides = [("AEGIS_PROXY__OUTBOX__BYTES_MAX", "4194304"), ("AEGIS_PROXY__OUTBOX__SEGMENT_BYTES", "1048576")];
    let mut d = Deployment::with_sidecars(Database::Sqlite, 1, &overrides).await;
    let agent = d.agent("full", &TOOLS).await;
    d.kill_control().await;
    for tool in TOOLS {
        refused(&d, &agent, tool).await.expect(503, "audit_unavailable");
    }
    let metrics = d.sidecars[0].metrics().await;
    assert!(metrics.lines().any(|line| line.contains("audit_unavailable") && !line.ends_with(" 0")), "{metrics}");
    d.start_control().await;
    for tool in TOOLS {
        let (mut n, mut last) = (0, String::new());
        let recovered = tokio::time::timeout(LONG, async {
            loop {
                n += 1;
                let answer = agent.call(d.url(), tool, &json!({ "again": n })).await;
                if answer.status == 200 {
                    return;
                }
                last = answer.body.to_string();
                tokio::time::sleep(POLL).await;
            }
        });
        assert!(recovered.await.is_ok(), "{tool} after {n} calls: {last}\n{}", d.logs());
    }
    d.drained().await;
    assert_eq!(d.admin.verify().await["valid"], true);
}

#[tokio::test]
async fn a_failing_disk_refuses_before_the_tool_acts() {
    let d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("broken", &TOOLS).await;
    for tool in TOOLS {
        assert_eq!(agent.call(d.url(), tool, &json!({ "n": 0 })).await.status, 200);
    }
    // From now on every write beyond the first byte of a file fails, as on a disk that is full.
    d.sidecars[0].process.as_ref().unwrap().limit_file_size(Some(1));
    for tool in TOOLS {
        refused(&d, &agent, tool).await.expect(503, "audit_unavailable");
    }
}

/// Overwrites a piece of the row with this audit id where it lies in the outbox.
fn damage(outbox: &std::path::Path, audit_id: &str) {
    use std::os::unix::fs::FileExt as _;
    for entry in std::fs::read_dir(outbox).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(audit_id.len()).position(|window| window == audit_id.as_bytes()) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            return file.write_all_at(&[0; 16], at as u64).unwrap();
        }
    }
    panic!("no file of the outbox holds {audit_id}");
}

#[tokio::test]
async fn rows_damaged_on_the_disk_are_declared_lost_and_the_others_arrive() {
    let mut d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("damaged", &TOOLS).await;
    d.drained().await;
    d.kill_control().await;
    let mut calls = Vec::new();
    for n in 0..12 {
        let answer = agent.call(d.url(), "strict.echo", &json!({ "n": n })).await;
        calls.push(answer.data()["audit_id"].as_str().unwrap().to_owned());
    }
    d.sidecars[0].kill().await;
    let outbox = d.path("proxy-0").join("outbox");
    for audit_id in [&calls[3], &calls[7]] {
        damage(&outbox, audit_id);
    }
    d.start_control().await;
    d.sidecars[0].start().await;
    let last = agent.call(d.url(), "test.echo", &json!({ "after": "the damage" })).await;
    d.row(last.data()["audit_id"].as_str().unwrap()).await;
    d.drained().await;
    let checked = d.admin.verify().await;
    assert_eq!(checked["valid"], true, "{checked}\n{}", d.logs());
    assert_eq!(checked["lost_entries"], 2, "{checked}");
    let losses = checked["declared_losses"].as_array().unwrap();
    assert_eq!(losses.len(), 2, "{checked}");
    assert!(losses.iter().all(|loss| loss["from"] == loss["to"] && loss["why"].as_str().unwrap().contains("damaged")));
    let rows = d.admin.call_rows().await;
    for (n, audit_id) in calls.iter().enumerate() {
        let there = rows.iter().any(|row| row["id"] == audit_id.as_str());
        assert_eq!(there, n != 3 && n != 7, "call {n}");
    }
    let metrics = d.sidecars[0].metrics().await;
    assert!(metrics.contains("aegis_proxy_outbox_rows_lost 2"), "{metrics}");
}
