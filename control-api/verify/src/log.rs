//! What the log's keys have signed: checkpoints against the tree as it grows, and witnesses' signatures.

use std::collections::HashMap;

use aegis_ledger::hash::Hash;

use crate::canonical::{Object, Value};
use crate::checkpoint::{self, Checkpoint};
use crate::note::{self, NoteKey};
use crate::policy::{Policy, public_key};
use crate::rotation;
use crate::verdict::{Check, Findings, Missing};

/// Contradictions between checkpoints that are kept at most.
const MISMATCHES_MAX: usize = 1_000;
/// The epoch of a log that was never sealed.
const FIRST_EPOCH: u64 = 1;
/// Checkpoint keys that the log may introduce.
const KEYS_MAX: usize = 1_000;

/// A checkpoint's note with where it comes from.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The note.
    pub note: String,
    /// What it says; unverified.
    pub checkpoint: Checkpoint,
    /// Where it comes from, for people.
    pub from: String,
}

impl Presented {
    /// Reads a note as a checkpoint.
    pub fn read(note: String, from: &str) -> Option<Self> {
        let checkpoint = checkpoint::read(note::read(&note).ok()?.text).ok()?;
        Some(Self { note, checkpoint, from: from.to_owned() })
    }
}

/// A key with the part of the log it speaks for.
struct LogKey {
    key: NoteKey,
    /// Trees of at least this size.
    since: u64,
    /// Trees of at most this size.
    until: u64,
    /// Whether it is the policy's, or joined by rotations to one that is.
    believed: bool,
}

/// A signed root that is not the tree's.
struct Mismatch {
    epoch: u64,
    size: u64,
    from: String,
}

/// The log's own signatures.
pub struct Log {
    origin: String,
    keys: Vec<LogKey>,
    /// The key that the log introduced last.
    newest: Option<NoteKey>,
    witnesses: Vec<NoteKey>,
    /// Genuine checkpoints that agree with the tree: how many, and the largest.
    agreed: u64,
    unproved: u64,
    largest: Option<u64>,
    /// The epoch of the largest: a log that was sealed goes on under a name of its own.
    epoch: u64,
    mismatches: Vec<Mismatch>,
    /// Genuine roots at the size looked at last.
    roots: HashMap<Hash, String>,
    roots_at: (u64, u64),
    witnessed: usize,
}

impl Log {
    /// Believes the policy's keys.
    pub fn new(policy: &Policy) -> Self {
        let keys = policy
            .logs
            .iter()
            .map(|key| LogKey { key: key.clone(), since: 0, until: u64::MAX, believed: true })
            .collect();
        Self {
            origin: policy.origin.clone(),
            keys,
            newest: None,
            witnesses: policy.witnesses.clone(),
            agreed: 0,
            unproved: 0,
            largest: None,
            epoch: FIRST_EPOCH,
            mismatches: Vec::new(),
            roots: HashMap::new(),
            roots_at: (0, 0),
            witnessed: 0,
        }
    }

    /// A `key` entry of the control plane: a checkpoint key comes into force, or leaves it, after that entry.
    pub fn key(&mut self, index: u64, entry: &Object<'_>, findings: &mut Findings) {
        let fault = |findings: &mut Findings, detail: &str| findings.fault(Check::Key, Some(index), detail);
        let key = entry.text("public_key").and_then(public_key);
        let key = key.and_then(|key| NoteKey::ed25519(&self.origin, key.to_bytes()).ok());
        let Some(key) = key else { return fault(findings, "a checkpoint key that is not an Ed25519 key") };
        if entry.text("state") != Some("introduced") {
            if let Some(known) = self.keys.iter_mut().find(|k| k.key == key && k.until == u64::MAX) {
                known.until = index;
            }
            return;
        }
        match (entry.get("rotation").and_then(Value::object), &self.newest) {
            // Said again.
            (_, Some(newest)) if *newest == key => {}
            (None, None) => self.begin(index, key, findings),
            (Some(rotation), Some(before)) => match rotation::verify(rotation, before, &key) {
                Ok(()) => self.follow(index, key, findings),
                Err(problem) => fault(findings, problem),
            },
            (None, Some(_)) => fault(findings, "a checkpoint key that the one before it has not signed"),
            (Some(_), None) => fault(findings, "a checkpoint key that follows one which was not introduced"),
        }
    }

    /// The log's first key. One that the policy does not name must be joined to one that it does.
    fn begin(&mut self, index: u64, key: NoteKey, findings: &mut Findings) {
        self.newest = Some(key.clone());
        if !self.keys.iter().any(|known| known.key == key) {
            self.add(LogKey { key, since: index + 1, until: u64::MAX, believed: false }, findings);
        }
    }

    /// A key in the place of the newest, signed by both.
    fn follow(&mut self, index: u64, key: NoteKey, findings: &mut Findings) {
        let before = self.newest.replace(key.clone());
        let mut believed = false;
        for known in self.keys.iter_mut().filter(|known| Some(&known.key) == before.as_ref()) {
            known.until = known.until.min(index);
            believed |= known.believed;
        }
        if let Some(known) = self.keys.iter_mut().find(|known| known.key == key && known.since == 0) {
            // The reader brought this one along: all that led to it is the log's own.
            known.since = index + 1;
            self.keys.iter_mut().for_each(|known| known.believed = true);
        } else {
            self.add(LogKey { key, since: index + 1, until: u64::MAX, believed }, findings);
        }
    }

    fn add(&mut self, key: LogKey, findings: &mut Findings) {
        if self.keys.len() < KEYS_MAX {
            self.keys.push(key);
        } else {
            findings.fault(Check::Key, None, "more checkpoint keys than are followed");
        }
    }

    /// Compares a checkpoint with the tree at its size; `root` is absent where leaves are missing.
    pub fn compare(&mut self, presented: &Presented, root: Option<Hash>, findings: &mut Findings) {
        let Presented { note: text, checkpoint, from } = presented;
        let size = checkpoint.size;
        let Some(epoch) = self.epoch_of(checkpoint) else {
            let detail = format!("{from}: it is of another log, {}", checkpoint.origin);
            return findings.fault(Check::Checkpoint, None, detail);
        };
        let Ok(note) = note::read(text) else { return };
        let in_force = self.keys.iter().filter(|k| k.since <= size && size <= k.until);
        // Keys sign under the name of the epoch's log.
        let named = in_force.filter_map(|k| NoteKey::ed25519(&checkpoint.origin, k.key.to_bytes()).ok());
        let signed = named.map(|key| key.signed(&note)).find(|signed| *signed != Ok(false));
        match signed {
            Some(Ok(true)) => {}
            Some(Err(e)) => return findings.fault(Check::Checkpoint, None, format!("{from}, size {size}: {e}")),
            Some(Ok(false)) | None => {
                let detail = format!("{from}, size {size}: not signed by a key of this log that was in force");
                return findings.fault(Check::Checkpoint, None, detail);
            }
        }
        if self.roots_at != (size, epoch) {
            self.roots.clear();
            self.roots_at = (size, epoch);
        }
        self.roots.entry(checkpoint.root).or_insert_with(|| from.clone());
        if self.roots.len() > 1 {
            let detail = format!("two signed checkpoints of size {size} have different roots");
            findings.fault(Check::SplitView, None, detail);
        }
        match root {
            Some(root) if root == checkpoint.root => {
                self.agreed += 1;
                self.largest = Some(size);
                self.epoch = self.epoch.max(epoch);
                self.witnessed = self.count_witnesses(&note, findings);
            }
            Some(_) if self.mismatches.len() < MISMATCHES_MAX => {
                self.mismatches.push(Mismatch { epoch, size, from: from.clone() });
            }
            Some(_) => findings.fault(Check::Root, None, format!("{from}, size {size}: not the tree's root")),
            // Its leaf hashes are missing, and reported as such: nothing is proved and nothing refuted.
            None => self.unproved += 1,
        }
    }

    /// The epoch that a checkpoint speaks for: `<origin>`, or `<origin>/<epoch>` with the line that names it.
    fn epoch_of(&self, checkpoint: &Checkpoint) -> Option<u64> {
        let rest = checkpoint.origin.strip_prefix(&self.origin)?;
        if rest.is_empty() {
            return Some(FIRST_EPOCH);
        }
        let number = rest.strip_prefix('/')?;
        let epoch: u64 = number.parse().ok().filter(|n: &u64| *n > FIRST_EPOCH && n.to_string() == number)?;
        let mut lines = checkpoint.extensions.iter().filter_map(|line| line.strip_prefix("aegis-epoch/1 "));
        let named = lines
            .any(|line| line.split_once(' ').is_some_and(|(n, sealed)| n == number && Hash::parse(sealed).is_ok()));
        named.then_some(epoch)
    }

    fn count_witnesses(&self, note: &note::Note<'_>, findings: &mut Findings) -> usize {
        let mut count = 0;
        for witness in &self.witnesses {
            match witness.signed(note) {
                Ok(signed) => count += usize::from(signed),
                Err(_) => {
                    findings.fault(
                        Check::Witness,
                        None,
                        format!("the signature of {} does not verify", witness.name()),
                    );
                }
            }
        }
        count
    }

    /// The end of the log: which contradictions are the log's own.
    pub fn finish(&self, findings: &mut Findings) {
        for stranger in self.keys.iter().filter(|known| !known.believed) {
            let detail =
                format!("no rotation joins it to a key of the policy: {}", hex::encode(stranger.key.to_bytes()));
            findings.fault(Check::Key, stranger.since.checked_sub(1), detail);
        }
        if self.epoch > FIRST_EPOCH {
            findings.missing(Missing::Sealed(self.epoch));
        }
        for Mismatch { epoch, size, from } in &self.mismatches {
            // Of a log that was sealed because its database lost entries: said openly, and counted as missing.
            if *epoch < self.epoch {
                continue;
            }
            // The tree that a larger signed checkpoint names determines the smaller ones: the log signed both.
            if self.largest.is_some_and(|largest| largest >= *size) {
                let detail = format!("{from}, size {size}: signed, and contradicted by a signed checkpoint");
                findings.fault(Check::SplitView, None, detail);
            } else {
                findings.fault(Check::Root, None, format!("{from}, size {size}: not the tree's root"));
            }
        }
    }

    /// Genuine checkpoints that agree with the tree.
    pub const fn agreed(&self) -> u64 {
        self.agreed
    }

    /// Genuine checkpoints of trees whose leaf hashes are missing.
    pub const fn unproved(&self) -> u64 {
        self.unproved
    }

    /// The largest of those that agree.
    pub const fn largest(&self) -> Option<u64> {
        self.largest
    }

    /// How many of the policy's witnesses have signed the largest, and how many there are.
    pub const fn witnesses(&self) -> (usize, usize) {
        (self.witnessed, self.witnesses.len())
    }
}
