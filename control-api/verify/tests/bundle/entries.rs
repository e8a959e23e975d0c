//! The verifier's reader of entries agrees with the writer's encoder, kind by kind.

use std::collections::BTreeSet;

use aegis_core::id::{ApprovalId, AuditId, BootId, ContractId, SourceId, UserId};
use aegis_core::snapshot::KillSwitch;
use aegis_core::time::Timestamp;
use aegis_ledger::chain::Cursor;
use aegis_ledger::entry::{Body, Entry, Header};
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::{
    Close, DecisionRow, Gap, Heartbeat, Kill, OutcomeRow, Policy, PreviousBoot, RowFinding, Upstream,
};
use aegis_ledger::signing::PrivateKey;
use aegis_verify::canonical;
use aegis_verify::schema::{self, ENTRY_DEPTH_MAX};
use aegis_verify::testing;
use uuid::Uuid;

fn encoded(body: Body) -> String {
    let (source, boot) = (SourceId::from_uuid(Uuid::from_u128(1)), BootId::from_uuid(Uuid::from_u128(2)));
    let cursor = Cursor::start(testing::tenant(), source, boot);
    let header = Header {
        tenant_id: testing::tenant(),
        source,
        boot,
        seq: cursor.next_seq,
        prev: cursor.prev,
        ts: Timestamp::from_micros(1_700_000_000_000_001),
        audit_id: AuditId::from_uuid(Uuid::from_u128(3)),
    };
    Entry { header, body }.encode().unwrap()
}

/// Each kind, poor and rich.
fn bodies() -> Vec<Body> {
    let writer = testing::Writer::new(2, 1);
    let rich = DecisionRow {
        client_request_id: Some("c\u{1f600}\"\\\n".into()),
        session_id: Some("s".into()),
        findings: vec![RowFinding {
            id: aegis_core::finding::FindingId::ALL[0],
            severity: aegis_core::finding::Severity::High,
            score: 80,
            pointer: "/a~1b".into(),
        }],
        contract: Some(ContractId::from_uuid(Uuid::from_u128(5))),
        approval: Some(ApprovalId::from_uuid(Uuid::from_u128(6))),
        redactions: [("email".to_owned(), 2)].into(),
        ..testing::decision(1)
    };
    let poor = DecisionRow {
        policy: None,
        input_commitment: None,
        output_commitment: None,
        upstream: None,
        ..testing::decision(2)
    };
    let switch =
        KillSwitch { engaged_at: Timestamp::from_micros(1), engaged_by: "user:1".into(), reason: "drill".into() };
    let Body::Open(open) = writer.open() else { unreachable!("an open") };
    let previous = PreviousBoot { boot: BootId::from_uuid(Uuid::from_u128(4)), last_seq: Some(3), closed: true };
    let Body::Outcome(outcome) = testing::outcome(1) else { unreachable!("an outcome") };
    vec![
        Body::Open(open.clone()),
        Body::Open(aegis_ledger::rows::Open { previous: Some(previous), ..open }),
        Body::Close(Close { reason: "stop".into() }),
        Body::Heartbeat(Heartbeat { forwarded: 1, denied: 2, errored: 3, last_seq: 4 }),
        Body::Decision(Box::new(rich)),
        Body::Decision(Box::new(poor)),
        Body::Outcome(OutcomeRow {
            output_commitment: Some(Hash::of(&[b"o"])),
            upstream: Some(Upstream { status: None, us: 1 }),
            ..outcome.clone()
        }),
        Body::Outcome(outcome),
        Body::Gap(Gap { lost_boot: BootId::from_uuid(Uuid::from_u128(4)), from: 1, to: 2, why: "disk".into() }),
        testing::admin("agent:1"),
        testing::key("checkpoint", "introduced", &PrivateKey::from_seed(&[9; 32])),
        writer.enrolment(),
        Body::Policy(Policy {
            actor: "user:1".into(),
            name: "p".into(),
            version: 2,
            revision: "ab".into(),
            mode: "active".into(),
        }),
        Body::Kill(Kill { actor: "user:1".into(), engaged: Some(switch), user_id: None }),
        Body::Kill(Kill {
            actor: "user:1".into(),
            engaged: None,
            user_id: Some(UserId::from_uuid(Uuid::from_u128(8))),
        }),
    ]
}

#[test]
fn what_the_writer_encodes_is_read_and_what_is_more_or_less_is_not() {
    let mut kinds = BTreeSet::new();
    for body in bodies() {
        let kind = body.kind();
        let text = encoded(body);
        let entry = canonical::read(&text, ENTRY_DEPTH_MAX).unwrap();
        assert_eq!(schema::check(&entry), Ok(kind), "{text}");
        kinds.insert(kind);
        let more = text.replacen('{', r#"{"0":1,"#, 1);
        assert!(schema::check(&canonical::read(&more, ENTRY_DEPTH_MAX).unwrap()).is_err(), "{more}");
        let less = text.replace(r#""seq":0,"#, "");
        assert!(schema::check(&canonical::read(&less, ENTRY_DEPTH_MAX).unwrap()).is_err(), "{less}");
        let other = text.replace(r#""seq":0"#, r#""seq":-1"#);
        assert!(schema::check(&canonical::read(&other, ENTRY_DEPTH_MAX).unwrap()).is_err(), "{other}");
    }
    assert_eq!(kinds.len(), 11);
}
