//! The chains of this boot, one per tenant: numbers, links, encodes and signs rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::decision::Outcome;
use aegis_core::entropy::Entropy;
use aegis_core::id::{AuditId, TenantId};
use aegis_core::time::{Clock, Monotonic};
use aegis_ledger::chain::Cursor;
use aegis_ledger::commitment::Salt;
use aegis_ledger::entry::{Body, Entry, EntryError, Header};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::rows::{Close, Gap, Heartbeat, Open};
use aegis_ledger::signing::{BATCH_MAX, PrivateKey, boot_statement};
use aegis_ledger::wire::SignedEntry;

use super::heads::{ChainHead, Heads};
use super::losses::Hole;
use super::record::{self, Facts};
use super::shared::{Job, Shared};
use super::{Author, Counts};

/// Between two heartbeats of a chain, while rows flow.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// What a `gap` entry gives as its reason.
const LOST: &str = "the outbox is damaged on disk: these entries cannot be read any more";

/// A row ready to be written.
pub(super) struct Ready {
    pub(super) facts: Facts,
    pub(super) signed: SignedEntry,
    pub(super) audit_id: AuditId,
    /// The record, as it goes into a segment.
    pub(super) record: Vec<u8>,
    /// The chain after it.
    after: Cursor,
    counts: Counts,
    pub(super) job: Option<Job>,
    /// The loss that it declares.
    pub(super) hole: Option<Hole>,
}

struct Encoded {
    entry: Entry,
    text: String,
    salt: Option<Salt>,
    after: Cursor,
    job: Option<Job>,
    hole: Option<Hole>,
}

struct Chain {
    cursor: Cursor,
    /// The line of its `open`, without which nothing of it can be verified.
    open: Vec<u8>,
    /// When the last heartbeat was written, or the chain began.
    beat_at: Monotonic,
    /// Whether rows were written since.
    flowing: bool,
}

/// All chains of one boot.
pub(super) struct Chains {
    author: Author,
    key: PrivateKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Where the boots before ended.
    previous: Heads,
    tenants: HashMap<TenantId, Chain>,
}

impl Chains {
    pub(super) fn new(author: Author, previous: Heads, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let key = PrivateKey::generate(&*entropy);
        Self { author, key, clock, entropy, previous, tenants: HashMap::new() }
    }

    /// Numbers, links, encodes and signs the rows, each tenant's first behind an `open`. Nothing is changed:
    /// the numbers are given away only by [`Self::commit`], once the rows are written, so that a failed write
    /// leaves no hole. Rows that cannot be encoded come back.
    pub(super) fn prepare(&self, jobs: Vec<Job>) -> (Vec<Ready>, Vec<(Job, EntryError)>) {
        let mut cursors: HashMap<TenantId, Cursor> = HashMap::new();
        let (mut rows, mut refused) = (Vec::with_capacity(jobs.len() + 1), Vec::new());
        for job in jobs {
            let tenant = job.draft.tenant;
            let opened = self.begin(tenant, &cursors);
            let (cursor, open) = match opened {
                Ok(opened) => opened,
                Err(e) => {
                    refused.push((job, e));
                    continue;
                }
            };
            match self.encode(tenant, cursor, job.draft.audit_id, job.draft.body.clone()) {
                Ok(row) => {
                    rows.extend(open);
                    cursors.insert(tenant, row.after);
                    rows.push(Encoded { salt: job.draft.salt, job: Some(job), ..row });
                }
                Err(e) => refused.push((job, e)),
            }
        }
        (self.sign(rows), refused)
    }

    /// The declarations of these losses, each in its tenant's chain.
    pub(super) fn gaps(&self, holes: &[Hole]) -> Vec<Ready> {
        let mut cursors: HashMap<TenantId, Cursor> = HashMap::new();
        let mut rows = Vec::with_capacity(holes.len());
        for hole in holes {
            let Hole { tenant, boot, from, to } = *hole;
            let body = Body::Gap(Gap { lost_boot: boot, from, to, why: LOST.into() });
            let row = self.begin(tenant, &cursors).and_then(|(cursor, open)| {
                let row = self.encode(tenant, cursor, self.audit_id(), body)?;
                Ok((open, row))
            });
            // An entry of a few numbers always encodes.
            if let Ok((open, row)) = row {
                cursors.insert(tenant, row.after);
                rows.extend(open);
                rows.push(Encoded { hole: Some(*hole), ..row });
            }
        }
        self.sign(rows)
    }

    /// The line of the tenant's `open`, which must be known before anything else of its chain.
    pub(super) fn open_line(&self, tenant: TenantId) -> &[u8] {
        self.tenants.get(&tenant).map_or(&[], |chain| &chain.open)
    }

    /// The heartbeats that are due: of chains in which rows flow, or of all.
    pub(super) fn heartbeats(&self, shared: &Shared, all: bool) -> Vec<Ready> {
        let now = self.clock.monotonic();
        let due = |chain: &Chain| all || (chain.flowing && now.since(chain.beat_at) >= HEARTBEAT_INTERVAL);
        let due = self.tenants.iter().filter(|(_, chain)| due(chain));
        let rows = due.filter_map(|(tenant, chain)| {
            let counts = shared.counts.get(tenant).map(|c| *c).unwrap_or_default();
            let body = Body::Heartbeat(Heartbeat {
                forwarded: counts.forwarded,
                denied: counts.denied,
                errored: counts.errored,
                last_seq: chain.cursor.next_seq.saturating_sub(1),
            });
            self.encode(*tenant, chain.cursor, self.audit_id(), body).ok()
        });
        self.sign(rows.collect())
    }

    /// The last row of every chain.
    pub(super) fn closes(&self, reason: &str) -> Vec<Ready> {
        let rows = self.tenants.iter().filter_map(|(tenant, chain)| {
            let body = Body::Close(Close { reason: reason.to_owned() });
            self.encode(*tenant, chain.cursor, self.audit_id(), body).ok()
        });
        self.sign(rows.collect())
    }

    /// The row is written: its chain moves on.
    pub(super) fn commit(&mut self, ready: &Ready, shared: &Shared) {
        let now = self.clock.monotonic();
        let chain = self.tenants.entry(ready.facts.tenant).or_insert_with(|| Chain {
            cursor: ready.after,
            open: Vec::new(),
            beat_at: now,
            flowing: false,
        });
        chain.cursor = ready.after;
        if ready.facts.seq == 0 {
            chain.open = ready.line().to_vec();
        }
        if ready.job.is_some() {
            chain.flowing = true;
            shared.counts.entry(ready.facts.tenant).or_default().add(ready.counts);
        } else {
            chain.flowing = false;
            chain.beat_at = now;
        }
    }

    /// Where the tenant's next row goes: behind what `cursors` say, or what is written; else behind a new `open`.
    fn begin(
        &self,
        tenant: TenantId,
        cursors: &HashMap<TenantId, Cursor>,
    ) -> Result<(Cursor, Option<Encoded>), EntryError> {
        let known = cursors.get(&tenant).copied().or_else(|| self.tenants.get(&tenant).map(|chain| chain.cursor));
        match known {
            Some(cursor) => Ok((cursor, None)),
            None => self.open(tenant).map(|open| (open.after, Some(open))),
        }
    }

    fn audit_id(&self) -> AuditId {
        AuditId::generate(self.clock.now(), &*self.entropy)
    }

    fn open(&self, tenant: TenantId) -> Result<Encoded, EntryError> {
        let Author { identity, source, boot, software } = &self.author;
        let boot_key = self.key.public();
        let open = Open {
            boot_key: boot_key.to_base64(),
            identity_key_id: identity.key().public().id().0,
            identity_signature: identity.key().sign(&boot_statement(tenant, *source, *boot, &boot_key)),
            software: software.clone(),
            previous: self.previous.0.get(&tenant).filter(|head| head.source == *source).map(ChainHead::previous),
        };
        self.encode(tenant, Cursor::start(tenant, *source, *boot), self.audit_id(), Body::Open(open))
    }

    fn encode(&self, tenant: TenantId, at: Cursor, audit_id: AuditId, body: Body) -> Result<Encoded, EntryError> {
        let header = Header {
            tenant_id: tenant,
            source: self.author.source,
            boot: self.author.boot,
            seq: at.next_seq,
            prev: at.prev,
            ts: self.clock.now(),
            audit_id,
        };
        let entry = Entry { header, body };
        let text = entry.encode()?;
        let after = at.after(text.as_bytes());
        Ok(Encoded { entry, text, salt: None, after, job: None, hole: None })
    }

    fn sign(&self, rows: Vec<Encoded>) -> Vec<Ready> {
        let leaves: Vec<Hash> = rows.iter().map(|row| hash::leaf(row.text.as_bytes())).collect();
        let signatures = leaves.chunks(BATCH_MAX).flat_map(|part| self.key.sign_entries(part));
        // An entry of ours is JSON: a row that is not would end the batch here, and be refused as unwritten.
        rows.into_iter()
            .zip(signatures)
            .map_while(|(mut row, signature)| {
                let signed = SignedEntry::new(std::mem::take(&mut row.text), signature, row.salt.as_ref()).ok()?;
                let line = serde_json::to_vec(&signed).ok()?;
                let facts = Facts::of(&row.entry);
                let mut record = Vec::with_capacity(line.len() + 128);
                record::put(&mut record, &facts, &line);
                let audit_id = row.entry.header.audit_id;
                let counts = Counts::of(&row.entry.body);
                let Encoded { after, job, hole, .. } = row;
                Some(Ready { facts, signed, audit_id, record, after, counts, job, hole })
            })
            .collect()
    }
}

impl Ready {
    /// The line, as it is shipped.
    pub(super) fn line(&self) -> &[u8] {
        record::line(&self.record)
    }
}

impl Counts {
    /// What a row adds to its tenant's counters. A call under way counts as forwarded.
    fn of(body: &Body) -> Self {
        let (outcome, count) = match body {
            Body::Decision(row) => (row.outcome, row.count),
            Body::Outcome(row) => {
                return match row.outcome {
                    Outcome::Failed | Outcome::Unknown => Self { errored: 1, ..Self::default() },
                    Outcome::NotExecuted | Outcome::Executed | Outcome::Pending => Self::default(),
                };
            }
            Body::Open(_)
            | Body::Close(_)
            | Body::Heartbeat(_)
            | Body::Gap(_)
            | Body::Admin(_)
            | Body::Key(_)
            | Body::Enrol(_)
            | Body::Policy(_)
            | Body::Kill(_)
            | Body::DailyStatement(_)
            | Body::Note(_) => return Self::default(),
        };
        match outcome {
            Outcome::NotExecuted => Self { denied: count, ..Self::default() },
            Outcome::Executed | Outcome::Pending => Self { forwarded: count, ..Self::default() },
            Outcome::Failed | Outcome::Unknown => Self { errored: count, ..Self::default() },
        }
    }

    fn add(&mut self, other: Self) {
        self.forwarded += other.forwarded;
        self.denied += other.denied;
        self.errored += other.errored;
    }
}
