//! Tools that hang, reset, lie or never stop.

use aegis_tests::deployment::{Database, Deployment};
use serde_json::json;

#[tokio::test]
async fn every_misbehaviour_of_a_tool_has_its_answer_and_its_row() {
    let d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("careful", &["test.echo", "test.fail", "bad.*", "gone.tool"]).await;
    let cases: [(&str, u16, &[&str]); 9] = [
        ("bad.hang", 504, &["upstream_timeout"]),
        ("bad.reset", 502, &["upstream_error", "upstream_unreachable"]),
        ("bad.short", 502, &["upstream_error"]),
        ("bad.large", 502, &["upstream_error"]),
        ("bad.endless", 502, &["upstream_error"]),
        ("bad.gzip", 502, &["upstream_error"]),
        ("bad.garbage", 502, &["upstream_error", "upstream_unreachable"]),
        ("gone.tool", 502, &["upstream_unreachable"]),
        ("test.fail", 502, &["upstream_error"]),
    ];
    for (tool, status, errors) in cases {
        let answer = agent.call(d.url(), tool, &json!({ "case": tool })).await;
        let fits = (answer.status == status || answer.status == 504 && tool == "bad.endless")
            && errors.contains(&answer.error());
        let slow = tool == "bad.endless" && answer.error() == "upstream_timeout";
        assert!(fits || slow, "{tool}: {} {}", answer.status, answer.body);
        assert!(!answer.body.to_string().contains("internal\":\"detail"), "{tool}: the body is withheld");
        d.row(answer.header("x-aegis-audit-id")).await;
    }
    let answer = agent.call(d.url(), "bad.redirect", &json!({})).await;
    assert_eq!(answer.data()["upstream"]["status"], 302, "redirects are not followed");
    assert_eq!(agent.call(d.url(), "test.echo", &json!({ "after": true })).await.status, 200);
}
