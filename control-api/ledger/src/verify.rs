//! Verification of a ledger, entry by entry and in bounded memory: form, origin, signatures, both chains, the tree.
//!
//! Nothing is believed but the control plane's identity keys that the reader brings along: sidecars are known by
//! their `enrol` entries, boots by their `open` entries.

use std::collections::{HashMap, HashSet};

use aegis_core::id::{AuditId, BootId, SourceId, TenantId};
use aegis_core::words;

use crate::chain;
use crate::entry::{Body, Entry, Header};
use crate::hash::{self, Hash};
use crate::loss::{Account, Hole, Losses};
use crate::rotation::{COMPROMISED, LogKeys};
use crate::rows::{Enrol, Gap, Key, Open};
use crate::signing::{EntrySignature, PublicKey, boot_statement};
use crate::tree::Tree;

/// Boots one verification follows at most; entries of further ones are reported as of an unknown boot.
pub const BOOTS_MAX: usize = 100_000;
/// Keys known to be compromised at most.
const COMPROMISED_MAX: usize = 100_000;
/// Signatures that are remembered as verified, so that a shared one costs once.
const VERIFIED_MAX: usize = 1_024;

words! {
    /// What is wrong with an entry.
    pub enum FaultKind {
        /// The bytes are not an entry.
        Encoding = "encoding",
        /// It belongs to another tenant.
        Tenant = "tenant",
        /// Its boot was never opened.
        UnknownBoot = "unknown_boot",
        /// Its `open` is not vouched for by the source's enrolled identity key.
        Origin = "origin",
        /// A key that was reported compromised, or one that does not follow the one before it.
        Key = "key",
        /// The signature does not verify.
        Signature = "signature",
        /// Entries of its source are missing and no `gap` declares them.
        Missing = "missing",
        /// Its number came before.
        Repeat = "repeat",
        /// It names another predecessor.
        Prev = "prev",
        /// Its boot was closed before.
        AfterClose = "after_close",
        /// The index is not the next one.
        Index = "index",
        /// The stored leaf hash is not that of the bytes.
        Leaf = "leaf",
        /// The stored chain hash does not continue the chain.
        Chain = "chain",
        /// The columns do not say what the bytes say.
        Projection = "projection",
        /// The head is not that of the entries.
        Head = "head",
        /// The tree is not the one that a checkpoint or a daily root says.
        Checkpoint = "checkpoint",
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where; absent if it concerns no single entry.
    pub index: Option<u64>,
    /// The entry, if it could be read.
    pub audit_id: Option<AuditId>,
    /// What.
    pub kind: FaultKind,
    /// For people.
    pub detail: String,
}

struct Boot {
    key: PublicKey,
    next_seq: u64,
    prev: Option<Hash>,
    closed: bool,
}

/// An `open` whose source has not been enrolled yet: the control plane's own comes right after its first.
struct Waiting {
    index: u64,
    audit_id: AuditId,
    header: Header,
    open: Open,
}

/// A verification under way.
pub struct Verifier {
    tenant: TenantId,
    index: u64,
    chain: Hash,
    tree: Option<Tree>,
    controls: HashSet<SourceId>,
    identities: HashMap<SourceId, PublicKey>,
    boots: HashMap<(SourceId, BootId), Boot>,
    waiting: Vec<Waiting>,
    tails: Vec<(u64, SourceId, BootId, u64)>,
    verified: HashSet<(Vec<u8>, String, [u8; 32])>,
    account: Account,
    log_keys: LogKeys,
    compromised: HashMap<String, u64>,
    faults: Vec<Fault>,
}

impl Verifier {
    /// From the first entry. `controls` are the identity keys of the control plane's replicas: the trust that the
    /// reader brings.
    pub fn new(tenant: TenantId, controls: HashMap<SourceId, PublicKey>) -> Self {
        Self {
            tenant,
            index: 0,
            chain: chain::tenant_genesis(tenant),
            tree: Some(Tree::default()),
            controls: controls.keys().copied().collect(),
            identities: controls,
            boots: HashMap::new(),
            waiting: Vec::new(),
            tails: Vec::new(),
            verified: HashSet::new(),
            account: Account::default(),
            log_keys: LogKeys::default(),
            compromised: HashMap::new(),
            faults: Vec::new(),
        }
    }

    /// From a later entry: what came before is believed, and so is the tree over it, without which no root results.
    /// `boots` are the keys of boots opened before, `identities` those of sources enrolled before.
    #[must_use]
    pub fn starting_at(
        mut self,
        index: u64,
        (chain, tree): (Hash, Option<Tree>),
        boots: impl IntoIterator<Item = ((SourceId, BootId), PublicKey)>,
        identities: impl IntoIterator<Item = (SourceId, PublicKey)>,
    ) -> Self {
        self.index = index;
        self.chain = chain;
        self.tree = tree;
        self.identities.extend(identities);
        // Where they stood is unknown: the first entry of each is taken as it comes.
        self.boots.extend(
            boots.into_iter().map(|(id, key)| (id, Boot { key, next_seq: u64::MAX, prev: None, closed: false })),
        );
        self
    }

    /// Keys as they were before the first entry that is checked: the checkpoint keys, and those reported compromised.
    #[must_use]
    pub fn knowing(mut self, log_keys: LogKeys, compromised: HashMap<String, u64>) -> Self {
        self.log_keys = log_keys;
        self.compromised = compromised;
        self
    }

    /// The index of the next entry.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The tenant's chain hash over everything so far.
    pub const fn chain(&self) -> Hash {
        self.chain
    }

    /// The tree's root (RFC 9162) over everything so far; absent if the tree before the beginning is not known.
    pub fn root(&self) -> Option<Hash> {
        self.tree.as_ref().map(Tree::root)
    }

    /// Takes the faults found since the last time.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// What sources have declared as lost so far. It is missing, and said to be: no fault.
    pub const fn losses(&self) -> &Losses {
        self.account.declared()
    }

    /// Notes a fault that the reader found beside the entry it checked last.
    pub fn note(&mut self, audit_id: Option<AuditId>, kind: FaultKind, detail: impl Into<String>) {
        let index = self.index.checked_sub(1);
        self.faults.push(Fault { index, audit_id, kind, detail: detail.into() });
    }

    /// Goes on with a chain hash other than the computed one, after its difference was noted: one fault, not one
    /// for every entry after it.
    pub fn resume_chain(&mut self, chain: Hash) {
        self.chain = chain;
    }

    /// Checks the next entry; what it says, if it can be read.
    pub fn check(&mut self, bytes: &[u8], signature: &EntrySignature) -> Option<Entry> {
        let leaf = hash::leaf(bytes);
        self.chain = chain::tenant_next(self.chain, leaf);
        if let Some(tree) = &mut self.tree {
            tree.push(leaf);
        }
        let index = self.index;
        self.index += 1;
        match Entry::decode(bytes) {
            Err(e) => {
                self.note(None, FaultKind::Encoding, e.to_string());
                None
            }
            Ok(entry) => {
                self.entry(index, &entry, bytes, leaf, signature);
                Some(entry)
            }
        }
    }

    /// The end of the part that is checked was reached: what is missing in it and not declared in it.
    pub fn finish_part(&mut self) {
        for hole in self.account.take_undeclared() {
            self.faults.push(missing(&hole));
        }
    }

    /// The end of the ledger was reached: what only then is known to be missing.
    pub fn finish(&mut self) {
        self.finish_part();
        for waiting in std::mem::take(&mut self.waiting) {
            self.faults.push(Fault {
                index: Some(waiting.index),
                audit_id: Some(waiting.audit_id),
                kind: FaultKind::Origin,
                detail: format!("source {} was never enrolled", waiting.header.source),
            });
        }
        for (index, source, boot, last_seq) in std::mem::take(&mut self.tails) {
            let have = self.boots.get(&(source, boot)).map_or(0, |b| b.next_seq);
            if have <= last_seq {
                let detail = format!("boot {boot} had seq {last_seq}, the ledger has {have} entries of it");
                self.faults.push(Fault { index: Some(index), audit_id: None, kind: FaultKind::Missing, detail });
            }
        }
    }

    fn entry(&mut self, index: u64, entry: &Entry, bytes: &[u8], leaf: Hash, signature: &EntrySignature) {
        let header = &entry.header;
        let id = Some(header.audit_id);
        if header.tenant_id != self.tenant {
            self.note(id, FaultKind::Tenant, format!("names tenant {}", header.tenant_id));
        }
        match &entry.body {
            Body::Open(open) => self.open(index, header, open),
            Body::Gap(gap) => self.gap(index, header, gap),
            Body::Enrol(enrol) => self.enrol(header, enrol),
            Body::Key(key) => self.key(index, header, key),
            Body::Close(_)
            | Body::Heartbeat(_)
            | Body::Decision(_)
            | Body::Outcome(_)
            | Body::Admin(_)
            | Body::Policy(_)
            | Body::Kill(_)
            | Body::DailyStatement(_)
            | Body::Note(_) => {}
        }
        let Some(boot) = self.boots.get_mut(&(header.source, header.boot)) else {
            self.note(id, FaultKind::UnknownBoot, format!("boot {} was not opened", header.boot));
            return;
        };
        let mut faults = Vec::new();
        let hole = boot.place(header, &mut faults).map(|(from, to)| {
            let Header { audit_id, source, boot, .. } = *header;
            Hole { index, audit_id, source, boot, from, to }
        });
        if boot.closed {
            faults.push((FaultKind::AfterClose, "its boot was closed before".to_owned()));
        }
        boot.closed = matches!(entry.body, Body::Close(_));
        boot.next_seq = header.seq.saturating_add(1);
        boot.prev = Some(Hash::of(&[bytes]));
        let key = boot.key;
        let undeclared = hole.and_then(|hole| self.account.hole(hole));
        self.faults.extend(undeclared.as_ref().map(missing));
        for (kind, detail) in faults {
            self.note(id, kind, detail);
        }
        if self.compromised.get(&signature.key_id.0).is_some_and(|reported| *reported < index) {
            self.note(id, FaultKind::Key, "signed after its key was reported compromised");
        }
        self.signature(id, key, leaf, signature);
    }

    /// Only the control plane's word about keys counts.
    fn key(&mut self, index: u64, header: &Header, key: &Key) {
        let id = Some(header.audit_id);
        if !self.controls.contains(&header.source) {
            return self.note(id, FaultKind::Key, "only the control plane may speak of keys");
        }
        if key.state == COMPROMISED && self.compromised.len() < COMPROMISED_MAX {
            self.compromised.entry(key.key_id.clone()).or_insert(index);
        }
        if !self.log_keys.take(index, key) {
            self.note(id, FaultKind::Key, "a checkpoint key that does not follow the one before it");
        }
    }

    fn signature(&mut self, id: Option<AuditId>, key: PublicKey, leaf: Hash, signature: &EntrySignature) {
        if signature.key_id != key.id() {
            self.note(id, FaultKind::Signature, "names another key than its boot's");
            return;
        }
        let message = match signature.message(leaf) {
            Ok(message) => message,
            Err(e) => return self.note(id, FaultKind::Signature, e.to_string()),
        };
        let seen = (message, signature.signature.clone(), key.to_bytes());
        if self.verified.contains(&seen) {
            return;
        }
        if let Err(e) = key.verify(&seen.0, &seen.1) {
            return self.note(id, FaultKind::Signature, e.to_string());
        }
        if self.verified.len() >= VERIFIED_MAX {
            self.verified.clear();
        }
        self.verified.insert(seen);
    }

    fn open(&mut self, index: u64, header: &Header, open: &Open) {
        let id = Some(header.audit_id);
        let place = (header.source, header.boot);
        if header.seq != 0 || self.boots.contains_key(&place) {
            return self.note(id, FaultKind::Repeat, "the boot was opened before");
        }
        let key = match PublicKey::parse(&open.boot_key) {
            Ok(key) => key,
            Err(e) => return self.note(id, FaultKind::Origin, e.to_string()),
        };
        if self.boots.len() >= BOOTS_MAX {
            return self.note(id, FaultKind::UnknownBoot, "more boots than one verification follows");
        }
        let prev = Some(chain::genesis(header.tenant_id, header.source, header.boot));
        self.boots.insert(place, Boot { key, next_seq: 0, prev, closed: false });
        if let Some(previous) = &open.previous
            && let Some(last_seq) = previous.last_seq
        {
            self.tails.push((index, header.source, previous.boot, last_seq));
        }
        let waiting = Waiting { index, audit_id: header.audit_id, header: header.clone(), open: open.clone() };
        match self.identities.get(&header.source) {
            Some(identity) => self.vouched(*identity, &waiting),
            None => self.waiting.push(waiting),
        }
    }

    /// Whether the identity key vouches for the boot's key.
    fn vouched(&mut self, identity: PublicKey, waiting: &Waiting) {
        let Waiting { header, open, .. } = waiting;
        let vouched = PublicKey::parse(&open.boot_key).and_then(|key| {
            let statement = boot_statement(header.tenant_id, header.source, header.boot, &key);
            identity.verify(&statement, &open.identity_signature)
        });
        let detail = match vouched {
            Ok(()) if self.compromised.get(&open.identity_key_id).is_some_and(|at| *at < waiting.index) => {
                "the identity key that vouches for it was reported compromised".to_owned()
            }
            Ok(()) if open.identity_key_id == identity.id().0 => return,
            Ok(()) => "the open names another identity key".to_owned(),
            Err(e) => format!("the identity key does not vouch for the boot key: {e}"),
        };
        let (index, audit_id) = (Some(waiting.index), Some(waiting.audit_id));
        self.faults.push(Fault { index, audit_id, kind: FaultKind::Origin, detail });
    }

    fn enrol(&mut self, header: &Header, enrol: &Enrol) {
        let id = Some(header.audit_id);
        if !self.controls.contains(&header.source) {
            return self.note(id, FaultKind::Origin, "only the control plane enrols sources");
        }
        let key = match PublicKey::parse(&enrol.identity_key) {
            Ok(key) if key.id().0 == enrol.identity_key_id => key,
            Ok(_) => return self.note(id, FaultKind::Origin, "the identity key's id is not that of the key"),
            Err(e) => return self.note(id, FaultKind::Origin, e.to_string()),
        };
        match self.identities.get(&enrol.enrolled) {
            Some(known) if *known != key => {
                return self.note(id, FaultKind::Origin, "the source is enrolled with another key");
            }
            Some(_) | None => drop(self.identities.insert(enrol.enrolled, key)),
        }
        let (mine, others) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.header.source == enrol.enrolled);
        self.waiting = others;
        let mine: Vec<Waiting> = mine;
        for waiting in mine {
            self.vouched(key, &waiting);
        }
    }

    /// A declared loss: the boot that lost entries goes on after them, if it did not already.
    fn gap(&mut self, index: u64, header: &Header, gap: &Gap) {
        let mut boot = self.boots.get_mut(&(header.source, gap.lost_boot));
        let next = boot.as_ref().map(|boot| boot.next_seq);
        if self.account.declare(index, header, gap, next)
            && let Some(boot) = &mut boot
        {
            boot.next_seq = gap.to.saturating_add(1);
            boot.prev = None;
        }
    }
}

fn missing(hole: &Hole) -> Fault {
    let Hole { index, audit_id, source, boot, from, to } = hole;
    Fault {
        index: Some(*index),
        audit_id: Some(*audit_id),
        kind: FaultKind::Missing,
        detail: format!("seq {from} to {to} of boot {boot} of source {source} are missing"),
    }
}

impl Boot {
    /// Whether the entry comes next; if entries are missing before it, the first and the last of them.
    fn place(&self, header: &Header, faults: &mut Vec<(FaultKind, String)>) -> Option<(u64, u64)> {
        if self.next_seq == u64::MAX {
            return None;
        }
        if header.seq > self.next_seq {
            return Some((self.next_seq, header.seq - 1));
        }
        if header.seq < self.next_seq {
            faults.push((FaultKind::Repeat, format!("seq {} came before", header.seq)));
        } else if self.prev.is_some_and(|prev| prev != header.prev) {
            faults.push((FaultKind::Prev, format!("prev does not match at seq {}", header.seq)));
        }
        None
    }
}
