//! What an administrator changes holds on every sidecar within a second of the answer.

use std::time::Duration;

use aegis_tests::wait::until_within;
use reqwest::Method;
use serde_json::json;

use crate::both;

const WITHIN: Duration = Duration::from_secs(1);
const SHIPPED_WITHIN: Duration = Duration::from_secs(10);

both! {
    async fn a_kill_switch_stops_and_releases_calls(d) {
        let agent = d.agent("stopped", &["test.echo"]).await;
        let path = format!("/decision/kill-switch/{}", d.admin.tenant_id);
        d.admin.post(&path, json!({ "reason": "drill" })).await;
        until_within("calls are refused", WITHIN, async || {
            let answer = agent.call(d.url(), "test.echo", &json!({ "n": 1 })).await;
            (answer.error() == "kill_switch_engaged").then_some(answer)
        }).await.0.expect(403, "kill_switch_engaged");
        // A stranger learns nothing of it.
        let mut stranger = agent.clone();
        stranger.token = "x.y.z".into();
        stranger.call(d.url(), "test.echo", &json!({})).await.expect(401, "invalid_token");

        let answer = d.admin.ask(Method::DELETE, &path, None).await;
        answer.data();
        until_within("calls go on", WITHIN, async || {
            (agent.call(d.url(), "test.echo", &json!({ "n": 2 })).await.status == 200).then_some(())
        }).await;
    }

    async fn a_revocation_ends_the_tokens_of_an_agent(d) {
        let agent = d.agent("revoked", &["test.echo"]).await;
        assert_eq!(agent.call(d.url(), "test.echo", &json!({ "n": 1 })).await.status, 200);
        d.admin.post("/auth/revoke", json!({ "agent_id": agent.id })).await;
        until_within("the token is refused", WITHIN, async || {
            (agent.call(d.url(), "test.echo", &json!({ "n": 2 })).await.error() == "invalid_token").then_some(())
        }).await;
    }

    async fn an_api_key_calls_as_its_agent_until_it_is_revoked(d) {
        let mut agent = d.agent("keyed", &["test.echo"]).await;
        let made = d.admin.post("/api-keys", json!({ "name": "keyed", "agent_id": agent.id })).await;
        agent.token = made["api_key"].as_str().unwrap().to_owned();
        until_within("the key is known", WITHIN, async || {
            (agent.call(d.url(), "test.echo", &json!({ "n": 1 })).await.status == 200).then_some(())
        }).await;
        // The row that tells of its use is shipped beside the call.
        until_within("its use is known", SHIPPED_WITHIN, async || {
            d.admin.get("/api-keys").await[0]["last_used_at"].is_string().then_some(())
        }).await;
        let row = d.admin.call_rows().await.pop().unwrap();
        assert_eq!(row["agent_id"], json!(agent.id), "{row}");
        let path = format!("/api-keys/{}", made["id"].as_str().unwrap());
        d.admin.ask(Method::DELETE, &path, None).await.data();
        until_within("the key is refused", WITHIN, async || {
            (agent.call(d.url(), "test.echo", &json!({ "n": 2 })).await.error() == "invalid_token").then_some(())
        }).await;
    }

    async fn an_api_key_without_the_scope_executes_nothing(d) {
        let mut agent = d.agent("reader", &["test.echo"]).await;
        let made = d.admin.post("/api-keys", json!({ "name": "reader", "scopes": ["read", "write"] })).await;
        agent.token = made["api_key"].as_str().unwrap().to_owned();
        until_within("the key is known", WITHIN, async || {
            let answer = agent.call(d.url(), "test.echo", &json!({ "n": 1 })).await;
            (answer.error() != "invalid_token").then_some(answer)
        }).await.0.expect(403, "insufficient_role");
    }

    async fn a_grant_opens_a_tool_and_its_removal_closes_it(d) {
        let agent = d.agent("granted", &["test.echo"]).await;
        agent.call(d.url(), "test.extra", &json!({ "n": 1 })).await.expect(403, "policy_denied");
        let grant = d.admin.grant(&agent.id, "test.extra").await;
        until_within("the tool is open", WITHIN, async || {
            (agent.call(d.url(), "test.extra", &json!({ "n": 2 })).await.status == 200).then_some(())
        }).await;
        let path = format!("/agents/{}/permissions/{grant}", agent.id);
        d.admin.ask(Method::DELETE, &path, None).await.data();
        until_within("the tool is closed", WITHIN, async || {
            (agent.call(d.url(), "test.extra", &json!({ "n": 3 })).await.status == 403).then_some(())
        }).await;
    }

    async fn an_uploaded_policy_denies(d) {
        let agent = d.agent("governed", &["test.echo"]).await;
        let rego = "package aegis.decision\n\nimport rego.v1\n\ndeny contains {\"id\": \"tests.deny.word\", \"severity\": \"high\"} if {\n\
                    \tinput.payload.word == \"forbidden\"\n}\n";
        d.admin.post("/policy/upload", json!({ "name": "tests", "rego": rego })).await;
        let answer = until_within("the policy denies", WITHIN, async || {
            let answer = agent.call(d.url(), "test.echo", &json!({ "word": "forbidden" })).await;
            (answer.status != 200).then_some(answer)
        }).await.0;
        answer.expect(403, "policy_denied");
        assert_eq!(answer.body["data"]["rule_id"], "tests.deny.word");
        assert_eq!(agent.call(d.url(), "test.echo", &json!({ "word": "fine" })).await.status, 200);

        let broken = d.admin.ask(Method::POST, "/policy/upload", Some(json!({ "name": "tests", "rego": "package aegis.decision\ndeny {" }))).await;
        assert_eq!(broken.status, 422, "{}", broken.body);
    }

    async fn a_suspended_agent_is_refused(d) {
        let agent = d.agent("suspended", &["test.echo"]).await;
        d.admin.ask(Method::PATCH, &format!("/agents/{}", agent.id), Some(json!({ "status": "SUSPENDED" }))).await.data();
        until_within("the agent is refused", WITHIN, async || {
            (agent.call(d.url(), "test.echo", &json!({})).await.error() == "agent_not_active").then_some(())
        }).await;
    }
}
