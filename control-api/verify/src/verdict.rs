//! Claims, checks and what they come to.

use aegis_core::words;

use crate::id::Id;

/// Faults that are listed at most; all are counted.
pub const FAULTS_MAX: usize = 1_000;
/// Missing ranges that are listed at most; all are counted.
pub const MISSING_MAX: usize = 10_000;

words! {
    /// What is claimed of a bundle; each has a verdict of its own.
    pub enum Claim {
        /// The entries are whole, well-formed, signed, in their sources' order, and the columns say the same.
        Integrity = "integrity",
        /// They come from the tenant's enrolled sources and the log's keys, by the trust policy.
        Origin = "origin",
        /// They are in the tree that the last checkpoint names.
        Included = "included",
        /// All checkpoints and daily statements are of one growing tree.
        Consistent = "consistent",
        /// None is missing.
        Complete = "complete",
        /// Independent witnesses have signed the last checkpoint.
        Witnessed = "witnessed",
    }
}

words! {
    /// What is checked.
    pub enum Check {
        /// The archive holds the members of the format, readable.
        Archive = "archive",
        /// Lines come in the order of their indexes, each once.
        Order = "order",
        /// An entry is canonical and of its schema.
        Form = "form",
        /// An entry has the leaf hash at its index.
        Leaf = "leaf",
        /// An entry's signature verifies with its boot's key.
        Signature = "signature",
        /// A source's entries follow each other: number, predecessor, nothing after the end.
        Chain = "chain",
        /// The columns say what the bytes say.
        Row = "row",
        /// A disclosed payload is the one committed to.
        Commitment = "commitment",
        /// A receipt's entry stands in the log.
        Receipt = "receipt",
        /// An entry is the tenant's.
        Tenant = "tenant",
        /// A boot was opened, and vouched for by its source's identity key.
        Boot = "boot",
        /// A source was enrolled before it wrote, by the control plane.
        Enrolment = "enrolment",
        /// Only the control plane writes what only it may.
        Authority = "authority",
        /// A key was in force by the order of the log.
        Key = "key",
        /// A checkpoint is of this log and signed by its key.
        Checkpoint = "checkpoint",
        /// The tree's root is the checkpoint's.
        Root = "root",
        /// A receipt's inclusion proof leads to its checkpoint.
        Proof = "proof",
        /// A daily statement says what the log had at that place.
        Statement = "statement",
        /// Two signed checkpoints contradict each other.
        SplitView = "split_view",
        /// An entry or a leaf is missing.
        Missing = "missing",
        /// A witness's signature does not verify.
        Witness = "witness",
    }
}

impl Check {
    /// The claim that fails with it.
    pub const fn claim(self) -> Claim {
        match self {
            Self::Archive
            | Self::Order
            | Self::Form
            | Self::Leaf
            | Self::Signature
            | Self::Chain
            | Self::Row
            | Self::Commitment
            | Self::Receipt => Claim::Integrity,
            Self::Tenant | Self::Boot | Self::Enrolment | Self::Authority | Self::Key | Self::Checkpoint => {
                Claim::Origin
            }
            Self::Root | Self::Proof => Claim::Included,
            Self::Statement | Self::SplitView => Claim::Consistent,
            Self::Missing => Claim::Complete,
            Self::Witness => Claim::Witnessed,
        }
    }
}

words! {
    /// What a claim comes to.
    pub enum Verdict {
        /// It holds.
        Ok = "ok",
        /// It does not.
        Invalid = "invalid",
        /// It holds for what is there; something is missing.
        Incomplete = "incomplete",
        /// Nothing was there to check it with.
        NotChecked = "not_checked",
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// By which check.
    pub check: Check,
    /// At which index.
    pub index: Option<u64>,
    /// For people.
    pub detail: String,
}

/// Something missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Entries of the log: first and last index.
    Entries(u64, u64),
    /// Leaf hashes of the log: first and last index.
    Leaves(u64, u64),
    /// What only the log before this epoch had: it was sealed, because its database was found to be an older one.
    Sealed(u64),
    /// Entries of a source that the log never got.
    OfSource {
        /// The source.
        source: Id,
        /// Its process start.
        boot: Id,
        /// The first lost number.
        from: u64,
        /// The last.
        to: u64,
        /// Why, if the source itself declared it.
        declared: Option<String>,
    },
}

/// What a verification gathers.
#[derive(Debug, Default)]
pub struct Findings {
    faults: Vec<Fault>,
    counts: [u64; Check::ALL.len()],
    missing: Vec<Missing>,
    missing_count: u64,
}

impl Findings {
    /// Notes a fault.
    pub fn fault(&mut self, check: Check, index: Option<u64>, detail: impl Into<String>) {
        if let Some(count) = self.counts.get_mut(check as usize) {
            *count += 1;
        }
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { check, index, detail: detail.into() });
        }
    }

    /// Notes something missing; neighbours become one range.
    pub fn missing(&mut self, what: Missing) {
        if let (Some(Missing::Entries(_, to)), Missing::Entries(next, last))
        | (Some(Missing::Leaves(_, to)), Missing::Leaves(next, last)) = (self.missing.last_mut(), &what)
            && *to + 1 == *next
        {
            *to = *last;
            return;
        }
        self.missing_count += 1;
        if self.missing.len() < MISSING_MAX {
            self.missing.push(what);
        }
    }

    /// How often a check failed.
    pub fn count(&self, check: Check) -> u64 {
        self.counts.get(check as usize).copied().unwrap_or_default()
    }

    /// Faults in all.
    pub fn fault_count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The first [`FAULTS_MAX`] faults.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The first [`MISSING_MAX`] missing ranges.
    pub fn missing_ranges(&self) -> &[Missing] {
        &self.missing
    }

    /// Missing ranges in all.
    pub const fn missing_count(&self) -> u64 {
        self.missing_count
    }

    /// Whether nothing against a claim was found.
    pub fn is_clean(&self, claim: Claim) -> bool {
        Check::ALL.iter().filter(|check| check.claim() == claim).all(|check| self.count(*check) == 0)
    }
}
