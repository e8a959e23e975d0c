//! Where a bundle can be attacked.

use std::io::Read as _;

use aegis_core::json;
use aegis_ledger::hash::Hash;
use serde_json::Value;

use crate::archive::Members;
use crate::bundle::{self, CHECKPOINTS, Checkpoints, Leaves, MANIFEST, Member, SEGMENT, entries_name};
use crate::proof::Tree;
use crate::verdict::Findings;

/// Lines at the beginning that are looked at.
const LINES_MAX: usize = 4_096;

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Its index.
    pub(super) index: u64,
    /// Itself, as JSON.
    pub(super) line: Value,
    /// Itself.
    pub(super) text: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The first lines.
    pub(super) first: Vec<Target>,
    /// The last line of all.
    pub(super) last: Option<Target>,
    /// Notes of the checkpoints, the last two.
    pub(super) checkpoints: Vec<String>,
    /// The manifest.
    pub(super) manifest: Value,
    /// The last segment.
    pub(super) segment: u64,
}

impl Survey {
    /// Looks at a bundle.
    pub(super) fn of(bundle: &dyn Members) -> Self {
        let mut found = Self::default();
        let mut text = String::new();
        if let Ok(Some(member)) = bundle.open(MANIFEST) {
            let _ = member.take(1 << 20).read_to_string(&mut text);
        }
        found.manifest = json::parse(text.as_bytes()).unwrap_or_default();
        found.segment = bundle.names().iter().filter_map(|name| bundle::segment_of(name)).max().unwrap_or_default();
        let mut findings = Findings::default();
        let mut checkpoints = Checkpoints::open(bundle, &mut findings);
        while let Some(checkpoint) = checkpoints.take_until(u64::MAX, &mut findings) {
            if found.checkpoints.len() == 2 {
                found.checkpoints.remove(0);
            }
            found.checkpoints.push(checkpoint.note);
        }
        found.lines(bundle);
        found
    }

    fn lines(&mut self, bundle: &dyn Members) {
        let (mut findings, mut line) = (Findings::default(), String::new());
        let mut member = Member::open(bundle, &entries_name(0), &mut findings);
        while self.first.len() < LINES_MAX && member.next_into(&mut line, &mut findings) {
            self.first.extend(target(&line));
        }
        let mut last = String::new();
        // The last segment may be empty.
        for segment in [self.segment.saturating_sub(1), self.segment] {
            let mut member = Member::open(bundle, &entries_name(segment), &mut findings);
            while member.next_into(&mut line, &mut findings) {
                std::mem::swap(&mut last, &mut line);
            }
        }
        self.last = target(&last);
    }

    /// The first line of a kind that has one after it.
    pub(super) fn of_kind(&self, kind: &str) -> Option<&Target> {
        let pairs = self.first.iter().zip(self.first.iter().skip(1));
        let mut pairs = pairs.filter(|(a, b)| a.line["entry"]["kind"] == kind && a.index + 1 == b.index);
        pairs.next().map(|(a, _)| a)
    }

    /// The line with this index among the first.
    pub(super) fn at(&self, index: u64) -> Option<&Target> {
        self.first.iter().find(|t| t.index == index)
    }
}

fn target(text: &str) -> Option<Target> {
    let line = json::parse(text.as_bytes()).ok()?;
    Some(Target { index: line.get("index")?.as_u64()?, line, text: text.to_owned() })
}

/// The tree that a bundle's leaf hashes make.
pub(super) fn tree(bundle: &dyn Members, segment: u64) -> (u64, Hash) {
    let (mut tree, mut findings) = (Tree::default(), Findings::default());
    for segment in 0..=segment {
        let mut leaves = Leaves::open(bundle, segment, &mut findings);
        let mut left = SEGMENT;
        while left > 0
            && let Some(leaf) = leaves.next()
        {
            tree.push(leaf);
            left -= 1;
        }
    }
    (tree.size(), tree.root())
}

/// The member of the checkpoints with these notes in it.
pub(super) fn checkpoints(notes: &[String]) -> (&'static str, Vec<u8>) {
    let lines = notes.iter().map(|note| json::canonical(&serde_json::json!({ "note": note })) + "\n");
    (CHECKPOINTS, lines.collect::<String>().into_bytes())
}
