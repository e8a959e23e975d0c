//! The ways in and out: TLS with a pinned authority, unix sockets, traces to a collector.

use std::os::unix::fs::PermissionsExt as _;

use aegis_tests::client::Answer;
use aegis_tests::collector::Collector;
use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::tls::Authority;
use aegis_tests::wait::until;
use serde_json::json;

async fn without_sidecar() -> Deployment {
    Deployment::with_sidecars(Database::Sqlite, 0, &[]).await
}

#[tokio::test]
async fn a_control_plane_behind_tls_is_reached_through_its_authority_only() {
    let mut d = without_sidecar().await;
    let (ours, other) = (Authority::new(), Authority::new());
    let url = format!("https://localhost:{}", ours.terminate(d.control_port()).await);
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (ours.write(folder.path(), "ours.pem"), other.write(folder.path(), "other.pem"));
    let settings = |ca| [("AEGIS_PROXY__CONTROL__URL", url.as_str()), ("AEGIS_PROXY__CONTROL__CA_FILE", ca)];

    // Another authority than the pinned one, or none but the system's: no word is said, the join token stays ours.
    for ca in [other.to_str().unwrap(), ""] {
        let sidecar = d.new_sidecar(&settings(ca)).await;
        let mut process = sidecar.program.start();
        until("it gives up on the certificate", async || process.log_tail().contains("not enrolled yet").then_some(()))
            .await;
        assert!(!process.has_ended());
        process.kill().await;
        let known = d.admin.get("/internal/sidecars").await;
        assert_eq!(known.as_array().map(Vec::len), Some(0), "{known}");
    }

    let mut sidecar = d.new_sidecar(&settings(ours.to_str().unwrap())).await;
    sidecar.start().await;
    d.sidecars.push(sidecar);
    let agent = d.agent("tls", &["test.echo"]).await;
    let answer = agent.call(d.url(), "test.echo", &json!({ "n": 1 })).await;
    d.row(answer.data()["audit_id"].as_str().unwrap()).await;
    // What is forwarded goes the same way.
    let forwarded = Answer::of(d.admin.http.get(format!("{}/health", d.url()))).await.unwrap();
    assert_eq!(forwarded.status, 200, "{}\n{}", forwarded.body, d.logs());
}

#[tokio::test]
async fn agents_and_tools_may_be_behind_unix_sockets() {
    let mut d = without_sidecar().await;
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("front.sock"), folder.path().join("back.sock"));
    let tool = async |body: axum::Json<serde_json::Value>| axum::Json(json!({ "over": "unix", "got": body.0 }));
    let app = axum::Router::new().route("/tools/local.echo", axum::routing::post(tool));
    let listener = tokio::net::UnixListener::bind(&back).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let tools = folder.path().join("tools.toml");
    let route = format!(
        "[[tool]]\nname = \"local.echo\"\nurl = \"unix:{}\"\npath = \"/tools/{{tool_name}}\"\neffect = \"read\"\n",
        back.display()
    );
    std::fs::write(&tools, route).unwrap();
    let address = format!("unix:{}", front.display());
    let overrides =
        [("AEGIS_PROXY__LISTEN__ADDRESS", address.as_str()), ("AEGIS_PROXY__TOOLS_FILE", tools.to_str().unwrap())];
    let mut sidecar = d.new_sidecar(&overrides).await;
    sidecar.start().await;
    d.sidecars.push(sidecar);

    assert_eq!(std::fs::metadata(&front).unwrap().permissions().mode() & 0o777, 0o660);
    let mut agent = d.admin.agent("unix", &["local.echo"]).await;
    agent.http = reqwest::Client::builder().unix_socket(front.as_path()).no_proxy().build().unwrap();
    let answer = until("the sidecar knows the agent", async || {
        let answer = agent.try_call("http://localhost", "local.echo", &json!({ "n": 7 })).await?;
        (answer.error() != "unknown_agent").then_some(answer)
    })
    .await;
    assert_eq!(answer.data()["result"], json!({ "over": "unix", "got": { "n": 7 } }));
    d.row(answer.data()["audit_id"].as_str().unwrap()).await;
    // What is not a call goes on to the control plane, as over TCP.
    let forwarded = Answer::of(agent.http.get("http://localhost/health")).await.unwrap();
    assert_eq!(forwarded.status, 200, "{}", forwarded.body);
    // A left-over socket does not keep the next start from binding.
    let mut sidecar = d.sidecars.remove(0);
    sidecar.kill().await;
    sidecar.start().await;
    let again = agent.call("http://localhost", "local.echo", &json!({ "n": 8 })).await;
    assert_eq!(again.status, 200, "{}", again.body);
}

#[tokio::test]
async fn a_call_is_a_span_between_its_callers_and_its_tools() {
    let collector = Collector::start().await;
    let overrides = [("AEGIS_PROXY__OTLP__ENDPOINT", collector.url.as_str())];
    let d = Deployment::with_sidecars(Database::Sqlite, 1, &overrides).await;
    let agent = d.agent("traced", &["test.echo"]).await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let request = agent.request(d.url(), "test.echo", &json!({ "n": 1 }));
    let answer = Answer::of(request.header("traceparent", format!("00-{trace}-{parent}-01"))).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = d.upstream.executed().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    let span = until("the span arrives", async || {
        collector.spans().into_iter().find(|span| span.trace_id == trace && span.name == "call")
    })
    .await;
    assert_eq!(span.parent, parent);
    assert_eq!(told, format!("00-{trace}-{}-01", span.span_id), "the tool continues from our span");
    // A call that comes without a trace gets one of its own.
    agent.call(d.url(), "test.echo", &json!({ "n": 2 })).await;
    let told = d.upstream.executed().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    until("the second span arrives", async || {
        collector.spans().into_iter().find(|span| told.contains(&span.trace_id) && span.parent.is_empty())
    })
    .await;
}
