//! What detectors see in whole calls.

use aegis_core::agent::Grant;
use aegis_core::finding::{FINDINGS_MAX, Finding, FindingId};
use aegis_core::pattern::ToolName;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

thread_local! {
    static DETECTORS: Detectors = Detectors::new();
}

/// The findings of a call with one parameter.
pub(crate) fn scan(tool: &str, key: &str, text: &str) -> Vec<Finding> {
    call(tool, &json!({ key: text }), &ToolHints::default(), true, &[])
}

/// The strongest finding of a call with one parameter.
pub(crate) fn top(tool: &str, key: &str, text: &str) -> Option<(FindingId, u8)> {
    scan(tool, key, text).first().map(|f| (f.id, f.score))
}

fn call(tool: &str, payload: &Value, hints: &ToolHints, granted: bool, grants: &[Grant]) -> Vec<Finding> {
    let tool_name = ToolName::parse(tool).unwrap();
    let tenant_id = "018f6f1e-5c0a-7000-8000-000000000001".parse().unwrap();
    let payload = payload.as_object().unwrap();
    let input = DetectInput { tool_name: &tool_name, payload, tenant_id, granted, grants, delegation_depth: 0, hints };
    DETECTORS.with(|d| d.scan(&input))
}

fn structured(tool: &str, payload: &Value) -> Vec<FindingId> {
    call(tool, payload, &ToolHints::default(), true, &[]).into_iter().map(|f| f.id).collect()
}

#[test]
fn findings_point_at_their_place() {
    let payload = json!({"a": [{"b~/c": "x"}, {"path": "../../etc/passwd"}], "arguments": "{\"url\": \"http://169.254.169.254/\"}"});
    let found = call("fs.read", &payload, &ToolHints::default(), true, &[]);
    assert!(found.iter().any(|f| f.id == FindingId::PathTraversal && f.pointer == "/a/1/path"));
    assert!(found.iter().any(|f| f.id == FindingId::SsrfCloudMetadata && f.pointer == "/arguments/url"));
}

#[test]
fn strange_keys_are_looked_at() {
    let found = call("crm.set", &json!({"' OR 1=1 --": "x"}), &ToolHints::default(), true, &[]);
    assert_eq!(found[0].id, FindingId::SqlInjection);
}

#[test]
fn paths_and_addresses_are_judged_by_role() {
    for (tool, key, text, expected) in [
        ("fs.read", "path", "../secrets.txt", Some((FindingId::PathTraversal, 90))),
        ("fs.read", "path", "reports/../index.md", None),
        ("fs.read", "path", "reports/2024/may.csv", None),
        ("fs.read", "path", "/etc/shadow", Some((FindingId::SystemSensitivePath, 95))),
        ("fs.read", "path", "~/.aws/credentials", Some((FindingId::CloudCredentialPath, 95))),
        ("fs.read", "path", "C:\\Windows\\System32\\config\\SAM", Some((FindingId::SystemSensitivePath, 95))),
        ("fs.read", "path", "a.png%00.txt", Some((FindingId::PathTraversal, 90))),
        (
            "crm.note",
            "text",
            "Why does Linux keep hashes in /etc/shadow and not in /etc/passwd?",
            Some((FindingId::SystemSensitivePath, 40)),
        ),
        ("http.fetch", "url", "http://127.0.0.1:9200/_cat", Some((FindingId::SsrfInternalNetwork, 95))),
        ("http.fetch", "url", "localhost:8080", Some((FindingId::SsrfInternalNetwork, 95))),
        ("http.fetch", "url", "file:///etc/hosts", Some((FindingId::SsrfLocalFile, 95))),
        ("http.fetch", "url", "https://example.org/", Some((FindingId::ExternalGet, 5))),
        ("http.post", "url", "https://webhook.site/abc", Some((FindingId::KnownExfilDestination, 80))),
        (
            "crm.note",
            "text",
            "the dashboard is at http://10.0.0.5:3000 for now",
            Some((FindingId::SsrfInternalNetwork, 40)),
        ),
    ] {
        assert_eq!(top(tool, key, text), expected, "{text}");
    }
}

#[test]
fn an_operator_may_allow_destinations() {
    let hints =
        ToolHints { allowed_destinations: vec![Destination::parse("127.0.0.1:8090").unwrap()], ..ToolHints::default() };
    let fetch = |url: &str| call("http.fetch", &json!({ "url": url }), &hints, true, &[]).len();
    assert_eq!(fetch("http://127.0.0.1:8090/a"), 0);
    assert_eq!(fetch("http://127.0.0.1:8091/a"), 1);
}

#[test]
fn the_tool_itself_is_judged() {
    let grant: Grant = serde_json::from_value(
        json!({"id": "018f6f1e-5c0a-7000-8000-000000000002", "tool": "db.query", "effect": "ALLOW"}),
    )
    .unwrap();
    let found = |tool: &str| -> Vec<FindingId> {
        call(tool, &json!({}), &ToolHints::default(), false, std::slice::from_ref(&grant))
            .iter()
            .map(|f| f.id)
            .collect()
    };
    assert_eq!(found("db.qeury"), [FindingId::ToolNotGranted, FindingId::ToolNameSpoofing]);
    assert_eq!(found("mail.send"), [FindingId::ToolNotGranted]);
    let foreign = json!({"tenant_id": "018f6f1e-5c0a-7000-8000-000000000009"});
    assert_eq!(structured("crm.list", &foreign), [FindingId::TenantFieldMismatch]);
    assert_eq!(structured("crm.list", &json!({"tenant_id": "018f6f1e-5c0a-7000-8000-000000000001"})), []);
}

#[test]
fn money_and_infrastructure_are_judged_by_their_fields() {
    for (tool, payload, expected) in [
        ("bank.transfer", json!({"amount": 10_001, "to": "Anna"}), vec![FindingId::MoneyTransferAboveCap]),
        ("bank.transfer", json!({"amount": "9,999.99", "to": "Anna"}), vec![]),
        ("bank.transfer", json!({"amount_cents": 1_000_001}), vec![FindingId::MoneyTransferAboveCap]),
        ("wire.send", json!({"amount": 5, "iban": "DE89370400440532013000"}), vec![FindingId::MoneyTransferExternal]),
        ("shop.add", json!({"amount": 99_999}), vec![]),
        (
            "k8s.delete",
            json!({"kind": "namespace", "name": "payments", "cluster": "eu-prod"}),
            vec![FindingId::K8sProdDestruction],
        ),
        (
            "k8s.delete",
            json!({"kind": "pod", "name": "web-1", "namespace": "staging"}),
            vec![FindingId::K8sDestruction],
        ),
        ("k8s.get", json!({"kind": "pod", "namespace": "prod"}), vec![]),
        ("terraform.run", json!({"action": "destroy", "workspace": "production"}), vec![FindingId::IacProdDestruction]),
        ("terraform.run", json!({"action": "destroy", "workspace": "non-prod"}), vec![FindingId::IacDestruction]),
        ("terraform.run", json!({"action": "plan", "workspace": "production"}), vec![]),
    ] {
        assert_eq!(structured(tool, &payload), expected, "{tool} {payload}");
    }
}

#[test]
fn credentials_in_arguments_are_seen() {
    let key = format!("ghp_{}", "a1B2".repeat(9));
    assert_eq!(top("mail.send", "body", &format!("the key is {key}")), Some((FindingId::SecretInArguments, 75)));
    assert_eq!(top("mail.send", "body", "the key is under the mat"), None);
}

#[test]
fn findings_are_bounded_and_ordered() {
    let payload: Value =
        (0..500).map(|i| (format!("path{i:03}"), json!("../../etc/shadow"))).collect::<serde_json::Map<_, _>>().into();
    let found = call("fs.read", &payload, &ToolHints::default(), true, &[]);
    assert_eq!(found.len(), FINDINGS_MAX);
    assert!(found.windows(2).all(|w| (w[1].score, &w[0].id, &w[0].pointer) <= (w[0].score, &w[1].id, &w[1].pointer)));
    assert_eq!(found, call("fs.read", &payload, &ToolHints::default(), true, &[]));
}

proptest! {
    #[test]
    fn any_payload_is_survived(key in "\\PC{0,12}", text in "\\PC{0,80}|[ -~]{0,120}|[;|&$`()'\"a-z /.\\\\-]{0,60}") {
        for key in [key.as_str(), "query", "path", "url", "command", "text"] {
            for finding in scan("app.call", key, &text) {
                prop_assert!(finding.score <= 100);
            }
        }
    }
}
