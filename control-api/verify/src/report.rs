//! What a verification says, to people and to programs.

use std::fmt::Write as _;

use aegis_ledger::hash::Hash;
use serde_json::{Value, json};

use crate::verdict::{Check, Claim, Fault, Findings, Missing, Verdict};

/// Everything holds.
pub const EXIT_OK: u8 = 0;
/// Something is forged, changed or damaged.
pub const EXIT_INVALID: u8 = 1;
/// The command line, the policy or a file cannot be read.
pub const EXIT_USAGE: u8 = 2;
/// Something is missing.
pub const EXIT_INCOMPLETE: u8 = 3;
/// Fewer witnesses than required.
pub const EXIT_UNWITNESSED: u8 = 4;
/// The log has signed two histories.
pub const EXIT_SPLIT_VIEW: u8 = 5;

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Entries read.
    pub entries: u64,
    /// Entries the log has.
    pub size: u64,
    /// Genuine checkpoints that agree with the tree.
    pub checkpoints: u64,
    /// Genuine checkpoints of trees that cannot be computed.
    pub unproved: u64,
    /// The largest tree that a genuine checkpoint proves.
    pub largest: Option<u64>,
    /// Daily statements.
    pub statements: u64,
    /// Receipts looked for.
    pub receipts: usize,
    /// Witnesses of the policy that signed the largest, and how many there are.
    pub witnesses: (usize, usize),
    /// The tree's root over all leaves.
    pub root: Option<Hash>,
}

/// The outcome of a verification.
#[derive(Debug)]
pub struct Report {
    /// What was found.
    pub findings: Findings,
    /// What was counted.
    pub numbers: Numbers,
    require_witness: usize,
}

impl Report {
    /// From what was gathered.
    pub const fn new(findings: Findings, numbers: Numbers, require_witness: usize) -> Self {
        Self { findings, numbers, require_witness }
    }

    /// The verdict on a claim.
    pub fn verdict(&self, claim: Claim) -> Verdict {
        let (missing, n) = (self.findings.missing_count() > 0, &self.numbers);
        match claim {
            Claim::Complete if missing => Verdict::Incomplete,
            Claim::Complete => Verdict::Ok,
            _ if !self.findings.is_clean(claim) => Verdict::Invalid,
            Claim::Included if n.largest.is_none() && n.unproved == 0 => Verdict::Invalid,
            Claim::Included if n.unproved > 0 => Verdict::Incomplete,
            Claim::Consistent if n.checkpoints == 0 => Verdict::NotChecked,
            Claim::Witnessed if n.witnesses.1 == 0 && self.require_witness == 0 => Verdict::NotChecked,
            Claim::Witnessed if n.witnesses.0 < self.require_witness => Verdict::Invalid,
            Claim::Integrity | Claim::Origin if n.entries == 0 && n.size > 0 => Verdict::NotChecked,
            Claim::Integrity | Claim::Origin | Claim::Included | Claim::Consistent | Claim::Witnessed => Verdict::Ok,
        }
    }

    /// The process's exit code: the worst that was found.
    pub fn exit_code(&self) -> u8 {
        let invalid = |claim: &&Claim| **claim != Claim::Witnessed && self.verdict(**claim) == Verdict::Invalid;
        if self.findings.count(Check::SplitView) > 0 {
            EXIT_SPLIT_VIEW
        } else if Claim::ALL.iter().find(invalid).is_some() || self.findings.count(Check::Witness) > 0 {
            EXIT_INVALID
        } else if self.findings.missing_count() > 0 || self.numbers.unproved > 0 {
            EXIT_INCOMPLETE
        } else if self.verdict(Claim::Witnessed) == Verdict::Invalid {
            EXIT_UNWITNESSED
        } else {
            EXIT_OK
        }
    }

    /// The checks that failed.
    pub fn failed(&self) -> Vec<Check> {
        let failed = Check::ALL.iter().copied().filter(|check| self.findings.count(*check) > 0);
        let missing = (self.findings.missing_count() > 0).then_some(Check::Missing);
        failed.chain(missing).collect()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let n = &self.numbers;
        let claims = Claim::ALL.iter().map(|claim| (claim.as_str().to_owned(), json!(self.verdict(*claim).as_str())));
        let faults =
            self.findings.faults().iter().map(
                |Fault { check, index, detail }| json!({ "check": check.as_str(), "index": index, "detail": detail }),
            );
        json!({
            "exit_code": self.exit_code(),
            "claims": claims.collect::<serde_json::Map<_, _>>(),
            "witnesses": { "signed": n.witnesses.0, "known": n.witnesses.1, "required": self.require_witness },
            "entries": n.entries,
            "size": n.size,
            "root": n.root.map(|root| root.to_string()),
            "proved_size": n.largest,
            "checkpoints": n.checkpoints,
            "daily_statements": n.statements,
            "receipts": n.receipts,
            "missing": self.findings.missing_ranges().iter().map(missing_json).collect::<Vec<_>>(),
            "missing_count": self.findings.missing_count(),
            "faults": faults.collect::<Vec<_>>(),
            "fault_count": self.findings.fault_count(),
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let (n, mut out) = (&self.numbers, String::new());
        for claim in Claim::ALL {
            let word = match self.verdict(*claim) {
                Verdict::Ok => "ok",
                Verdict::Invalid => "INVALID",
                Verdict::Incomplete => "INCOMPLETE",
                Verdict::NotChecked => "not checked",
            };
            let _ = writeln!(out, "{:<11} {word:<11} {}", claim.as_str().to_uppercase(), self.about(*claim));
        }
        for Fault { check, index, detail } in self.findings.faults() {
            let place = index.map_or_else(|| "-".to_owned(), |i| i.to_string());
            let _ = writeln!(out, "  fault   {:<10} at {place}: {detail}", check.as_str());
        }
        for missing in self.findings.missing_ranges() {
            let _ = writeln!(out, "  missing {}", missing_text(missing));
        }
        let shown = self.findings.faults().len() as u64 + self.findings.missing_ranges().len() as u64;
        let more = self.findings.fault_count() + self.findings.missing_count() - shown;
        if more > 0 {
            let _ = writeln!(out, "  … and {more} more");
        }
        if let Some(root) = n.root {
            let _ = writeln!(out, "tree of {} entries, root {root}", n.size);
        }
        out
    }

    fn about(&self, claim: Claim) -> String {
        let n = &self.numbers;
        match claim {
            Claim::Integrity => format!("{} entries: form, signatures, order, columns", n.entries),
            Claim::Origin => "enrolled sources and the log's keys, by the trust policy".to_owned(),
            Claim::Included => match n.largest {
                Some(size) if n.receipts == 0 => format!("in the tree of {size} entries that the log's key signed"),
                Some(size) => {
                    format!("in the tree of {size} entries that the log's key signed; receipts judged: {}", n.receipts)
                }
                None => "no signed checkpoint proves the tree".to_owned(),
            },
            Claim::Consistent => format!("{} checkpoints, {} daily statements", n.checkpoints, n.statements),
            Claim::Complete => format!("{} of {} entries", n.entries, n.size),
            Claim::Witnessed => format!("{} of {}", n.witnesses.0, n.witnesses.1),
        }
    }
}

fn missing_json(missing: &Missing) -> Value {
    match missing {
        Missing::Entries(from, to) => json!({ "what": "entries", "from": from, "to": to }),
        Missing::Leaves(from, to) => json!({ "what": "leaf_hashes", "from": from, "to": to }),
        Missing::Sealed(epoch) => json!({ "what": "sealed_log", "epoch": epoch }),
        Missing::OfSource { source, boot, from, to, declared } => json!({
            "what": "source", "source": source.to_string(), "boot": boot.to_string(), "from": from, "to": to,
            "declared": declared,
        }),
    }
}

fn missing_text(missing: &Missing) -> String {
    match missing {
        Missing::Entries(from, to) => format!("entries {from} to {to}"),
        Missing::Leaves(from, to) => format!("leaf hashes {from} to {to}"),
        Missing::Sealed(epoch) => format!("what only the sealed log before epoch {epoch} had"),
        Missing::OfSource { source, boot, from, to, declared } => {
            let why = declared.as_ref().map(|why| format!(", declared: {why}")).unwrap_or_default();
            format!("seq {from} to {to} of source {source}, boot {boot}{why}")
        }
    }
}
