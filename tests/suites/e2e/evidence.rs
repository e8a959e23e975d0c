//! Evidence of a deployment that was killed on the way, judged by the verifier that auditors use.

use std::path::Path;
use std::process::Command;

use aegis_tests::deployment::Deployment;
use aegis_tests::process::binary;
use aegis_tests::wait::until;
use serde_json::{Value, json};

use crate::both;

/// Runs the verifier; its exit code and what it says.
fn verify(folder: &Path, more: &[&str]) -> (i32, Value) {
    let output = Command::new(binary("aegis-verify"))
        .current_dir(folder)
        .args(["bundle.zip", "--policy", "trust.txt", "--json"])
        .args(more)
        .output()
        .expect("the verifier");
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap_or(-1), said)
}

pub(crate) async fn export(d: &Deployment, folder: &Path, body: Value) {
    let request = d.admin.http.post(format!("{}/audit/export", d.admin.base)).bearer_auth(&d.admin.token);
    let answer = request.header("x-tenant-id", &d.admin.tenant_id).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
    std::fs::write(folder.join("bundle.zip"), answer.bytes().await.expect("a file")).expect("written");
}

both! {
    async fn a_bundle_of_a_killed_deployment_verifies_and_no_forgery_of_it_does(d) {
        let mut d = d;
        let agent = d.agent("proved", &["test.echo", "strict.echo"]).await;
        for n in 0..3 {
            agent.call(d.url(), "test.echo", &json!({ "n": n })).await.data();
        }
        agent.call(d.url(), "strict.echo", &json!({ "n": 3 })).await.data();
        agent.call(d.url(), "test.other", &json!({})).await.expect(403, "policy_denied");
        d.sidecars[0].kill().await;
        d.sidecars[0].start().await;
        agent.call(d.url(), "test.echo", &json!({ "n": 4 })).await.data();
        d.kill_control().await;
        let last = agent.call(d.url(), "test.echo", &json!({ "n": 5 })).await;
        d.start_control().await;
        let row = d.row(last.data()["audit_id"].as_str().unwrap()).await;
        d.drained().await;
        let note = json!({ "note_type": "analysis", "body": "as expected" });
        d.admin.post(&format!("/audit/logs/{}/notes", row["id"].as_str().unwrap()), note).await;

        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("trust.txt"), d.trust().await).unwrap();
        let index = row["metadata_json"]["index"].as_u64().unwrap();
        until("a checkpoint covers the last call and its note", async || {
            export(&d, at, json!({ "format": "evidence" })).await;
            let (_, said) = verify(at, &[]);
            (said["size"].as_u64() > Some(index + 1)).then_some(())
        })
        .await;
        let (code, said) = verify(at, &[]);
        assert_eq!(code, 0, "{said:#}");
        for claim in ["integrity", "origin", "included", "consistent", "complete"] {
            assert_eq!(said["claims"][claim], "ok", "{said:#}");
        }
        assert_eq!(verify(at, &["--require-witness", "1"]).0, 4);

        let path = format!("/receipts/{}", last.data()["execution_id"].as_str().unwrap());
        let receipt = d.admin.get(&path).await;
        std::fs::write(at.join("receipt.json"), receipt.to_string()).unwrap();
        let (code, said) = verify(at, &["--receipt", "receipt.json"]);
        assert_eq!((code, &said["receipts"]), (0, &json!(1)), "{said:#}");
        std::fs::write(at.join("receipt.json"), receipt.to_string().replace("test.echo", "test.ohce")).unwrap();
        assert_eq!(verify(at, &["--receipt", "receipt.json"]).0, 1);

        let (code, said) = verify(at, &["--self-attack"]);
        assert_eq!((code, &said["all_caught"]), (0, &json!(true)), "{said:#}");
        assert!(said["attacks"].as_array().unwrap().len() > 60);

        export(&d, at, json!({ "format": "evidence", "agent_id": agent.id })).await;
        let (code, said) = verify(at, &[]);
        assert_eq!((code, &said["claims"]["included"], &said["claims"]["integrity"]), (3, &json!("ok"), &json!("ok")), "{said:#}");

        let stranger = d.trust().await.replace("control 0", "control f").replace("control 1", "control f");
        std::fs::write(at.join("trust.txt"), stranger).unwrap();
        let (code, said) = verify(at, &[]);
        assert_eq!((code, &said["claims"]["origin"]), (1, &json!("invalid")), "{said:#}");
    }

    async fn a_key_rotated_while_all_runs_leaves_old_receipts_and_policies_good(d) {
        let agent = d.agent("proved", &["test.echo"]).await;
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let before = agent.call(d.url(), "test.echo", &json!({ "n": 0 })).await;
        d.row(before.data()["audit_id"].as_str().unwrap()).await;
        let path = format!("/receipts/{}", before.data()["execution_id"].as_str().unwrap());
        let receipt = until("a checkpoint covers the call", async || {
            let receipt = d.admin.get(&path).await;
            receipt["checkpoint"].is_string().then_some(receipt)
        })
        .await;
        std::fs::write(at.join("receipt.json"), receipt.to_string()).unwrap();
        let old_policy = d.trust().await;

        let rotated = d.command(&["keys", "rotate"]).await;
        assert_eq!(rotated["ledgers"], 1, "{rotated:#}");
        let keys = d.admin.get("/transparency/keys").await;
        assert_eq!(keys["active"]["fingerprint"], rotated["active"]);
        assert_eq!(keys["historical"][0]["fingerprint"], rotated["retired"]);
        let after = agent.call(d.url(), "test.echo", &json!({ "n": 1 })).await;
        let index = d.row(after.data()["audit_id"].as_str().unwrap()).await["metadata_json"]["index"].as_u64().unwrap();
        let reported = d.command(&["keys", "compromised", "--key-id", rotated["retired"].as_str().unwrap()]).await;
        assert_eq!(reported["ledgers"], 1, "{reported:#}");

        // Believed by whoever trusted the old key, and by whoever trusts only the new one.
        for policy in [old_policy, d.trust().await] {
            std::fs::write(at.join("trust.txt"), policy).unwrap();
            until("a checkpoint of the new key covers the last call", async || {
                export(&d, at, json!({ "format": "evidence" })).await;
                let (_, said) = verify(at, &[]);
                (said["size"].as_u64() > Some(index)).then_some(())
            })
            .await;
            let (code, said) = verify(at, &["--receipt", "receipt.json"]);
            assert_eq!(code, 0, "{said:#}");
        }
        let mut kept = receipt["receipt"].clone();
        for name in ["index", "inclusion", "checkpoint"] {
            kept[name] = receipt[name].clone();
        }
        let verdict = d.admin.post("/receipts/verify", json!({ "receipt": kept })).await;
        assert_eq!(verdict["claims"]["included"], "ok", "{verdict:#}");
        let found = d.admin.get("/audit/logs/verify").await;
        assert_eq!((&found["valid"], &found["complete"]), (&json!(true), &json!(true)), "{found:#}");
    }
}
