//! `aegis-entry/1`: one record, one encoding. The signed bytes are the record.
//!
//! Canonical JSON (RFC 8785) with a closed schema. Reading is: parse strictly, read every field, encode again;
//! the bytes must be the same.

use aegis_core::id::{AuditId, BootId, SourceId, TenantId};
use aegis_core::json::{self, JsonError};
use aegis_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical::{self, Refused};
use crate::hash::Hash;
use crate::rows::{
    Admin, Close, DailyStatement, DecisionRow, Enrol, Gap, Heartbeat, Key, Kill, Note, Open, OutcomeRow, Policy,
};

/// Bytes an entry may have at most.
pub const ENTRY_BYTES_MAX: usize = 48 * 1024;
/// Nesting an entry may have at most.
pub const ENTRY_DEPTH_MAX: usize = 8;
/// The format's version.
pub const ENTRY_VERSION: u64 = 1;

/// What every entry says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Who wrote it.
    pub source: SourceId,
    /// In which process start.
    pub boot: BootId,
    /// Its place in the source's chain, from 0.
    pub seq: u64,
    /// SHA-256 of the entry before it, or the chain's genesis.
    pub prev: Hash,
    /// When, by the source's clock.
    pub ts: Timestamp,
    /// The row's id.
    pub audit_id: AuditId,
}

/// What an entry says, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A source starts.
    Open(Open),
    /// A source ends.
    Close(Close),
    /// A source is alive.
    Heartbeat(Heartbeat),
    /// A governed call.
    Decision(Box<DecisionRow>),
    /// The end of a call decided durably before.
    Outcome(OutcomeRow),
    /// A declared loss.
    Gap(Gap),
    /// A management write.
    Admin(Admin),
    /// A key.
    Key(Key),
    /// An enrolment.
    Enrol(Enrol),
    /// A policy version.
    Policy(Policy),
    /// The kill switch.
    Kill(Kill),
    /// The tree at the end of a day.
    DailyStatement(DailyStatement),
    /// An analyst's note.
    Note(Note),
}

impl Body {
    /// The kind's name on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Close(_) => "close",
            Self::Heartbeat(_) => "heartbeat",
            Self::Decision(_) => "decision",
            Self::Outcome(_) => "outcome",
            Self::Gap(_) => "gap",
            Self::Admin(_) => "admin",
            Self::Key(_) => "key",
            Self::Enrol(_) => "enrol",
            Self::Policy(_) => "policy",
            Self::Kill(_) => "kill",
            Self::DailyStatement(_) => "daily_statement",
            Self::Note(_) => "note",
        }
    }
}

/// One record of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub header: Header,
    /// What it says.
    pub body: Body,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Longer than [`ENTRY_BYTES_MAX`].
    #[error("entry of {0} bytes, at most {ENTRY_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not JSON with one reading.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// Readable, but not in canonical form, or deeper than [`ENTRY_DEPTH_MAX`].
    #[error("not in canonical form")]
    NotCanonical,
    /// Not of the closed schema.
    #[error("schema: {0}")]
    Schema(String),
}

/// An entry's one object.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    header: &'a Header,
    #[serde(flatten)]
    body: &'a Body,
    v: u64,
}

const HEADER_FIELDS: [&str; 7] = ["tenant_id", "source", "boot", "seq", "prev", "ts", "audit_id"];

impl Entry {
    /// The entry's one encoding.
    ///
    /// # Errors
    /// If it is longer than allowed or says something the schema cannot.
    pub fn encode(&self) -> Result<String, EntryError> {
        let whole = Whole { header: &self.header, body: &self.body, v: ENTRY_VERSION };
        let text = canonical::encode(&whole, ENTRY_DEPTH_MAX + 1).map_err(|refused| match refused {
            Refused::Value => EntryError::NotCanonical,
            Refused::Schema(problem) => EntryError::Schema(problem),
        })?;
        if text.len() > ENTRY_BYTES_MAX { Err(EntryError::TooLong(text.len())) } else { Ok(text) }
    }

    /// Reads an entry from exactly its bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let Value::Object(mut body) = json::parse(bytes)? else {
            return Err(EntryError::Schema("not an object".into()));
        };
        let mut header = Map::new();
        for name in HEADER_FIELDS {
            if let Some((key, value)) = body.remove_entry(name) {
                header.insert(key, value);
            }
        }
        if body.remove("v") != Some(ENTRY_VERSION.into()) {
            return Err(EntryError::Schema("unknown version".into()));
        }
        let entry = Self { header: from_map(header)?, body: from_map(body)? };
        // The comparison below refuses every spelling but ours: key order, spaces, escapes, number forms.
        if entry.encode()?.as_bytes() == bytes { Ok(entry) } else { Err(EntryError::NotCanonical) }
    }
}

fn from_map<T: for<'de> Deserialize<'de>>(map: Map<String, Value>) -> Result<T, EntryError> {
    serde_json::from_value(Value::Object(map)).map_err(|e| EntryError::Schema(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::agent::GrantEffect;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn sample() -> Entry {
        Entry {
            header: Header {
                tenant_id: TenantId::from_uuid(Uuid::from_u128(1)),
                source: SourceId::from_uuid(Uuid::from_u128(2)),
                boot: BootId::from_uuid(Uuid::from_u128(3)),
                seq: 7,
                prev: Hash::of(&[b"x"]),
                ts: Timestamp::from_micros(1_700_000_000_000_001),
                audit_id: AuditId::from_uuid(Uuid::from_u128(4)),
            },
            body: Body::Admin(Admin {
                actor: "user:1".into(),
                action: "permission.create".into(),
                object: "agent:1".into(),
                detail: Map::from_iter([("effect".to_owned(), Value::from(GrantEffect::Allow.as_str()))]),
                request_id: "r".into(),
            }),
        }
    }

    #[test]
    fn bytes_round_trip() {
        let text = sample().encode().unwrap();
        assert_eq!(Entry::decode(text.as_bytes()), Ok(sample()));
        assert!(text.starts_with(r#"{"action":"permission.create","actor":"user:1","audit_id":"#), "{text}");
    }

    #[test]
    fn a_declared_gap_of_another_boot_keeps_both_boots() {
        let lost_boot = BootId::from_uuid(Uuid::from_u128(9));
        let entry = Entry { body: Body::Gap(Gap { lost_boot, from: 1, to: 2, why: "disk".into() }), ..sample() };
        assert_eq!(Entry::decode(entry.encode().unwrap().as_bytes()), Ok(entry));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let text = sample().encode().unwrap();
        let spellings = [
            text.replacen('{', "{ ", 1),
            text.replace("\"seq\":7", "\"seq\":7.0"),
            text.replace("\"seq\":7", "\"seq\":7,\"seq\":7"),
            text.replace("permission", "\\u0070ermission"),
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("\"seq\":7", "\"seq\":7,\"sequel\":1"),
            text.replace("\"request_id\":\"r\",", ""),
            text.replace("\"ALLOW\"", "0.5"),
            text.replace("000001Z", "000001+00:00"),
            format!("{text}\n"),
        ];
        for spelling in spellings {
            assert_ne!(spelling, text);
            assert!(Entry::decode(spelling.as_bytes()).is_err(), "{spelling}");
        }
    }

    #[test]
    fn long_entries_are_refused_on_both_sides() {
        let mut entry = sample();
        if let Body::Admin(admin) = &mut entry.body {
            admin.object = "x".repeat(ENTRY_BYTES_MAX);
        }
        assert!(matches!(entry.encode(), Err(EntryError::TooLong(_))));
    }

    /// The long way: through a value of JSON.
    fn through_json(entry: &Entry) -> Option<String> {
        fn closed(value: &Value, depth: usize) -> bool {
            depth <= ENTRY_DEPTH_MAX + 1
                && match value {
                    Value::Null | Value::Bool(_) | Value::String(_) => true,
                    Value::Number(n) => n.as_i64().is_some_and(|i| i.unsigned_abs() < (1 << 53)),
                    Value::Array(items) => items.iter().all(|v| closed(v, depth + 1)),
                    Value::Object(map) => map.values().all(|v| closed(v, depth + 1)),
                }
        }
        let mut whole = serde_json::to_value(&entry.header).unwrap();
        let Value::Object(body) = serde_json::to_value(&entry.body).unwrap() else { unreachable!() };
        let Value::Object(fields) = &mut whole else { unreachable!() };
        fields.extend(body);
        fields.insert("v".into(), ENTRY_VERSION.into());
        closed(&whole, 1).then(|| json::canonical(&whole))
    }

    fn detail() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-9_i64..9).prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1.5_f64..1.5).prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[\\x00-\\x1f\"\\\\]{0,4}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(9, 24, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("\\PC{0,6}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        proptest::collection::btree_map("\\PC{0,6}", value, 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_direct_encoding_is_that_of_the_json_value(detail in detail(), object in "\\PC{0,40}", seq in any::<u64>()) {
            let mut entry = sample();
            entry.header.seq = seq;
            if let Body::Admin(admin) = &mut entry.body {
                (admin.object, admin.detail) = (object, detail);
            }
            prop_assert_eq!(entry.encode().ok(), through_json(&entry));
        }
    }

    fn bodies() -> Vec<Body> {
        let id = Uuid::from_u128(5);
        let hash = Hash::of(&[b"y"]);
        let decision = serde_json::json!({
            "kind": "decision", "execution_id": id, "request_id": "r\"\\", "client_request_id": "c\u{1}", "agent_id": id,
            "principal": "agent:5", "session_id": "s", "tool": "db.query", "action": "execute", "decision": "KILL",
            "outcome": "not_executed", "score_bp": 9_500, "risk_score": 95,
            "findings": [{"id": "sql_injection", "severity": "critical", "score": 95, "pointer": "/ü/~1"}],
            "rule_ids": ["b", "a"], "signals": {"velocity": {"score_bp": 1, "threshold_bp": 2}, "é": {"score_bp": 3,
            "threshold_bp": 4}}, "stages": [{"n": 3, "outcome": "pass", "us": 17}],
            "policy": {"bundle": "b", "revision": "none"}, "snapshot_version": 7, "input_commitment": hash,
            "redactions": {"jwt": 2}, "upstream": {"us": 5}, "cost_micro_usd": 12, "level": "signed", "reason": "x",
            "count": 1,
        });
        let more = [
            serde_json::json!({"kind": "outcome", "execution_id": id, "outcome": "executed", "redactions": {},
                "cost_micro_usd": 0, "reason": "ok"}),
            serde_json::json!({"kind": "heartbeat", "forwarded": 1, "denied": 2, "errored": 3, "last_seq": 4}),
            serde_json::json!({"kind": "gap", "lost_boot": id, "from": 1, "to": 2, "why": "disk"}),
            serde_json::json!({"kind": "open", "boot_key": "k", "identity_key_id": "i", "identity_signature": "s",
                "software": "x/1", "previous": {"boot": id, "last_seq": 3, "closed": false}}),
            serde_json::json!({"kind": "close", "reason": "stopped"}),
            serde_json::json!({"kind": "kill", "actor": "user:1"}),
            serde_json::json!({"kind": "policy", "actor": "u", "name": "n", "version": 3, "revision": "ab", "mode": "m"}),
        ];
        [decision].into_iter().chain(more).map(|body| serde_json::from_value(body).unwrap()).collect()
    }

    #[test]
    fn every_kind_of_entry_is_encoded_as_its_json_value() {
        for body in bodies() {
            let entry = Entry { body, ..sample() };
            let text = entry.encode().unwrap();
            assert_eq!(Some(&text), through_json(&entry).as_ref());
            assert_eq!(Entry::decode(text.as_bytes()), Ok(entry));
        }
    }
}
