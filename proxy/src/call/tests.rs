//! Reading requests: paths, credentials, content types, bodies.

use super::*;
use aegis_core::entropy::SystemEntropy;
use http::{HeaderName, HeaderValue};

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn head(pairs: &[(&str, &str)]) -> CallHead {
    read_head(&headers(pairs), None, IpAddr::from([127, 0, 0, 1]), Timestamp::from_seconds(1), &SystemEntropy)
}

fn token(pairs: &[(&str, &str)]) -> Option<(bool, String)> {
    head(pairs).facts.credential.map(|c| match c {
        Credential::Token(secret) => (false, secret.expose().to_owned()),
        Credential::ApiKey(secret) => (true, secret.expose().to_owned()),
    })
}

#[test]
fn paths_are_sorted() {
    for path in ["/execute", "/execute/", "/v1/execute"] {
        assert_eq!(Target::of(path), Target::Execute(None), "{path}");
    }
    assert_eq!(Target::of("/execute/db.query"), Target::Execute(Some("db.query".into())));
    assert_eq!(Target::of("/v1/execute/a/b"), Target::Execute(Some("a/b".into())));
    for path in ["/", "/executes", "/agents", "/v1/agents", "/internals", "/v10/internal"] {
        assert_eq!(Target::of(path), Target::Forward, "{path}");
    }
}

#[test]
fn no_spelling_of_internal_is_forwarded() {
    for path in [
        "/internal",
        "/internal/sidecar/watch",
        "//internal/x",
        "/./internal",
        "/a/../internal",
        "/%69nternal",
        "/%2569nternal",
        "/INTERNAL/x",
        "/v1/internal",
        "/v1//internal",
        "/internal;x=1/y",
        "/\\internal",
        "/v1/v1/internal",
    ] {
        assert_eq!(Target::of(path), Target::Internal, "{path}");
    }
}

#[test]
fn each_form_of_credential_is_read_and_two_at_once_are_wrong() {
    let wrong = Some((false, String::new()));
    assert_eq!(token(&[]), None);
    assert_eq!(token(&[("authorization", "Bearer abc")]), Some((false, "abc".into())));
    assert_eq!(token(&[("authorization", "bearer acp_x")]), Some((true, "acp_x".into())));
    assert_eq!(token(&[("x-api-key", "acp_x")]), Some((true, "acp_x".into())));
    assert_eq!(token(&[("authorization", "Basic abc")]), wrong);
    assert_eq!(token(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), wrong);
    assert_eq!(token(&[("authorization", "Bearer a"), ("x-api-key", "acp_x")]), wrong);
}

#[test]
fn the_cookie_counts_only_with_its_csrf_token() {
    let csrf = hex::encode(Sha256::digest(b"aegis-csrf/1\nabc"));
    let wrong = Some((false, String::new()));
    assert_eq!(token(&[("cookie", "x=1; acp_token=abc"), ("x-csrf-token", &csrf)]), Some((false, "abc".into())));
    assert_eq!(token(&[("cookie", "acp_token=abc")]), wrong);
    assert_eq!(token(&[("cookie", "acp_token=abc"), ("x-csrf-token", "00")]), wrong);
    assert_eq!(token(&[("cookie", "acp_token=abc; acp_token=abd"), ("x-csrf-token", &csrf)]), wrong);
    assert_eq!(token(&[("cookie", "other=abc")]), None);
}

#[test]
fn a_repeated_tenant_or_agent_header_is_no_id() {
    let id = "018f6f1e-5c0a-7000-8000-000000000001";
    let head = head(&[("x-tenant-id", id), ("x-tenant-id", id), ("x-agent-id", id)]);
    assert!(head.facts.tenant_header.unwrap().parse::<aegis_core::id::TenantId>().is_err());
    assert!(head.facts.agent_header.unwrap().parse::<aegis_core::id::AgentId>().is_ok());
}

#[test]
fn only_utf8_json_is_a_body() {
    for value in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
        assert_eq!(check_content_type(&headers(&[("content-type", value)])), Ok(()), "{value}");
    }
    for value in ["text/plain", "application/jsonx", "application/json; charset=utf-16", ""] {
        assert_eq!(
            check_content_type(&headers(&[("content-type", value)])),
            Err(Refusal::UnsupportedMediaType),
            "{value}"
        );
    }
    let twice = headers(&[("content-type", "application/json"), ("content-type", "application/json")]);
    assert!(check_content_type(&twice).is_err() && check_content_type(&HeaderMap::new()).is_err());
}

#[test]
fn idempotency_keys_have_two_names_and_one_value() {
    assert_eq!(head(&[("idempotency-key", "k")]).idempotency_key, Ok(Some("k".into())));
    assert_eq!(head(&[("idempotency-key", "k"), ("x-idempotency-key", "k")]).idempotency_key, Ok(Some("k".into())));
    for pairs in [
        &[("idempotency-key", "k"), ("x-idempotency-key", "l")][..],
        &[("idempotency-key", "a b")],
        &[("idempotency-key", "")],
    ] {
        assert!(matches!(head(pairs).idempotency_key, Err(Refusal::ValidationFailed(_))), "{pairs:?}");
    }
}

#[test]
fn body_errors_get_their_identifier() {
    let cases = [
        ("{", "malformed_body"),
        ("[]", "malformed_body"),
        ("{\"tool_name\":\"t\",\"payload\":{},\"payload\":{}}", "malformed_body"),
        ("{\"payload\":{}}", "tool_name_required"),
        ("{\"tool_name\":\"t\"}", "validation_failed"),
    ];
    for (body, identifier) in cases {
        assert_eq!(read_body(body.as_bytes(), None).unwrap_err().identifier(), identifier, "{body}");
    }
    assert_eq!(path_tool(Some("a/b")), Err(Refusal::UnknownTool));
}
