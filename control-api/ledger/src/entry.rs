//! `aegis-entry/1`: one record, one encoding. The signed bytes are the record.
//!
//! Canonical JSON (RFC 8785) with a closed schema. Reading is: parse strictly, read every field, encode again;
//! the bytes must be the same.

use aegis_core::id::{AuditId, BootId, SourceId, TenantId};
use aegis_core::json::{self, JsonError};
use aegis_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hash::Hash;
use crate::rows::{
    Admin, Close, DailyStatement, DecisionRow, Enrol, Gap, Heartbeat, Key, Kill, Open, OutcomeRow, Policy,
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

const HEADER_FIELDS: [&str; 7] = ["tenant_id", "source", "boot", "seq", "prev", "ts", "audit_id"];

impl Entry {
    /// The entry's one encoding.
    ///
    /// # Errors
    /// If it is longer than allowed or says something the schema cannot.
    pub fn encode(&self) -> Result<String, EntryError> {
        let mut fields = to_map(&self.header)?;
        fields.append(&mut to_map(&self.body)?);
        fields.insert("v".into(), ENTRY_VERSION.into());
        let text = json::canonical_object(&fields);
        check_limits(&text, &Value::Object(fields))?;
        Ok(text)
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

fn to_map<T: Serialize>(part: &T) -> Result<Map<String, Value>, EntryError> {
    match serde_json::to_value(part) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(EntryError::Schema("not an object".into())),
        Err(e) => Err(EntryError::Schema(e.to_string())),
    }
}

fn from_map<T: for<'de> Deserialize<'de>>(map: Map<String, Value>) -> Result<T, EntryError> {
    serde_json::from_value(Value::Object(map)).map_err(|e| EntryError::Schema(e.to_string()))
}

fn check_limits(text: &str, value: &Value) -> Result<(), EntryError> {
    if text.len() > ENTRY_BYTES_MAX {
        return Err(EntryError::TooLong(text.len()));
    }
    if closed_values(value, 1) { Ok(()) } else { Err(EntryError::NotCanonical) }
}

/// No floats, integers within ±(2^53−1), depth within the limit.
fn closed_values(value: &Value, depth: usize) -> bool {
    if depth > ENTRY_DEPTH_MAX + 1 {
        return false;
    }
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(n) => n.as_i64().is_some_and(|i| i.unsigned_abs() <= json::INTEGER_MAX.unsigned_abs()),
        Value::Array(items) => items.iter().all(|v| closed_values(v, depth + 1)),
        Value::Object(map) => map.values().all(|v| closed_values(v, depth + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::agent::GrantEffect;
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
}
