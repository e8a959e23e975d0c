//! Daily statements: what the log says each day about itself, against what it had at that place.

use std::collections::{BTreeMap, HashMap};

use aegis_ledger::hash::Hash;

use crate::canonical::{Object, Value};
use crate::verdict::{Check, Findings};

/// Days that a bundle announces at most: a century.
pub const DAYS_MAX: usize = 40_000;
/// Different kinds that are counted at most.
const KINDS_MAX: usize = 64;

/// The log at a size that a statement speaks of.
struct Cut {
    root: Option<Hash>,
    counts: BTreeMap<String, u64>,
}

/// Follows the statements.
#[derive(Default)]
pub struct Days {
    /// Sizes that the bundle announces statements of; what the log had there, once it came by.
    cuts: HashMap<u64, Option<Cut>>,
    counts: BTreeMap<String, u64>,
    /// Entries before the next day, and the last statement's hash and date.
    end: u64,
    last: Option<(Hash, String)>,
    statements: u64,
    /// Whether entries are missing: counts are then lower bounds only.
    has_holes: bool,
}

impl Days {
    /// A statement of this size comes later.
    pub fn announce(&mut self, size_to: u64, findings: &mut Findings) {
        if self.cuts.len() < DAYS_MAX {
            self.cuts.insert(size_to, None);
        } else {
            findings.fault(Check::Archive, None, "more daily statements than are followed");
        }
    }

    /// The log has come to this size.
    pub fn pass(&mut self, size: u64, root: impl FnOnce() -> Option<Hash>) {
        if let Some(cut) = self.cuts.get_mut(&size) {
            *cut = Some(Cut { root: root(), counts: self.counts.clone() });
        }
    }

    /// An entry of this kind came.
    pub fn count(&mut self, kind: &str) {
        if let Some(count) = self.counts.get_mut(kind) {
            *count += 1;
        } else if self.counts.len() < KINDS_MAX {
            self.counts.insert(kind.to_owned(), 1);
        }
    }

    /// An entry is missing.
    pub const fn skip(&mut self) {
        self.has_holes = true;
    }

    /// Statements seen.
    pub const fn statements(&self) -> u64 {
        self.statements
    }

    /// Checks a statement.
    pub fn check(&mut self, index: u64, entry: &Object<'_>, hash: Hash, findings: &mut Findings) {
        let mut fault = |detail: &str| findings.fault(Check::Statement, Some(index), detail);
        self.statements += 1;
        let (from, to) = (entry.unsigned("size_from").unwrap_or(0), entry.unsigned("size_to").unwrap_or(0));
        let named = |name| entry.text(name).and_then(|h| Hash::parse(h).ok());
        let date = entry.text("date").unwrap_or_default();
        if from != self.end || from > to || to > index {
            fault("its day does not begin where the day before ended");
        }
        match &self.last {
            Some((before, day)) if named("prev_statement_hash") != Some(*before) || day.as_str() >= date => {
                fault("it does not continue the statement of the day before");
            }
            None if named("prev_statement_hash").is_some() => fault("the statement before it is not there"),
            Some(_) | None => {}
        }
        match self.cuts.get(&to).and_then(Option::as_ref) {
            None => fault("the bundle does not announce it"),
            Some(Cut { root, .. }) if root.is_some() && *root != named("root") => {
                fault("the tree had another root at the end of that day");
            }
            Some(cut) if !self.has_holes => {
                let before = self.cuts.get(&from).and_then(Option::as_ref).map(|cut| &cut.counts);
                if difference(&cut.counts, before) != counts(entry) {
                    fault("that day had other counts");
                }
            }
            Some(_) => {}
        }
        self.end = to;
        self.last = Some((hash, date.to_owned()));
    }
}

fn difference(to: &BTreeMap<String, u64>, from: Option<&BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let before = |kind: &str| from.and_then(|f| f.get(kind)).copied().unwrap_or_default();
    let parts = to.iter().map(|(kind, count)| (kind.clone(), count - before(kind).min(*count)));
    parts.filter(|(_, count)| *count > 0).collect()
}

fn counts(entry: &Object<'_>) -> BTreeMap<String, u64> {
    let members = entry.get("counts").and_then(Value::object).map(Object::members).unwrap_or_default();
    let parts = members.iter().map(|(kind, count)| (kind.to_string(), count.unsigned().unwrap_or_default()));
    parts.filter(|(_, count)| *count > 0).collect()
}
