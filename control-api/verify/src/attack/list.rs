//! The attacks.

use std::rc::Rc;

use aegis_core::json;
use serde_json::{Value, json};

use super::altered::{Altered, Edit, LineEdit};
use super::forge;
use super::survey::{Survey, Target, checkpoints, tree};
use crate::archive::Members;
use crate::bundle::{CHECKPOINTS, MANIFEST, entries_name, leaves_name, segment_of};
use crate::check::Question;
use crate::log::Presented;

/// An attack, ready to be tried.
pub(super) struct Attack<'a> {
    /// Its kind.
    pub(super) name: &'static str,
    /// What exactly.
    pub(super) detail: String,
    /// The bundle as the attacker presents it.
    pub(super) bundle: Altered<'a>,
    /// A checkpoint that the reader remembers.
    pub(super) held: Option<Presented>,
}

/// Everything an attack is made from.
pub(super) struct Stage<'a> {
    /// The bundle as it is.
    pub(super) bundle: &'a dyn Members,
    /// Where it can be attacked.
    pub(super) survey: &'a Survey,
    /// The entry that suffers.
    pub(super) victim: &'a Target,
}

const HASH: u64 = 32;

/// Replaces lines by index; others stay.
fn replace(with: Vec<(u64, Vec<String>)>) -> Edit {
    let edit = move |line: &str| {
        let index = index_of(line);
        with.iter().find(|(i, _)| Some(*i) == index).map_or_else(|| vec![line.to_owned()], |(_, lines)| lines.clone())
    };
    Edit::Lines(Rc::new(edit))
}

fn index_of(line: &str) -> Option<u64> {
    json::parse(line.as_bytes()).ok()?.get("index")?.as_u64()
}

/// Moves the index of every line from `from` on.
fn renumbered(from: u64, by: i64) -> LineEdit {
    Rc::new(move |line: &str| match json::parse(line.as_bytes()) {
        Ok(mut value) => {
            let index = value.get("index").and_then(Value::as_u64).unwrap_or_default();
            if index >= from {
                value["index"] = json!(index.saturating_add_signed(by));
            }
            vec![json::canonical(&value)]
        }
        Err(_) => vec![line.to_owned()],
    })
}

fn attack<'a>(name: &'static str, detail: impl Into<String>, bundle: Altered<'a>) -> Attack<'a> {
    Attack { name, detail: detail.into(), bundle, held: None }
}

impl<'a> Stage<'a> {
    fn plain(&self) -> Altered<'a> {
        Altered::new(self.bundle)
    }

    /// The victim's line is another one; with its leaf hash made to fit, if asked.
    fn line(&self, line: &Value, with_leaf: bool) -> Altered<'a> {
        let index = self.victim.index;
        let altered = self.plain().with(entries_name(0), replace(vec![(index, vec![json::canonical(line)])]));
        if !with_leaf {
            return altered;
        }
        let leaf = forge::leaf_of(line).as_bytes().to_vec();
        altered.with(leaves_name(0), Edit::Splice(index * HASH, HASH, leaf))
    }

    /// The last checkpoint is the forger's, over the tree as it has become.
    fn sealed(&self, altered: Altered<'a>, origin: &str) -> Altered<'a> {
        let (size, root) = tree(&altered, self.survey.segment);
        let (name, member) = checkpoints(&[forge::checkpoint(origin, size, root)]);
        altered.with(name, Edit::Is(member)).with(MANIFEST, Edit::Is(self.manifest("size", json!(size))))
    }

    fn manifest(&self, field: &str, value: Value) -> Vec<u8> {
        let mut manifest = self.survey.manifest.clone();
        manifest[field] = value;
        json::canonical(&manifest).into_bytes()
    }

    /// Every attack.
    pub(super) fn all(&self, question: &Question) -> Vec<Attack<'a>> {
        let origin = &question.policy.origin;
        let mut attacks = self.flips();
        attacks.extend(self.drops());
        attacks.extend(self.tails());
        attacks.extend(self.orders());
        attacks.extend(self.keys(origin));
        attacks.extend(self.roots(origin));
        attacks.extend(self.tiles());
        attacks
    }

    fn flips(&self) -> Vec<Attack<'a>> {
        let mut out = Vec::new();
        for part in ["entry", "signature", "row"] {
            for (field, value) in self.victim.line[part].as_object().into_iter().flatten() {
                let pointer = format!("/{part}/{field}");
                let line = forge::changed(self.victim, &pointer, forge::flipped(value));
                out.push(attack("field flip", pointer, self.line(&line, false)));
            }
        }
        for field in ["reason", "tool", "object"] {
            if let Some(value) = self.victim.line["entry"].get(field) {
                let pointer = format!("/entry/{field}");
                let line = forge::changed(self.victim, &pointer, forge::flipped(value));
                out.push(attack("field flip", format!("{pointer}, leaf hash fitted"), self.line(&line, true)));
            }
        }
        for kind in ["enrol", "open", "key", "daily_statement"] {
            let Some(target) = self.survey.first.iter().find(|t| t.line["entry"]["kind"] == kind) else { continue };
            let stage = Stage { victim: target, ..*self };
            let field = if kind == "daily_statement" { "root" } else { "audit_id" };
            let pointer = format!("/entry/{field}");
            let value = target.line["entry"][field].clone();
            let line = forge::changed(target, &pointer, forge::flipped(&value));
            out.push(attack("field flip", format!("{pointer} of `{kind}`"), stage.line(&line, true)));
        }
        out
    }

    fn drops(&self) -> Vec<Attack<'a>> {
        let count = self.victim.index + 1;
        let keep_from = move |from: u64| -> LineEdit {
            Rc::new(move |line: &str| if index_of(line) < Some(from) { Vec::new() } else { vec![line.to_owned()] })
        };
        let moved = i64::try_from(count).unwrap_or_default();
        let without = replace(vec![(self.victim.index, Vec::new())]);
        vec![
            attack(
                "dropped prefix",
                format!("entries 0 to {}", count - 1),
                self.plain().with(entries_name(0), Edit::Lines(keep_from(count))),
            ),
            attack(
                "dropped prefix",
                format!("entries and leaf hashes 0 to {}, the rest renumbered", count - 1),
                self.plain()
                    .with(entries_name(0), Edit::Lines(keep_from(count)))
                    .with(entries_name(0), Edit::Lines(renumbered(0, -moved)))
                    .with(leaves_name(0), Edit::Splice(0, count * HASH, Vec::new())),
            ),
            attack(
                "dropped middle",
                format!("entry {}", self.victim.index),
                self.plain().with(entries_name(0), without.clone()),
            ),
            attack(
                "dropped middle",
                format!("entry and leaf hash {}, the rest renumbered", self.victim.index),
                self.plain()
                    .with(entries_name(0), without)
                    .with(entries_name(0), Edit::Lines(renumbered(self.victim.index, -1)))
                    .with(leaves_name(0), Edit::Splice(self.victim.index * HASH, HASH, Vec::new())),
            ),
        ]
    }

    fn tails(&self) -> Vec<Attack<'a>> {
        let Some(last) = &self.survey.last else { return Vec::new() };
        let segment = last.index / crate::bundle::SEGMENT;
        let place = (last.index % crate::bundle::SEGMENT) * HASH;
        let cut = || {
            self.plain()
                .with(entries_name(segment), replace(vec![(last.index, Vec::new())]))
                .with(leaves_name(segment), Edit::Cut(place))
        };
        let mut out = vec![attack("dropped tail", format!("entry and leaf hash {}", last.index), cut())];
        if let [earlier, remembered] = self.survey.checkpoints.as_slice() {
            let (name, member) = checkpoints(std::slice::from_ref(earlier));
            let size = Presented::read(earlier.clone(), "").map_or(0, |p| p.checkpoint.size);
            let (segment, left) = (size / crate::bundle::SEGMENT, size % crate::bundle::SEGMENT);
            let until: LineEdit =
                Rc::new(move |line: &str| if index_of(line) < Some(size) { vec![line.to_owned()] } else { Vec::new() });
            let mut bundle = self.plain();
            for name in self.bundle.names() {
                let own = segment_of(&name);
                if own.is_some_and(|own| own > segment) {
                    bundle = bundle.with(name, Edit::Gone);
                }
            }
            let bundle = bundle
                .with(name, Edit::Is(member))
                .with(entries_name(segment), Edit::Lines(until))
                .with(leaves_name(segment), Edit::Cut(left * HASH))
                .with(MANIFEST, Edit::Is(self.manifest("size", json!(size))));
            let detail = format!("everything after the checkpoint of {size}, whose reader remembers a later one");
            let held = Presented::read(remembered.clone(), "the remembered checkpoint");
            out.push(Attack { held, ..attack("dropped tail", detail, bundle) });
        }
        out
    }

    fn orders(&self) -> Vec<Attack<'a>> {
        let Some(next) = self.survey.at(self.victim.index + 1) else { return Vec::new() };
        let (a, b) = (self.victim, next);
        let twice = vec![a.text.clone(), a.text.clone()];
        let mut again = a.line.clone();
        again["index"] = json!(a.index + 1);
        let swapped = replace(vec![(a.index, vec![b.text.clone()]), (b.index, vec![a.text.clone()])]);
        let (mut first, mut second) = (b.line.clone(), a.line.clone());
        first["index"] = json!(a.index);
        second["index"] = json!(b.index);
        let renamed =
            replace(vec![(a.index, vec![json::canonical(&first)]), (b.index, vec![json::canonical(&second)])]);
        let leaves = [forge::leaf_of(&b.line), forge::leaf_of(&a.line)].iter().flat_map(|h| *h.as_bytes()).collect();
        let inserted = json::canonical(&again);
        let leaf = forge::leaf_of(&a.line).as_bytes().to_vec();
        let after = a.index;
        let doubled: LineEdit = Rc::new(move |line: &str| {
            let mut lines = vec![line.to_owned()];
            if index_of(line) == Some(after) {
                lines.push(inserted.clone());
            }
            lines
        });
        vec![
            attack("reorder", "two neighbours", self.plain().with(entries_name(0), swapped)),
            attack(
                "reorder",
                "two neighbours, indexes and leaf hashes fitted",
                self.plain()
                    .with(entries_name(0), renamed)
                    .with(leaves_name(0), Edit::Splice(a.index * HASH, 2 * HASH, leaves)),
            ),
            attack(
                "duplicated entry",
                "the same line twice",
                self.plain().with(entries_name(0), replace(vec![(a.index, twice)])),
            ),
            attack(
                "duplicated entry",
                "at an index of its own, the rest renumbered",
                self.plain()
                    .with(entries_name(0), Edit::Lines(renumbered(a.index + 1, 1)))
                    .with(entries_name(0), Edit::Lines(doubled))
                    .with(leaves_name(0), Edit::Splice((a.index + 1) * HASH, 0, leaf)),
            ),
        ]
    }

    fn keys(&self, origin: &str) -> Vec<Attack<'a>> {
        let mut out = vec![attack(
            "stranger's key",
            "signs an entry",
            self.line(&forge::signed(self.victim.line.clone()), false),
        )];
        if let Some(open) = self.survey.first.iter().find(|t| t.line["entry"]["kind"] == "open") {
            let stage = Stage { victim: open, ..*self };
            let line = forge::signed(forge::changed(open, "/entry/boot_key", json!(forge::public())));
            out.push(attack("stranger's key", "opens a source's boot", stage.line(&line, true)));
        }
        let foreign = json!("00000000-0000-7000-8000-0000000000ff");
        let line = forge::signed(forge::changed(self.victim, "/entry/tenant_id", foreign.clone()));
        out.push(attack("foreign tenant's entry", "in place of one", self.line(&line, true)));
        let altered = self.plain().with(MANIFEST, Edit::Is(self.manifest("tenant_id", foreign)));
        out.push(attack("foreign tenant's entry", "the whole bundle", altered));
        let header = ["audit_id", "boot", "prev", "seq", "source", "tenant_id", "ts"];
        let mut entry: serde_json::Map<String, Value> =
            header.iter().map(|name| ((*name).to_owned(), self.victim.line["entry"][*name].clone())).collect();
        let facts = [("kind", "key"), ("purpose", "checkpoint"), ("state", "introduced"), ("key_id", "forger")];
        entry.extend(facts.map(|(name, value)| (name.to_owned(), json!(value))));
        entry.insert("public_key".into(), json!(forge::public()));
        entry.insert("v".into(), json!(1));
        let mut line = self.victim.line.clone();
        line["entry"] = Value::Object(entry);
        let rotated = self.line(&forge::signed(line), true);
        out.push(attack("rotated key", "to the forger's, by an entry of his own", self.sealed(rotated, origin)));
        out
    }

    fn roots(&self, origin: &str) -> Vec<Attack<'a>> {
        let survey = self.survey;
        let last = survey.checkpoints.last().cloned().unwrap_or_default();
        let root = last.lines().nth(2).unwrap_or_default();
        let other = json!(root);
        let swapped = last.replacen(root, forge::flipped(&other).as_str().unwrap_or_default(), 1);
        let (name, unsigned) = checkpoints(&[swapped]);
        let (size, root) = tree(self.bundle, survey.segment);
        let (_, signed) = checkpoints(&[forge::checkpoint(origin, size, root)]);
        let (text, leaves) = forge::anew(&survey.first, self.victim.index);
        let mut anew = self.plain();
        for name in self.bundle.names().into_iter().filter(|name| segment_of(name).is_some_and(|s| s > 0)) {
            anew = anew.with(name, Edit::Gone);
        }
        let anew = anew.with(entries_name(0), Edit::Is(text.into_bytes())).with(leaves_name(0), Edit::Is(leaves));
        vec![
            attack("swapped root", "in the last checkpoint", self.plain().with(name, Edit::Is(unsigned))),
            attack("swapped root", "signed by the forger", self.plain().with(name, Edit::Is(signed))),
            attack("swapped root", "no checkpoint at all", self.plain().with(CHECKPOINTS, Edit::Gone)),
            attack("forged whole bundle", "under the forger's keys", self.sealed(anew, origin)),
        ]
    }

    fn tiles(&self) -> Vec<Attack<'a>> {
        let cut = |at| self.plain().with(leaves_name(0), Edit::Cut(at));
        let place = self.victim.index * HASH;
        vec![
            attack("truncated tile", "after a leaf hash", cut(place)),
            attack("truncated tile", "within a leaf hash", cut(place + 7)),
            attack("truncated tile", "all of it", self.plain().with(leaves_name(0), Edit::Gone)),
        ]
    }
}
