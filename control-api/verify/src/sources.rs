//! Who wrote an entry, judged by the order of the log: enrolments, boots, keys; and each source's own chain.

use std::collections::HashMap;

use aegis_ledger::hash::Hash;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::canonical::{Object, Value};
use crate::id::Id;
use crate::policy::{key_id, public_key};
use crate::record::{EntrySignature, Signatures};
use crate::verdict::{Check, Findings, Missing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Sources followed at most.
pub const SOURCES_MAX: usize = 100_000;
/// Boots followed at most; what only later ones could show is reported as of an unknown boot.
pub const BOOTS_MAX: usize = 500_000;
/// Keys known to be compromised at most.
const COMPROMISED_MAX: usize = 100_000;
/// Kinds that only the control plane writes.
const CONTROL_KINDS: [&str; 7] = ["admin", "key", "enrol", "policy", "kill", "note", "daily_statement"];

/// An entry under check.
pub struct At<'a> {
    /// Its index.
    pub index: u64,
    /// Its kind.
    pub kind: &'a str,
    /// Itself.
    pub entry: &'a Object<'a>,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The hash by which the source's next entry names it.
    pub hash: Hash,
}

struct Boot {
    key: VerifyingKey,
    key_id: String,
    next_seq: u64,
    /// What the next entry's `prev` must be; unknown after a loss.
    prev: Option<Hash>,
    closed: bool,
    /// Entries known to be missing from the log when the last one of this boot was read.
    missing_before: u64,
}

/// A boot that a later one says had come so far.
struct Tail {
    source: Id,
    boot: Id,
    last_seq: u64,
    missing_before: u64,
}

/// All that is known of the sources.
pub struct Sources {
    tenant: Id,
    controls: HashMap<Id, VerifyingKey>,
    identities: HashMap<Id, VerifyingKey>,
    boots: HashMap<(Id, Id), Boot>,
    tails: Vec<Tail>,
    compromised: HashMap<String, u64>,
    signatures: Signatures,
    missing: u64,
}

impl Sources {
    /// Before the first entry: only the control plane's identity keys of the trust policy are believed.
    pub fn new(tenant: Id, controls: HashMap<Id, VerifyingKey>) -> Self {
        Self {
            tenant,
            identities: controls.clone(),
            controls,
            boots: HashMap::new(),
            tails: Vec::new(),
            compromised: HashMap::new(),
            signatures: Signatures::default(),
            missing: 0,
        }
    }

    /// So many entries of the log are not in the bundle, or cannot be read.
    pub const fn skipped(&mut self, count: u64) {
        self.missing = self.missing.saturating_add(count);
    }

    /// Whether a source is the control plane by the trust policy.
    pub fn is_control(&self, source: Id) -> bool {
        self.controls.contains_key(&source)
    }

    /// Checks the next entry, which has the schema of its kind; whether it is genuinely from where it says.
    pub fn check(&mut self, at: &At<'_>, signature: &EntrySignature, findings: &mut Findings) -> bool {
        let (Some(source), Some(boot_id)) = (id(at.entry, "source"), id(at.entry, "boot")) else { return false };
        if id(at.entry, "tenant_id") != Some(self.tenant) {
            findings.fault(Check::Tenant, Some(at.index), "the entry is another tenant's");
            return false;
        }
        let authorised = !CONTROL_KINDS.contains(&at.kind) || self.is_control(source);
        if !authorised {
            let detail = format!("source {source} is not the control plane and may not write `{}`", at.kind);
            findings.fault(Check::Authority, Some(at.index), detail);
        }
        if at.kind == "open" {
            self.open(at, source, boot_id, findings);
        }
        let missing = self.missing;
        let Some(boot) = self.boots.get_mut(&(source, boot_id)) else {
            findings.fault(Check::Boot, Some(at.index), format!("boot {boot_id} was not opened before"));
            return false;
        };
        boot.place(at, (source, boot_id), missing, findings);
        let compromised = self.compromised.get(&boot.key_id).is_some_and(|since| *since < at.index);
        if signature.key_id != boot.key_id {
            findings.fault(Check::Signature, Some(at.index), "the signature names another key than its boot's");
        } else if !self.signatures.verify(&boot.key, at.leaf, signature) {
            findings.fault(Check::Signature, Some(at.index), "the signature does not verify");
        } else if compromised {
            findings.fault(Check::Key, Some(at.index), "signed after its key was reported compromised");
        } else {
            self.signed(at, source, findings);
            return authorised;
        }
        false
    }

    /// What a verified entry says about sources and keys.
    fn signed(&mut self, at: &At<'_>, source: Id, findings: &mut Findings) {
        match at.kind {
            "gap" => self.gap(at, source, findings),
            "enrol" if self.is_control(source) => self.enrol(at, findings),
            "key" if self.is_control(source) && at.entry.text("state") == Some("compromised") => {
                if self.compromised.len() < COMPROMISED_MAX {
                    let key = at.entry.text("key_id").unwrap_or_default().to_owned();
                    self.compromised.entry(key).or_insert(at.index);
                } else {
                    findings.fault(Check::Key, Some(at.index), "more compromised keys than are followed");
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, at: &At<'_>, source: Id, boot: Id, findings: &mut Findings) {
        let fault = |findings: &mut Findings, check, detail: &str| findings.fault(check, Some(at.index), detail);
        if self.boots.contains_key(&(source, boot)) {
            return fault(findings, Check::Chain, "the boot was opened before");
        }
        let Some(identity) = self.identities.get(&source) else {
            return fault(findings, Check::Enrolment, "its source was not enrolled before");
        };
        let boot_key = at.entry.text("boot_key").unwrap_or_default();
        let Some(key) = public_key(boot_key) else {
            return fault(findings, Check::Boot, "its boot key is not an Ed25519 key");
        };
        let statement = format!("aegis-boot/1\n{}\n{source}\n{boot}\n{boot_key}", self.tenant);
        let signature = at.entry.text("identity_signature").and_then(|s| BASE64.decode(s).ok());
        let vouched = signature
            .and_then(|s| <[u8; 64]>::try_from(s).ok())
            .is_some_and(|s| identity.verify_strict(statement.as_bytes(), &Signature::from_bytes(&s)).is_ok());
        let identity_id = key_id(identity);
        if !vouched || at.entry.text("identity_key_id") != Some(&identity_id) {
            return fault(findings, Check::Boot, "the source's identity key does not vouch for the boot's key");
        }
        if self.compromised.contains_key(&identity_id) {
            return fault(findings, Check::Key, "vouched for by a key that was reported compromised");
        }
        if self.boots.len() >= BOOTS_MAX {
            return fault(findings, Check::Boot, "more boots than are followed");
        }
        if let Some(previous) = at.entry.get("previous").and_then(Value::object)
            && let (Some(last_seq), Some(boot)) = (previous.unsigned("last_seq"), id(previous, "boot"))
        {
            self.tails.push(Tail { source, boot, last_seq, missing_before: self.missing });
        }
        let genesis = format!("aegis-genesis/1\n{}\n{source}\n{boot}", self.tenant);
        let prev = Some(Hash::of(&[genesis.as_bytes()]));
        let key_id = key_id(&key);
        let boot_state = Boot { key, key_id, next_seq: 0, prev, closed: false, missing_before: self.missing };
        self.boots.insert((source, boot), boot_state);
    }

    fn enrol(&mut self, at: &At<'_>, findings: &mut Findings) {
        let enrolled = id(at.entry, "enrolled");
        let key = at.entry.text("identity_key").and_then(public_key);
        let (Some(enrolled), Some(key)) = (enrolled, key) else {
            return findings.fault(Check::Enrolment, Some(at.index), "its identity key is not an Ed25519 key");
        };
        if at.entry.text("identity_key_id") != Some(&key_id(&key)) {
            return findings.fault(Check::Enrolment, Some(at.index), "the identity key's id is not that of the key");
        }
        match self.identities.get(&enrolled) {
            Some(known) if *known != key => {
                findings.fault(Check::Enrolment, Some(at.index), "the source is enrolled with another key already");
            }
            None if self.identities.len() >= SOURCES_MAX => {
                findings.fault(Check::Enrolment, Some(at.index), "more sources than are followed");
            }
            Some(_) | None => drop(self.identities.insert(enrolled, key)),
        }
    }

    /// A declared loss: that boot goes on after it, and what it lost is missing.
    fn gap(&mut self, at: &At<'_>, source: Id, findings: &mut Findings) {
        let (Some(lost), Some(from), Some(to)) =
            (id(at.entry, "lost_boot"), at.entry.unsigned("from"), at.entry.unsigned("to"))
        else {
            return;
        };
        // A gap in its own boot was seen when this entry's number came.
        if id(at.entry, "boot") != Some(lost)
            && let Some(boot) = self.boots.get_mut(&(source, lost))
            && boot.next_seq <= to
        {
            boot.next_seq = to.saturating_add(1);
            boot.prev = None;
            let declared = at.entry.text("why").map(str::to_owned);
            findings.missing(Missing::OfSource { source, boot: lost, from, to, declared });
        }
    }

    /// The end of the log: what later boots say of earlier ones must be there.
    pub fn finish(self, findings: &mut Findings) {
        for Tail { source, boot, last_seq, missing_before } in self.tails {
            let (have, seen) = self.boots.get(&(source, boot)).map_or((0, 0), |b| (b.next_seq, b.missing_before));
            // Entries that are missing from the bundle are reported by index already.
            if have <= last_seq && missing_before.saturating_sub(seen) < last_seq + 1 - have {
                findings.missing(Missing::OfSource { source, boot, from: have, to: last_seq, declared: None });
            }
        }
    }
}

impl Boot {
    fn place(&mut self, at: &At<'_>, (source, boot): (Id, Id), missing: u64, findings: &mut Findings) {
        let seq = at.entry.unsigned("seq").unwrap_or_default();
        let prev = at.entry.text("prev").and_then(|p| Hash::parse(p).ok());
        if self.closed {
            findings.fault(Check::Chain, Some(at.index), "its boot was closed before");
        }
        if seq < self.next_seq {
            findings.fault(Check::Chain, Some(at.index), format!("its source had entry {seq} before"));
            return;
        }
        let lost = seq - self.next_seq;
        if lost > 0 {
            let is_gap = at.kind == "gap"
                && id(at.entry, "lost_boot") == Some(boot)
                && at.entry.unsigned("to").and_then(|to| to.checked_add(1)) == Some(seq);
            let declared = is_gap.then(|| at.entry.text("why").unwrap_or_default().to_owned());
            // Entries that are missing from the bundle are reported by index already.
            if is_gap || missing.saturating_sub(self.missing_before) < lost {
                let (from, to) = (self.next_seq, seq - 1);
                findings.missing(Missing::OfSource { source, boot, from, to, declared });
            }
        } else if self.prev.is_some() && self.prev != prev {
            findings.fault(Check::Chain, Some(at.index), "it names another predecessor");
        }
        self.next_seq = seq.saturating_add(1);
        self.prev = Some(at.hash);
        self.closed |= at.kind == "close";
        self.missing_before = missing;
    }
}

fn id(object: &Object<'_>, name: &str) -> Option<Id> {
    object.text(name).and_then(Id::parse)
}
