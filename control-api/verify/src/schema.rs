//! The closed schema of `aegis-entry/1`: which fields each kind has, and what may stand in them.

use aegis_ledger::hash::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::canonical::{Object, Value};
use crate::id::Id;

/// What may stand in a field.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any string.
    Text,
    /// A UUID.
    Uuid,
    /// A SHA-256 in base64.
    Hash,
    /// 32 or 64 bytes in base64.
    Bytes(usize),
    /// RFC 3339 UTC with six decimals.
    Time,
    /// `YYYY-MM-DD`
    Date,
    /// An integer from 0.
    Count,
    /// An integer from 0 up to this one.
    UpTo(u64),
    /// `true` or `false`
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list.
    List(&'static Shape),
    /// An object with any names.
    Map(&'static Shape),
    /// An object with exactly these fields.
    Fields(&'static [Field]),
    /// Anything: facts of a management write.
    Any,
}

/// A field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    name: &'static str,
    shape: Shape,
    required: bool,
}

const fn must(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true }
}

const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false }
}

use Shape::{Any, Bytes, Count, Date, Fields, Flag, List, Map, Text, Time, UpTo, Uuid, Word};

const DECISIONS: &[&str] = &["ALLOW", "MONITOR", "THROTTLE", "ESCALATE", "KILL", "REFUSED"];
const OUTCOMES: &[&str] = &["not_executed", "executed", "failed", "unknown", "pending"];
const LEVELS: &[&str] = &["intent", "signed", "local", "sequenced", "published", "witnessed"];
const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];
const NOTE_TYPES: &[&str] = &["analysis", "false_positive", "confirmed_threat", "escalated"];

const HEADER: &[Field] = &[
    must("audit_id", Uuid),
    must("boot", Uuid),
    must("kind", Text),
    must("prev", Shape::Hash),
    must("seq", Count),
    must("source", Uuid),
    must("tenant_id", Uuid),
    must("ts", Time),
    must("v", UpTo(1)),
];

const PREVIOUS: &[Field] = &[must("boot", Uuid), must("closed", Flag), may("last_seq", Count)];
const OPEN: &[Field] = &[
    must("boot_key", Bytes(32)),
    must("identity_key_id", Text),
    must("identity_signature", Bytes(64)),
    may("previous", Fields(PREVIOUS)),
    must("software", Text),
];
const CLOSE: &[Field] = &[must("reason", Text)];
const HEARTBEAT: &[Field] =
    &[must("denied", Count), must("errored", Count), must("forwarded", Count), must("last_seq", Count)];
const GAP: &[Field] = &[must("from", Count), must("lost_boot", Uuid), must("to", Count), must("why", Text)];
const FINDING: &[Field] =
    &[must("id", Text), must("pointer", Text), must("score", UpTo(100)), must("severity", Word(SEVERITIES))];
const SIGNAL: &[Field] = &[must("score_bp", UpTo(10_000)), must("threshold_bp", UpTo(10_000))];
const STAGE: &[Field] = &[must("n", UpTo(10)), must("outcome", Text), must("us", Count)];
const POLICY_REF: &[Field] = &[must("bundle", Text), must("revision", Text)];
const SHADOW: &[Field] = &[
    must("decision", Word(DECISIONS)),
    must("name", Text),
    must("rule_ids", List(&Text)),
    must("score_bp", UpTo(10_000)),
    must("version", Count),
];
const UPSTREAM: &[Field] = &[may("status", UpTo(65_535)), must("us", Count)];
const DECISION: &[Field] = &[
    must("action", Text),
    must("agent_id", Uuid),
    may("approval", Uuid),
    may("client_request_id", Text),
    may("contract", Uuid),
    must("cost_micro_usd", Count),
    must("count", Count),
    must("decision", Word(DECISIONS)),
    must("execution_id", Uuid),
    must("findings", List(&Fields(FINDING))),
    may("input_commitment", Shape::Hash),
    must("level", Word(LEVELS)),
    must("outcome", Word(OUTCOMES)),
    may("output_commitment", Shape::Hash),
    may("policy", Fields(POLICY_REF)),
    must("principal", Text),
    must("reason", Text),
    must("redactions", Map(&Count)),
    must("request_id", Text),
    must("risk_score", UpTo(100)),
    must("rule_ids", List(&Text)),
    must("score_bp", UpTo(10_000)),
    may("session_id", Text),
    may("shadow", List(&Fields(SHADOW))),
    must("signals", Map(&Fields(SIGNAL))),
    must("snapshot_version", Count),
    must("stages", List(&Fields(STAGE))),
    must("tool", Text),
    may("upstream", Fields(UPSTREAM)),
];
const OUTCOME: &[Field] = &[
    must("cost_micro_usd", Count),
    must("execution_id", Uuid),
    must("outcome", Word(OUTCOMES)),
    may("output_commitment", Shape::Hash),
    must("reason", Text),
    must("redactions", Map(&Count)),
    may("upstream", Fields(UPSTREAM)),
];
const ADMIN: &[Field] = &[
    must("action", Text),
    must("actor", Text),
    must("detail", Map(&Any)),
    must("object", Text),
    must("request_id", Text),
];
const ROTATION: &[Field] =
    &[must("own_signature", Bytes(64)), must("previous", Bytes(32)), must("previous_signature", Bytes(64))];
const KEY: &[Field] = &[
    must("key_id", Text),
    must("public_key", Text),
    must("purpose", Word(&["receipt", "token", "checkpoint", "identity"])),
    may("rotation", Fields(ROTATION)),
    must("state", Word(&["introduced", "retired", "compromised"])),
];
const ENROL: &[Field] =
    &[must("enrolled", Uuid), must("identity_key", Bytes(32)), must("identity_key_id", Text), must("name", Text)];
const POLICY: &[Field] = &[
    must("actor", Text),
    must("mode", Word(&["active", "shadow", "draft", "retired"])),
    must("name", Text),
    must("revision", Text),
    must("version", Count),
];
const SWITCH: &[Field] = &[must("engaged_at", Time), must("engaged_by", Text), must("reason", Text)];
const KILL: &[Field] = &[must("actor", Text), may("engaged", Fields(SWITCH)), may("user_id", Uuid)];
const NOTE: &[Field] =
    &[must("about", Uuid), must("actor", Text), must("body", Text), must("note_type", Word(NOTE_TYPES))];
const DAILY_STATEMENT: &[Field] = &[
    must("counts", Map(&Count)),
    must("date", Date),
    may("prev_statement_hash", Shape::Hash),
    must("root", Shape::Hash),
    must("size_from", Count),
    must("size_to", Count),
];

/// The kinds with the fields they have beside those of every entry.
const KINDS: [(&str, &[Field]); 13] = [
    ("open", OPEN),
    ("close", CLOSE),
    ("heartbeat", HEARTBEAT),
    ("decision", DECISION),
    ("outcome", OUTCOME),
    ("gap", GAP),
    ("admin", ADMIN),
    ("key", KEY),
    ("enrol", ENROL),
    ("policy", POLICY),
    ("kill", KILL),
    ("note", NOTE),
    ("daily_statement", DAILY_STATEMENT),
];

/// Where an entry is not of the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A kind that does not exist.
    #[error("no kind `{0}`")]
    Kind(String),
    /// A field that its kind does not have.
    #[error("no field `{0}`")]
    Unknown(String),
    /// A field that is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field with something else in it.
    #[error("`{0}` holds something else")]
    Shape(&'static str),
}

/// Checks an entry; its kind.
pub fn check(entry: &Object<'_>) -> Result<&'static str, SchemaError> {
    let kind = entry.text("kind").ok_or(SchemaError::Missing("kind"))?;
    let Some((kind, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return Err(SchemaError::Kind(kind.to_owned()));
    };
    fields(entry, &[HEADER, own])?;
    if entry.unsigned("v") == Some(1) { Ok(kind) } else { Err(SchemaError::Shape("v")) }
}

fn fields(object: &Object<'_>, tables: &[&[Field]]) -> Result<(), SchemaError> {
    let mut required = tables.iter().flat_map(|table| table.iter()).filter(|f| f.required).count();
    for (name, value) in object.members() {
        let field = tables.iter().find_map(|table| table.iter().find(|f| f.name == name));
        let field = field.ok_or_else(|| SchemaError::Unknown(name.to_string()))?;
        holds(field.name, field.shape, value)?;
        required -= usize::from(field.required);
    }
    if required == 0 {
        return Ok(());
    }
    let missing = tables.iter().flat_map(|table| table.iter()).find(|f| f.required && object.get(f.name).is_none());
    missing.map_or(Ok(()), |field| Err(SchemaError::Missing(field.name)))
}

fn holds(name: &'static str, shape: Shape, value: &Value<'_>) -> Result<(), SchemaError> {
    let good = match (shape, value) {
        (Shape::Fields(table), Value::Object(object)) => return fields(object, &[table]),
        (Shape::List(item), Value::List(items)) => return items.iter().try_for_each(|v| holds(name, *item, v)),
        (Shape::Map(item), Value::Object(object)) => {
            return object.members().iter().try_for_each(|(_, v)| holds(name, *item, v));
        }
        (Shape::Any, _) | (Shape::Text, Value::Text(_)) | (Shape::Flag, Value::Bool(_)) => true,
        (Shape::Count, Value::Integer(n)) => *n >= 0,
        (Shape::UpTo(max), Value::Integer(n)) => u64::try_from(*n).is_ok_and(|n| n <= max),
        (Shape::Uuid, Value::Text(text)) => Id::parse(text).is_some(),
        (Shape::Hash, Value::Text(text)) => Hash::parse(text).is_ok(),
        (Shape::Bytes(count), Value::Text(text)) => BASE64.decode(text.as_ref()).is_ok_and(|b| b.len() == count),
        (Shape::Time, Value::Text(text)) => is_like(text, "0000-00-00T00:00:00.000000Z"),
        (Shape::Date, Value::Text(text)) => is_like(text, "0000-00-00"),
        (Shape::Word(words), Value::Text(text)) => words.contains(&text.as_ref()),
        _ => false,
    };
    if good { Ok(()) } else { Err(SchemaError::Shape(name)) }
}

/// Whether a text has this form, where `0` stands for any digit.
fn is_like(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(t, f)| if f == b'0' { t.is_ascii_digit() } else { t == f })
}

/// Where values of an entry may lie at most, itself at depth 1: containers to depth 8, what is in them one deeper.
pub const ENTRY_DEPTH_MAX: usize = 9;
/// Bytes an entry may have at most.
pub const ENTRY_BYTES_MAX: usize = 48 * 1024;
