//! One pass over a bundle: every entry, every leaf, every checkpoint, in memory bounded by sources, not by entries.

use aegis_core::json;
use aegis_ledger::hash::Hash;
use serde_json::json;

use crate::archive::Members;
use crate::bundle::{self, Checkpoints, Disclosed, Disclosure, Leaves, Manifest, Member, SEGMENT};
use crate::canonical::{self, Object};
use crate::days::Days;
use crate::log::{Log, Presented};
use crate::policy::Policy;
use crate::proof::Tree;
use crate::receipt::Receipt;
use crate::record::{self, Record};
use crate::report::{Numbers, Report};
use crate::row::Rows;
use crate::schema::{self, ENTRY_BYTES_MAX};
use crate::sources::{At, Sources};
use crate::verdict::{Check, Findings, Missing};

/// Receipts that one verification looks for at most.
pub const RECEIPTS_MAX: usize = 1_000;

/// What to verify against.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is believed.
    pub policy: Policy,
    /// Checkpoints that the reader holds already, from a witness, a sidecar or an earlier bundle.
    pub held: Vec<Presented>,
    /// Receipts that must be in the log.
    pub receipts: Vec<Receipt>,
    /// Witnesses that must have signed the last checkpoint.
    pub require_witness: usize,
}

impl Question {
    /// Only by the policy.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, held: Vec::new(), receipts: Vec::new(), require_witness: 0 }
    }
}

/// Verifies a bundle.
pub fn verify(bundle: &dyn Members, question: &Question) -> Report {
    let mut findings = Findings::default();
    let manifest = Manifest::read(bundle, &mut findings);
    let mut held: Vec<Presented> = question.held.clone();
    held.extend(question.receipts.iter().filter_map(|r| r.checkpoint.clone()));
    held.sort_by_key(|p| std::cmp::Reverse(p.checkpoint.size));
    let policy = &question.policy;
    if (manifest.origin.as_str(), manifest.tenant.as_str()) != (policy.origin.as_str(), &policy.tenant.to_string()) {
        findings.fault(Check::Tenant, None, "the bundle names another log or tenant than the policy");
    }
    let mut run = Run {
        sources: Sources::new(policy.tenant, policy.controls.clone()),
        log: Log::new(policy),
        rows: Rows::default(),
        days: Days::default(),
        tree: Some(Tree::default()),
        size: 0,
        end: manifest.size,
        entries: 0,
        checkpoints: Checkpoints::open(bundle, &mut findings),
        disclosed: Disclosed::open(bundle, &mut findings),
        held,
        receipts: question.receipts.clone(),
        findings,
    };
    let last = run.survey(bundle);
    run.announce(bundle);
    for segment in 0..=last {
        run.segment(bundle, segment, segment == last);
    }
    run.finish(question)
}

struct Run<'a> {
    sources: Sources,
    log: Log,
    rows: Rows,
    days: Days,
    /// Absent once a leaf is missing: nothing after it can be proved.
    tree: Option<Tree>,
    /// Leaves passed, there or not.
    size: u64,
    /// Leaves there must be.
    end: u64,
    entries: u64,
    checkpoints: Checkpoints<'a>,
    disclosed: Disclosed<'a>,
    held: Vec<Presented>,
    receipts: Vec<Receipt>,
    findings: Findings,
}

impl<'a> Run<'a> {
    /// The last segment. Members of other names have no meaning, so they may not be there.
    fn survey(&mut self, bundle: &dyn Members) -> u64 {
        let mut last = 0;
        for name in bundle.names() {
            match bundle::segment_of(&name) {
                Some(segment) => last = last.max(segment),
                None if [bundle::MANIFEST, bundle::CHECKPOINTS, bundle::STATEMENTS, bundle::DISCLOSED]
                    .contains(&name.as_str()) => {}
                None => self.findings.fault(Check::Archive, None, format!("{name} is not of the format")),
            }
        }
        // Each segment has members of its own, so this many there can be.
        if last > crate::archive::MEMBERS_MAX {
            self.findings.fault(Check::Archive, None, format!("a segment {last}, far from any other"));
            return 0;
        }
        last
    }

    fn announce(&mut self, bundle: &dyn Members) {
        let mut member = Member::open(bundle, bundle::STATEMENTS, &mut self.findings);
        let mut line = String::new();
        while member.next_into(&mut line, &mut self.findings) {
            match canonical::read(&line, 2).ok().and_then(|o| o.unsigned("size_to")) {
                Some(size_to) => self.days.announce(size_to, &mut self.findings),
                None => member.fault(Check::Statement, "not a statement's place", &mut self.findings),
            }
        }
    }

    fn segment(&mut self, bundle: &'a dyn Members, segment: u64, is_last: bool) {
        let end = (segment + 1).saturating_mul(SEGMENT);
        let mut leaves = Leaves::open(bundle, segment, &mut self.findings);
        let mut lines = Member::open(bundle, &bundle::entries_name(segment), &mut self.findings);
        let mut line = String::new();
        let mut waiting = false;
        loop {
            let leaf = if self.size < end { leaves.next() } else { None };
            if !waiting {
                waiting = self.advance(&mut lines, &mut line, end);
            }
            let record = if waiting { record::read(&line).ok() } else { None };
            match (leaf, record) {
                (None, None) => break,
                (Some(leaf), Some(record)) if record.index == self.size => {
                    self.record(&record, Some(leaf));
                    waiting = false;
                }
                (Some(leaf), _) => {
                    self.missing_entries(self.size + 1);
                    self.leaf(leaf);
                }
                (None, Some(record)) => {
                    self.missing_both(record.index);
                    self.findings.missing(Missing::Leaves(record.index, record.index));
                    self.record(&record, None);
                    waiting = false;
                }
            }
        }
        if !is_last {
            self.missing_both(end);
        }
    }

    /// Reads the next line that can stand at or after the place come to.
    fn advance(&mut self, lines: &mut Member<'_>, line: &mut String, end: u64) -> bool {
        while lines.next_into(line, &mut self.findings) {
            match record::read(line) {
                Ok(record) if (self.size..end).contains(&record.index) => return true,
                Ok(record) => {
                    let detail = "the line comes twice, out of order, or in the wrong segment";
                    self.findings.fault(Check::Order, Some(record.index), detail);
                }
                Err(e) => lines.fault(Check::Form, &e.to_string(), &mut self.findings),
            }
        }
        false
    }

    /// Checkpoints and days that end at the size come to.
    fn boundary(&mut self) {
        let size = self.size;
        let root = |tree: &Option<Tree>, at: u64| tree.as_ref().filter(|t| t.size() == at).map(Tree::root);
        while let Some(presented) = self.checkpoints.take_until(size, &mut self.findings) {
            let root = root(&self.tree, presented.checkpoint.size);
            self.log.compare(&presented, root, &mut self.findings);
        }
        while self.held.last().is_some_and(|p| p.checkpoint.size <= size) {
            if let Some(presented) = self.held.pop() {
                let root = root(&self.tree, presented.checkpoint.size);
                self.log.compare(&presented, root, &mut self.findings);
            }
        }
        self.days.pass(size, || root(&self.tree, size));
    }

    fn leaf(&mut self, leaf: Hash) {
        for receipt in &mut self.receipts {
            receipt.pass(self.size, leaf);
        }
        if let Some(tree) = &mut self.tree {
            tree.push(leaf);
        }
        self.size += 1;
    }

    /// The entries from here on to before `to` are missing; their leaves are there or reported elsewhere.
    fn missing_entries(&mut self, to: u64) {
        self.boundary();
        self.findings.missing(Missing::Entries(self.size, to - 1));
        self.sources.skipped(to - self.size);
        self.rows.skip(self.size, to);
        self.days.skip();
    }

    fn missing_both(&mut self, to: u64) {
        if to > self.size {
            self.missing_entries(to);
            self.findings.missing(Missing::Leaves(self.size, to - 1));
            self.tree = None;
            self.size = to;
        }
    }

    fn record(&mut self, record: &Record<'_>, there: Option<Hash>) {
        self.boundary();
        let index = record.index;
        let (computed, hash) = record::hashes(&record.entry);
        if there.is_some_and(|there| there != computed) {
            self.findings.fault(Check::Leaf, Some(index), "the entry does not have the leaf hash at its index");
        }
        self.entry(record, computed, hash);
        self.leaf(there.unwrap_or(computed));
        self.entries += 1;
    }

    fn entry(&mut self, record: &Record<'_>, leaf: Hash, hash: Hash) {
        let (index, entry) = (record.index, &record.entry);
        if entry.raw().len() > ENTRY_BYTES_MAX {
            self.findings.fault(Check::Form, Some(index), "longer than an entry may be");
        }
        let kind = match schema::check(entry) {
            Ok(kind) => kind,
            Err(e) => {
                self.sources.skipped(1);
                return self.findings.fault(Check::Form, Some(index), e.to_string());
            }
        };
        let at = At { index, kind, entry, leaf, hash };
        let is_genuine = self.sources.check(&at, &record.signature, &mut self.findings);
        match &record.row {
            Some(row) => {
                if let Err(detail) = self.rows.check(index, kind, entry, row) {
                    self.findings.fault(Check::Row, Some(index), detail);
                }
            }
            None => self.findings.fault(Check::Row, Some(index), "the columns are missing"),
        }
        if is_genuine && kind == "key" && entry.text("purpose") == Some("checkpoint") {
            self.log.key(index, entry, &mut self.findings);
        }
        if is_genuine && kind == "daily_statement" {
            self.days.check(index, entry, hash, &mut self.findings);
        }
        self.days.count(kind);
        while let Some(disclosure) = self.disclosed.take_at(index, &mut self.findings) {
            self.disclosure(entry, &disclosure);
        }
    }

    fn disclosure(&mut self, entry: &Object<'_>, disclosure: &Disclosure) {
        let commits = |name: &str, text: &str| {
            let commitment = Hash::of(&[b"aegis-commit/1\n", &disclosure.salt, text.as_bytes()]);
            entry.text(name) == Some(&commitment.to_string())
        };
        let field = |name| entry.text(name).unwrap_or_default();
        let input = disclosure.payload.as_ref().map(|payload| {
            json::canonical(&json!({ "agent_id": field("agent_id"), "payload": payload,
                "tenant_id": field("tenant_id"), "tool_name": field("tool") }))
        });
        let wrong_input = input.is_some_and(|input| !commits("input_commitment", &input));
        let wrong_result = disclosure.result.as_ref().is_some_and(|result| !commits("output_commitment", result));
        if wrong_input || wrong_result || disclosure.salt.len() != 32 {
            let detail = "the disclosed payload is not the one committed to";
            self.findings.fault(Check::Commitment, Some(disclosure.index), detail);
        }
    }

    fn finish(mut self, question: &Question) -> Report {
        self.boundary();
        let read = self.size;
        // What the manifest or a checkpoint says is there, and is not.
        while let Some(beyond) = self.checkpoints.take_until(u64::MAX, &mut self.findings) {
            self.end = self.end.max(beyond.checkpoint.size);
            self.log.compare(&beyond, None, &mut self.findings);
        }
        while let Some(beyond) = self.held.pop() {
            self.end = self.end.max(beyond.checkpoint.size);
            self.log.compare(&beyond, None, &mut self.findings);
        }
        self.missing_both(self.end);
        self.log.finish(&mut self.findings);
        if self.log.unproved() == 0 && self.log.largest().is_none_or(|largest| largest < read) {
            self.findings.fault(Check::Root, read.checked_sub(1), "no signed checkpoint covers the last entries");
        }
        for receipt in &self.receipts {
            receipt.finish(&mut self.findings);
        }
        for index in self.rows.unsettled(read).collect::<Vec<_>>() {
            self.findings.fault(
                Check::Row,
                Some(index),
                "a decision's columns name it as its outcome, which it is not",
            );
        }
        let _ = self.disclosed.take_at(u64::MAX, &mut self.findings);
        self.sources.finish(&mut self.findings);
        let numbers = Numbers {
            entries: self.entries,
            size: self.size,
            checkpoints: self.log.agreed(),
            unproved: self.log.unproved(),
            largest: self.log.largest(),
            statements: self.days.statements(),
            receipts: self.receipts.len(),
            witnesses: self.log.witnesses(),
            root: self.tree.as_ref().map(Tree::root),
        };
        Report::new(self.findings, numbers, question.require_witness)
    }
}
