//! Evidence of a running deployment, judged by implementations that are not ours and not in Rust.

use std::path::Path;
use std::process::{Command, Output};

use aegis_tests::repository::root;
use aegis_tests::wait::until;
use serde_json::{Value, json};

use crate::both;
use crate::evidence::export;

/// Runs `tests/oracle/judge.py` over a folder.
fn judge(folder: &Path) -> Output {
    let python = root().join("target/oracle/bin/python");
    assert!(
        python.exists(),
        "the Python packages of tests/oracle are not installed: run `deploy/dev/deps.sh test` once"
    );
    Command::new(python).arg(root().join("tests/oracle/judge.py")).arg(folder).output().expect("Python")
}

fn write(folder: &Path, name: &str, what: &Value) {
    std::fs::write(folder.join(name), what.to_string()).expect("written");
}

both! {
    async fn sigstore_and_the_standard_librarys_hashes_agree_with_every_proof(d) {
        let mut d = d;
        let agent = d.agent("proved", &["test.echo", "strict.echo"]).await;
        let mut calls = Vec::new();
        for n in 0..8 {
            let tool = if n % 2 == 0 { "test.echo" } else { "strict.echo" };
            calls.push(agent.call(d.url(), tool, &json!({ "n": n, "ü": "\u{1f600}" })).await.data()["execution_id"].clone());
        }
        d.sidecars[0].kill().await;
        d.sidecars[0].start().await;
        d.kill_control().await;
        d.start_control().await;
        calls.push(agent.call(d.url(), "test.echo", &json!({})).await.data()["execution_id"].clone());
        d.drained().await;

        let mut receipts = Vec::new();
        for id in &calls {
            let path = format!("/receipts/{}", id.as_str().unwrap());
            let receipt = until("the call is published", async || {
                let answer = d.admin.ask(reqwest::Method::GET, &path, None).await;
                let is_covered = answer.status == 200 && answer.data()["inclusion"].is_object();
                is_covered.then(|| answer.data().clone())
            })
            .await;
            receipts.push(receipt);
        }
        let size = receipts.iter().map(|r| r["inclusion"]["tree_size"].as_u64().unwrap()).max().unwrap();
        let mut proofs = Vec::new();
        for from in 0..=size {
            proofs.push(d.admin.get(&format!("/transparency/consistency?from_size={from}&to_size={size}")).await);
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        export(&d, at, json!({ "format": "evidence" })).await;
        std::fs::write(at.join("trust.txt"), d.trust().await).unwrap();
        write(at, "receipts.json", &json!(receipts));
        write(at, "consistency.json", &json!(proofs));
        let judged = judge(at);
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
        let said: Value = serde_json::from_slice(&judged.stdout).unwrap();
        assert_eq!((&said["receipts"], &said["consistency"]), (&json!(9), &json!(size + 1)), "{said}");
        assert!(said["entries"].as_u64() >= Some(size) && said["checkpoints"].as_u64() >= Some(1), "{said}");

        // And it can say no.
        let swapped = receipts[0]["inclusion"]["hashes"][0].clone();
        receipts[0]["inclusion"]["hashes"][0] = receipts[0]["inclusion"]["hashes"][1].take();
        receipts[0]["inclusion"]["hashes"][1] = swapped;
        write(at, "receipts.json", &json!(receipts));
        let judged = judge(at);
        assert!(!judged.status.success() && judged.stdout.is_empty());
        assert!(String::from_utf8_lossy(&judged.stderr).starts_with("wrong: "));
    }
}
