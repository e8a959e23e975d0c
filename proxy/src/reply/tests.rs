//! Answers: the table of refusals, headers, raw results.

use super::*;
use aegis_core::entropy::SystemEntropy;
use aegis_core::time::Timestamp;
use aegis_pipeline::refusal::LimitType;
use std::time::Duration;

fn about() -> About {
    About {
        request_id: RequestId::parse("r-1").unwrap(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        limits: vec![
            LimitView {
                limit_type: LimitType::TenantDailyRequest,
                limit: 1_000,
                remaining: 900,
                reset_after: Duration::from_mins(1),
            },
            LimitView {
                limit_type: LimitType::TenantRps,
                limit: 50,
                remaining: 3,
                reset_after: Duration::from_millis(1_200),
            },
        ],
        decision: Decision::Refused,
        score: BasisPoints::ZERO,
        execution_id: Some(ExecutionId::generate(Timestamp::from_seconds(1), &SystemEntropy)),
        audit_id: None,
        stages: Some(Timeline::default()),
        tool_name: Some("db.query".into()),
    }
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.to_str().ok())
}

fn refused(refusal: &Refusal) -> (Reply, Value) {
    let reply = Reply::refused(&about(), refusal);
    let body = serde_json::from_slice(&reply.body).unwrap();
    (reply, body)
}

#[test]
fn refusals_have_the_envelope_their_status_and_their_facts() {
    let limit = LimitReached {
        limit_type: LimitType::TenantRps,
        limit: 50,
        reset_at: Timestamp::from_seconds(9),
        retry_after: Duration::from_millis(200),
    };
    let cases = [
        (Refusal::InvalidToken, 401, "invalid_token", Value::Null),
        (Refusal::PayloadTooLarge { limit_bytes: 7 }, 413, "payload_too_large", json!({"limit_bytes": 7})),
        (Refusal::UpstreamTimeout, 504, "upstream_timeout", json!({"tool_name": "db.query"})),
        (
            Refusal::RateLimited(limit),
            429,
            "rate_limited",
            json!({"limit_type": "tenant_rps", "limit": 50, "reset_at": "1970-01-01T00:00:09.000000Z"}),
        ),
    ];
    for (refusal, status, identifier, data) in cases {
        let (reply, body) = refused(&refusal);
        assert_eq!((reply.status, &body["error"], &body["success"]), (status, &json!(identifier), &json!(false)));
        assert_eq!((&body["data"], &body["meta"]["code"]), (&data, &json!(status)));
        assert_eq!(body["meta"]["request_id"], "r-1");
        assert_eq!(header(&reply, "x-request-id"), Some("r-1"));
        assert_eq!(header(&reply, "x-aegis-decision"), Some("REFUSED"));
        assert_eq!(header(&reply, "retry-after"), (status == 429).then_some("1"));
    }
}

#[test]
fn the_tightest_limit_is_told_plainly_and_all_of_them_in_the_policy() {
    let (reply, _) = refused(&Refusal::UnknownTool);
    assert_eq!(header(&reply, "ratelimit-limit"), Some("50"));
    assert_eq!(header(&reply, "ratelimit-remaining"), Some("3"));
    assert_eq!(header(&reply, "ratelimit-reset"), Some("2"));
    assert!(header(&reply, "ratelimit-policy").unwrap().contains("\"tenant_daily_request\";q=1000;r=900"));
}

#[test]
fn results_are_json_as_sent_or_a_string() {
    for (answer, result) in [
        (&br#"{"a":1.0,"b":[1e400]}"#[..], r#"{"a":1.0,"b":[1e400]}"#),
        (b"plain \"text\"", r#""plain \"text\"""#),
        (b"", r#""""#),
        (b"\xff", "\"\u{fffd}\""),
    ] {
        assert_eq!(released(answer).get(), result);
    }
}

#[test]
fn a_replay_has_its_own_request_id() {
    let (reply, _) = refused(&Refusal::UpstreamError);
    let mut second = about();
    second.request_id = RequestId::parse("r-2").unwrap();
    let replayed = reply.replayed(&second);
    assert_eq!(header(&replayed, "x-request-id"), Some("r-2"));
    assert_eq!(header(&replayed, "x-aegis-idempotent-replay"), Some("true"));
    assert_eq!(replayed.body, reply.body);
}
