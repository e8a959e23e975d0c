//! One call along the whole line: decided, executed, recorded, receipted.

use aegis_tests::upstream::leaked_key;
use reqwest::Method;
use serde_json::json;

use crate::both;

both! {
    async fn an_allowed_call_is_executed_and_proved(d) {
        let agent = d.agent("first", &["test.echo"]).await;
        let before = d.upstream.count("test.echo");
        let payload = json!({ "b": [1, 2.5, "x"], "a": "hello" });
        let request = agent.request(d.url(), "test.echo", &payload).header("x-request-id", "mine-1").header("x-secret", "no");
        let answer = aegis_tests::client::Answer::of(request).await.unwrap();

        let data = answer.data();
        assert_eq!(data["result"], payload);
        assert_eq!(data["action"], "ALLOW");
        assert_eq!(data["tool_name"], "test.echo");
        assert_eq!(data["upstream"]["status"], 200);
        assert!(data["risk_score"].as_u64().unwrap() < 30, "{data}");
        assert_eq!(answer.header("x-request-id"), "mine-1");
        assert_eq!(answer.header("x-aegis-decision"), "ALLOW");
        assert_eq!(answer.header("x-aegis-audit-id"), data["audit_id"]);

        let executed = d.upstream.executed().last().cloned().unwrap();
        assert_eq!(d.upstream.count("test.echo"), before + 1);
        assert_eq!(executed.payload, payload);
        assert_eq!(executed.execution_id, data["execution_id"].as_str().unwrap());
        for hidden in ["authorization", "x-tenant-id", "x-agent-id", "x-secret", "cookie"] {
            assert!(!executed.headers.contains_key(hidden), "the tool was told {hidden}");
        }

        let row = d.row(data["audit_id"].as_str().unwrap()).await;
        assert_eq!(row["tool"], "test.echo");
        assert_eq!(row["decision"], "ALLOW");
        assert_eq!(row["agent_id"], agent.id);

        let path = format!("/receipts/{}", data["execution_id"].as_str().unwrap());
        let receipt = d.admin.get(&path).await;
        assert_eq!(receipt["receipt"]["entry"], data["receipt"]["entry"]);
        assert_eq!(receipt["receipt"]["signature"], data["receipt"]["signature"]);
        let chain = d.admin.verify().await;
        assert_eq!((chain["valid"].as_bool(), chain["complete"].as_bool()), (Some(true), Some(true)), "{chain}");
    }

    async fn a_denied_call_never_reaches_the_tool_and_is_recorded(d) {
        let agent = d.agent("denied", &["test.echo", "db.query"]).await;
        let answer = agent.call(d.url(), "db.query", &json!({ "query": "DROP TABLE customers" })).await;
        answer.expect(403, "policy_denied");
        let data = &answer.body["data"];
        assert_eq!(data["action"], "KILL");
        assert!(data["findings"].to_string().contains("destructive_sql"), "{data}");
        assert_eq!(d.upstream.count("db.query"), 0);
        let row = d.row(data["audit_id"].as_str().unwrap()).await;
        assert_eq!(row["decision"], "KILL");

        let answer = agent.call(d.url(), "test.other", &json!({})).await;
        answer.expect(403, "policy_denied");
        assert_eq!(d.upstream.count("test.other"), 0);
    }

    async fn secrets_in_an_answer_are_redacted(d) {
        let agent = d.agent("redacted", &["test.echo", "test.leak"]).await;
        let answer = agent.call(d.url(), "test.leak", &json!({ "row": 1 })).await;
        assert!(!answer.data().to_string().contains(&leaked_key()), "{}", answer.body);
        assert_eq!(answer.body["data"]["redactions"], 1, "{}", answer.body);
        assert_eq!(answer.body["data"]["result"]["service"], "warehouse");
    }

    async fn the_same_idempotency_key_acts_once(d) {
        let agent = d.agent("twice", &["test.echo"]).await;
        let before = d.upstream.count("test.echo");
        let send = async |payload: serde_json::Value| {
            let request = agent.request(d.url(), "test.echo", &payload).header("x-idempotency-key", "key-1");
            aegis_tests::client::Answer::of(request).await.unwrap()
        };
        let (one, two) = tokio::join!(send(json!({ "n": 1 })), send(json!({ "n": 1 })));
        assert_eq!(one.data()["execution_id"], two.data()["execution_id"]);
        assert_eq!(send(json!({ "n": 1 })).await.data()["execution_id"], one.data()["execution_id"]);
        assert_eq!(d.upstream.count("test.echo"), before + 1);
        send(json!({ "n": 2 })).await.expect(422, "idempotency_key_reused");
    }

    async fn other_paths_reach_the_control_plane_through_the_sidecar(d) {
        let mut through = d.admin.clone();
        through.base = d.url().to_owned();
        through.get("/agents").await;
        let hidden = through.ask(Method::GET, "/internal/sidecars", None).await;
        assert_eq!(hidden.status, 404, "{}", hidden.body);
        let direct = d.admin.ask(Method::POST, "/execute", Some(json!({ "tool_name": "test.echo", "payload": {} }))).await;
        direct.expect(421, "use_sidecar");
    }
}
