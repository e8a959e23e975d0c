//! The columns of a record against its bytes: what lists and dashboards show is what was signed.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::canonical::{Object, Value};

/// Decisions that wait for their outcome at once at most; beyond, the oldest are not followed any more.
const WAITING_MAX: usize = 200_000;

/// What must stand in a column.
enum Expected<'a> {
    Text(Cow<'a, str>),
    Count(u64),
    Texts(Vec<&'a str>),
}

type Columns<'a> = Vec<(&'static str, Expected<'a>)>;

/// A decision whose outcome comes later, as its columns name it.
#[derive(Debug, Clone)]
struct Settled {
    call: Call,
    outcome: String,
    cost: u64,
}

/// Source and call.
type Call = (String, String);

/// Follows the columns through the log.
#[derive(Debug, Default)]
pub struct Rows {
    /// By the index of the outcome that settles them.
    settled: HashMap<u64, Settled>,
    /// Without an outcome so far.
    waiting: HashMap<Call, u64>,
}

impl Rows {
    /// Compares the columns of an entry; what differs.
    pub fn check(&mut self, index: u64, kind: &str, entry: &Object<'_>, row: &Object<'_>) -> Result<(), String> {
        let mut expected = columns(kind, entry);
        self.settle(index, kind, entry, row, &mut expected)?;
        for (name, value) in row.members() {
            let at = expected.iter().position(|(column, _)| column == name);
            let Some((_, wanted)) = at.map(|at| expected.swap_remove(at)) else {
                return Err(format!("column {name} stands without cause"));
            };
            if !wanted.is(value) {
                return Err(format!("column {name} says something else than the entry"));
            }
        }
        expected.first().map_or(Ok(()), |(name, _)| Err(format!("column {name} is missing")))
    }

    /// An outcome settles the decision that waits for it: its columns show what became of the call.
    fn settle<'a>(
        &mut self,
        index: u64,
        kind: &str,
        entry: &Object<'a>,
        row: &Object<'_>,
        expected: &mut Columns<'a>,
    ) -> Result<(), String> {
        let call = || (text(entry, "source"), text(entry, "execution_id"));
        match (kind, row.unsigned("outcome_index")) {
            ("decision", Some(by)) => {
                if entry.text("outcome") != Some("pending") || by <= index || self.settled.len() >= WAITING_MAX {
                    return Err("the decision did not wait for that outcome".into());
                }
                let (outcome, cost) = (text(row, "outcome"), row.unsigned("cost_micro_usd").unwrap_or_default());
                expected.retain(|(name, _)| !["outcome", "cost_micro_usd"].contains(name));
                expected.push(("outcome", Expected::Text(outcome.clone().into())));
                expected.push(("cost_micro_usd", Expected::Count(cost)));
                expected.push(("outcome_index", Expected::Count(by)));
                self.settled.insert(by, Settled { call: call(), outcome, cost });
            }
            ("decision", None) if entry.text("outcome") == Some("pending") && self.waiting.len() < WAITING_MAX => {
                self.waiting.entry(call()).or_insert(index);
            }
            ("outcome", _) => return self.outcome(index, entry, &call()),
            _ => {}
        }
        Ok(())
    }

    fn outcome(&mut self, index: u64, entry: &Object<'_>, call: &Call) -> Result<(), String> {
        if let Some(settled) = self.settled.remove(&index) {
            let cost = entry.unsigned("cost_micro_usd").unwrap_or_default();
            if settled.call != *call || entry.text("outcome") != Some(&settled.outcome) || settled.cost != cost {
                return Err("a decision's columns show another outcome than this one".into());
            }
        } else if let Some(decided) = self.waiting.remove(call) {
            return Err(format!("the decision at {decided} still waits for this outcome"));
        }
        Ok(())
    }

    /// Entries from one index to before another are missing: what they would settle stays open.
    pub fn skip(&mut self, from: u64, to: u64) {
        self.settled.retain(|index, _| !(from..to).contains(index));
    }

    /// Outcomes that columns named and that did not come below this size.
    pub fn unsettled(&self, size: u64) -> impl Iterator<Item = u64> + '_ {
        self.settled.keys().copied().filter(move |index| *index < size)
    }
}

impl Expected<'_> {
    fn is(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Text(text) => value.text() == Some(text),
            Self::Count(count) => value.unsigned() == Some(*count),
            Self::Texts(texts) => {
                value.list().is_some_and(|items| items.iter().map(Value::text).eq(texts.iter().map(|t| Some(*t))))
            }
        }
    }
}

fn text(object: &Object<'_>, name: &str) -> String {
    object.text(name).unwrap_or_default().to_owned()
}

/// The columns of an entry, by its bytes alone.
fn columns<'a>(kind: &str, entry: &'a Object<'_>) -> Columns<'a> {
    let mut out: Columns<'a> = Vec::with_capacity(20);
    copy(&mut out, entry, &[("audit_id", "audit_id"), ("source_id", "source"), ("kind", "kind"), ("ts", "ts")]);
    let action: Cow<'a, str> = match kind {
        "decision" | "admin" => entry.text("action").unwrap_or_default().into(),
        "policy" => format!("policy.{}", entry.text("mode").unwrap_or_default()).into(),
        "key" => format!("key.{}", entry.text("state").unwrap_or_default()).into(),
        "kill" if entry.get("engaged").is_some() => "kill_switch.engage".into(),
        "kill" => "kill_switch.disengage".into(),
        _ => entry.text("kind").unwrap_or_default().into(),
    };
    out.push(("action", Expected::Text(action)));
    match kind {
        "decision" => decision(&mut out, entry),
        "outcome" => copy(
            &mut out,
            entry,
            &[
                ("execution_id", "execution_id"),
                ("outcome", "outcome"),
                ("cost_micro_usd", "cost_micro_usd"),
                ("reason", "reason"),
            ],
        ),
        "admin" => {
            copy(&mut out, entry, &[("principal", "actor"), ("object", "object"), ("request_id", "request_id")]);
            let agent = entry.text("object").and_then(|o| o.strip_prefix("agent:"));
            if let Some(agent) = agent.filter(|id| crate::id::Id::parse(id).is_some()) {
                out.push(("agent_id", Expected::Text(agent.into())));
            }
        }
        "policy" => {
            copy(&mut out, entry, &[("principal", "actor")]);
            let (name, version) = (entry.text("name").unwrap_or_default(), entry.unsigned("version").unwrap_or(0));
            object(&mut out, format!("policy:{name}@{version}"));
        }
        "kill" => {
            copy(&mut out, entry, &[("principal", "actor")]);
            if let Some(switch) = entry.get("engaged").and_then(Value::object) {
                copy(&mut out, switch, &[("reason", "reason")]);
            }
        }
        "enrol" => object(&mut out, format!("source:{}", entry.text("enrolled").unwrap_or_default())),
        "key" => object(&mut out, format!("key:{}", entry.text("key_id").unwrap_or_default())),
        "close" => copy(&mut out, entry, &[("reason", "reason")]),
        "gap" => {
            copy(&mut out, entry, &[("reason", "why")]);
            object(&mut out, format!("boot:{}", entry.text("lost_boot").unwrap_or_default()));
        }
        "note" => {
            copy(&mut out, entry, &[("principal", "actor"), ("reason", "body")]);
            object(&mut out, format!("audit:{}", entry.text("about").unwrap_or_default()));
        }
        "daily_statement" => object(&mut out, format!("day:{}", entry.text("date").unwrap_or_default())),
        _ => {}
    }
    out
}

fn object(out: &mut Columns<'_>, text: String) {
    out.push(("object", Expected::Text(text.into())));
}

fn decision<'a>(out: &mut Columns<'a>, entry: &'a Object<'_>) {
    let same = [
        "execution_id",
        "request_id",
        "client_request_id",
        "agent_id",
        "principal",
        "session_id",
        "tool",
        "decision",
        "outcome",
        "score_bp",
        "risk_score",
        "cost_micro_usd",
        "count",
        "reason",
    ];
    copy(out, entry, &same.map(|name| (name, name)));
    let items = |name| entry.get(name).and_then(Value::list).unwrap_or_default().iter();
    let findings = items("findings").filter_map(|f| f.object()?.text("id")).collect();
    out.push(("findings", Expected::Texts(findings)));
    out.push(("rule_ids", Expected::Texts(items("rule_ids").filter_map(Value::text).collect())));
}

/// Columns that hold a field of the entry as it stands, if it is there.
fn copy<'a>(out: &mut Columns<'a>, from: &'a Object<'_>, fields: &[(&'static str, &str)]) {
    for (column, field) in fields {
        match from.get(field) {
            Some(Value::Text(text)) => out.push((column, Expected::Text(Cow::Borrowed(text.as_ref())))),
            Some(Value::Integer(n)) => out.push((column, Expected::Count(u64::try_from(*n).unwrap_or_default()))),
            _ => {}
        }
    }
}
