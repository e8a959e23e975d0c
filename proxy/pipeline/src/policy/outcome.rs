//! What rules say: read from the engine's values, strictly.

use std::collections::BTreeMap;

use aegis_core::finding::Severity;
use aegis_core::money::MicroUsd;
use regorus::Value;

use crate::policy::problem::PolicyFailure;

/// Rules of one kind that are kept at most; the worst are.
pub const RULES_MAX: usize = 64;
/// Characters of a rule's id and reason that are kept.
const TEXT_MAX: usize = 256;
/// The largest adjustment of the score, either way: 0.30.
const ADJUSTMENT_MAX: i64 = 3_000;

/// A rule that spoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHit {
    /// Its id.
    pub id: String,
    /// How bad it holds this to be; `high` if it does not say.
    pub severity: Severity,
    /// Who may approve, for escalations.
    pub approver_role: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// What all rules together say. Lists are sorted: highest severity first, then by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// Rules that deny.
    pub denies: Vec<RuleHit>,
    /// Rules that want a human.
    pub escalations: Vec<RuleHit>,
    /// Rules that want the call watched.
    pub monitors: Vec<RuleHit>,
    /// What to add to the score, basis points, within ±3000.
    pub adjustment: i64,
}

impl PolicyVerdict {
    /// Reads one program's result, pairs of a rule and its value. `deny_expected`: the program defines `deny`, so it must have a value.
    pub(crate) fn read(result: &Value, deny_expected: bool) -> Result<Self, PolicyFailure> {
        let pairs = result.as_set().map_err(|_| PolicyFailure::Evaluation)?;
        let pairs = pairs.iter().filter_map(|pair| pair.as_array().ok());
        let values: BTreeMap<&Value, &Value> = pairs.filter_map(|pair| Some((pair.first()?, pair.get(1)?))).collect();
        let member = |name: &str| values.get(&Value::from(name)).copied().cloned().unwrap_or(Value::Undefined);
        let denies = member("deny");
        if deny_expected && denies == Value::Undefined {
            return Err(PolicyFailure::UndefinedDeny);
        }
        Ok(Self {
            denies: hits(&denies, "deny")?,
            escalations: hits(&member("escalate"), "escalate")?,
            monitors: hits(&member("monitor"), "monitor")?,
            adjustment: adjustment(&member("risk_adjustment"))?,
        })
    }

    /// Adds what an overlay says. Its adjustment may only raise.
    #[must_use]
    pub(crate) fn with_overlay(mut self, overlay: Self) -> Self {
        self.denies = united(self.denies, overlay.denies);
        self.escalations = united(self.escalations, overlay.escalations);
        self.monitors = united(self.monitors, overlay.monitors);
        self.adjustment = (self.adjustment + overlay.adjustment.max(0)).clamp(-ADJUSTMENT_MAX, ADJUSTMENT_MAX);
        self
    }
}

/// The platform's rules are kept first when there are too many: an overlay cannot crowd one out.
fn united(mut platform: Vec<RuleHit>, overlay: Vec<RuleHit>) -> Vec<RuleHit> {
    platform.extend(overlay);
    platform.truncate(RULES_MAX);
    sort(&mut platform);
    platform
}

fn sort(hits: &mut Vec<RuleHit>) {
    hits.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
    hits.dedup_by(|a, b| a.id == b.id);
}

/// The rules in a set, array or object of `{id, severity?, reason?, approver_role?}` or of plain ids.
fn hits(value: &Value, rule: &'static str) -> Result<Vec<RuleHit>, PolicyFailure> {
    let failure = || PolicyFailure::Form { rule };
    let read = |item: &Value| hit(item).ok_or_else(failure);
    let mut hits: Vec<RuleHit> = match value {
        Value::Undefined => Vec::new(),
        Value::Set(set) => set.iter().map(read).collect::<Result<_, _>>()?,
        Value::Array(array) => array.iter().map(read).collect::<Result<_, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return Err(failure()),
    };
    sort(&mut hits);
    hits.truncate(RULES_MAX);
    Ok(hits)
}

fn hit(item: &Value) -> Option<RuleHit> {
    let plain = |id: &str| RuleHit { id: cut(id), severity: Severity::High, approver_role: None, reason: None };
    match item {
        Value::String(id) if !id.is_empty() => Some(plain(id)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(&Value::from(name)).and_then(|v| v.as_string().ok()).map(|s| cut(s));
            let id = text("id").filter(|id| !id.is_empty())?;
            let severity = match fields.get(&Value::from("severity")) {
                None => Severity::High,
                Some(word) => Severity::parse(word.as_string().ok()?)?,
            };
            Some(RuleHit { id, severity, approver_role: text("approver_role"), reason: text("reason") })
        }
        _ => None,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// A number as basis points, without a detour over floating point.
fn adjustment(value: &Value) -> Result<i64, PolicyFailure> {
    let failure = || PolicyFailure::Form { rule: "risk_adjustment" };
    let text = match value {
        Value::Undefined => return Ok(0),
        Value::Number(_) => value.to_json_str().map_err(|_| failure())?,
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Set(_) | Value::Object(_) => {
            return Err(failure());
        }
    };
    let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    let millionths = MicroUsd::parse_usd(digits).map_err(|_| failure())?.as_micros();
    let points = i64::try_from(millionths / 100).unwrap_or(i64::MAX).min(ADJUSTMENT_MAX);
    Ok(if negative { -points } else { points })
}
