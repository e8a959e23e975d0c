//! Where delivered entries go: onto their source's chain, or aside. Runs with the tenant's ledger held.
//!
//! A chain takes entries in order. One that cannot be taken is kept as a violation from its first delivery on and
//! holds its chain for a while: if what is missing comes, or the same place is delivered well, nothing was lost.
//! After that the chain goes on: past a poisoned entry, whose bytes stay in the violation, or past a gap, which
//! stays on record. A loss that the source itself declares is passed at once, also when the declaration is of a later
//! number: then it is shown ahead and takes its own place when its turn comes. So no entry is silently lost and none blocks its source for ever.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aegis_core::id::{AgentId, BootId, TenantId};
use aegis_ledger::entry::Body;
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::Gap;
use aegis_ledger::wire::Ack;

use super::Head;
use super::append::{Admitted, Position, append, position, position_set};
use super::intake::{Delivered, Verdict};
use super::salt::{self, NewSalt};
use super::violation::{self, ViolationKind};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::source::Sender;
use crate::sql::Sql;
use crate::store::Store;

/// How long an entry that is wrong in itself holds its chain.
pub(crate) const POISON_HOLD: Duration = Duration::from_mins(1);
/// How long a chain waits for entries that are missing.
pub(crate) const GAP_HOLD: Duration = Duration::from_mins(10);

/// What became of one tenant's part of a batch.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    pub(crate) violations: Vec<(TenantId, ViolationKind)>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) checkpoints: Vec<String>,
}

/// One tenant's transaction.
pub(crate) struct Placement<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sender: &'a Sender,
    pub(crate) tenant: TenantId,
    /// Keys that are reported compromised: nothing more is taken from them.
    pub(crate) compromised: HashMap<String, u64>,
    /// Losses that good entries of this delivery declare.
    pub(crate) gaps: Vec<Gap>,
    pub(crate) placed: Placed,
}

/// What one step does to the chain.
enum Step {
    /// It goes on.
    On,
    /// It waits: the rest of the batch comes again.
    Hold,
}

/// A chain while a batch is put onto it.
struct Chain {
    boot: BootId,
    at: Position,
    closed: bool,
    /// Leaf hashes by number of entries that are in the ledger already.
    stored: HashMap<u64, Hash>,
    taken: Vec<(Box<Admitted>, Option<aegis_ledger::commitment::Salt>)>,
}

impl Placement<'_> {
    /// Keeps what has no chain of this sender: nothing of it can wait for anything.
    pub(crate) async fn aside(&mut self, db: &mut Conn, items: &[Delivered]) -> Result<(), StoreError> {
        for item in items {
            if let Verdict::Bad(kind, why) = &item.verdict {
                self.keep(db, *kind, why, item).await?;
            }
            if let Some(place) = item.place {
                let ack = Ack { tenant_id: place.tenant, source: place.source, boot: place.boot, seq: place.seq };
                self.placed.acks.push(ack);
            }
        }
        Ok(())
    }

    /// Puts the entries of this tenant onto their chains.
    pub(crate) async fn place(
        &mut self,
        db: &mut Conn,
        head: &mut Head,
        items: Vec<Delivered>,
    ) -> Result<(), StoreError> {
        self.gaps = items.iter().filter_map(|item| declaration(item).cloned()).collect();
        let mut chains: BTreeMap<BootId, Vec<(u64, Delivered)>> = BTreeMap::new();
        for item in items {
            if let Some(place) = item.place {
                chains.entry(place.boot).or_default().push((place.seq, item));
            }
        }
        for (boot, mut items) in chains {
            items.sort_by_key(|(seq, _)| *seq);
            self.place_chain(db, head, boot, items).await?;
        }
        Ok(())
    }

    async fn place_chain(
        &mut self,
        db: &mut Conn,
        head: &mut Head,
        boot: BootId,
        items: Vec<(u64, Delivered)>,
    ) -> Result<(), StoreError> {
        let key = (self.tenant, self.sender.source, boot);
        let known = position(db, key.0, key.1, key.2).await?;
        let before = known.unwrap_or_else(|| Position::start(self.tenant, self.sender.source, boot));
        let stored = self.stored(db, boot, before.next_seq, &items).await?;
        let mut chain = Chain { boot, at: before, closed: false, stored, taken: Vec::new() };
        for (seq, item) in items {
            match self.step(db, &mut chain, seq, item).await? {
                Step::On => {}
                Step::Hold => break,
            }
        }
        let Chain { at, closed, taken, .. } = chain;
        if at != before {
            let now = self.store.now();
            position_set(db, key, at, closed, now).await?;
            self.append(db, head, taken).await?;
            violation::settle(db, key, at.next_seq).await?;
        }
        if let Some(seq) = at.next_seq.checked_sub(1) {
            self.placed.acks.push(Ack { tenant_id: key.0, source: key.1, boot, seq });
        }
        Ok(())
    }

    async fn append(
        &mut self,
        db: &mut Conn,
        head: &mut Head,
        taken: Vec<(Box<Admitted>, Option<aegis_ledger::commitment::Salt>)>,
    ) -> Result<(), StoreError> {
        if taken.is_empty() {
            return Ok(());
        }
        let mut salts = Vec::new();
        let mut gaps = Vec::new();
        let mut entries = Vec::with_capacity(taken.len());
        for (admitted, salt) in taken {
            if let Body::Gap(gap) = &admitted.entry.body {
                gaps.push(gap.clone());
            }
            if let Some(salt) = salt {
                let header = &admitted.entry.header;
                let agent = agent_of(db, self.tenant, &admitted.entry.body).await?;
                salts.push(NewSalt { audit_id: header.audit_id, agent, ts: header.ts, salt });
            }
            entries.push(*admitted);
        }
        append(db, self.tenant, head, &entries, self.store.now()).await?;
        salt::put_all(db, self.store, self.tenant, &salts).await?;
        for gap in gaps {
            self.declared(db, &gap).await?;
        }
        self.placed.accepted += entries.len() as u64;
        Ok(())
    }

    async fn step(&mut self, db: &mut Conn, chain: &mut Chain, seq: u64, item: Delivered) -> Result<Step, StoreError> {
        if seq < chain.at.next_seq {
            self.repeated(db, chain, seq, &item).await?;
            return Ok(Step::On);
        }
        if seq > chain.at.next_seq {
            let patient = self.missing(db, chain, seq, &item).await?;
            if patient {
                return Ok(Step::Hold);
            }
            chain.at = Position { next_seq: seq, prev: None };
        }
        let poison = match &item.verdict {
            Verdict::Bad(kind, why) => Some((*kind, why.clone())),
            Verdict::Good { admitted, .. } if self.is_compromised(admitted) => {
                Some((ViolationKind::CompromisedKey, "signed with a key that was reported compromised".to_owned()))
            }
            Verdict::Good { admitted, .. } => match chain.at.prev {
                Some(prev) if admitted.entry.header.prev != prev => {
                    Some((ViolationKind::WrongPrev, format!("prev does not match at seq {seq}")))
                }
                Some(_) | None => None,
            },
        };
        if let Some((kind, why)) = poison {
            let first_seen = self.keep(db, kind, &why, &item).await?;
            if self.store.now().since(first_seen) < POISON_HOLD {
                return Ok(Step::Hold);
            }
        } else if let Verdict::Good { admitted, salt } = item.verdict {
            chain.closed = matches!(admitted.entry.body, Body::Close(_));
            chain.stored.insert(seq, item.leaf);
            chain.taken.push((admitted, salt));
        }
        chain.at = Position { next_seq: seq + 1, prev: Some(Hash::of(&[&item.bytes])) };
        Ok(Step::On)
    }

    /// Whether an entry's key, or the identity key that vouches for its boot, was reported compromised.
    fn is_compromised(&self, admitted: &Admitted) -> bool {
        let is_reported = |id: &str| self.compromised.contains_key(id);
        let vouched_badly = matches!(&admitted.entry.body, Body::Open(open) if is_reported(&open.identity_key_id));
        vouched_badly || is_reported(&admitted.signature.key_id.0)
    }

    /// Entries before this one are missing: whether to wait for them.
    async fn missing(&mut self, db: &mut Conn, chain: &Chain, seq: u64, item: &Delivered) -> Result<bool, StoreError> {
        let declares = |gap: &Gap| {
            gap.lost_boot == chain.boot && gap.from <= chain.at.next_seq && gap.to.checked_add(1) == Some(seq)
        };
        if matches!(item.verdict, Verdict::Good { .. }) && self.gaps.iter().any(declares) {
            // The source itself declares what is missing.
            return Ok(false);
        }
        if declaration(item).is_some() {
            // Shown ahead: it comes again, behind what is missing before it.
            return Ok(true);
        }
        let (kind, why) = match &item.verdict {
            Verdict::Bad(kind, why) => (*kind, why.clone()),
            Verdict::Good { .. } => (ViolationKind::Gap, format!("seq {seq} where {} was expected", chain.at.next_seq)),
        };
        let first_seen = self.keep(db, kind, &why, item).await?;
        Ok(self.store.now().since(first_seen) < GAP_HOLD)
    }

    /// The number was passed before: the same entry again, or another one.
    async fn repeated(&mut self, db: &mut Conn, chain: &Chain, seq: u64, item: &Delivered) -> Result<(), StoreError> {
        let same = match chain.stored.get(&seq) {
            Some(leaf) => *leaf == item.leaf,
            None => violation::is_kept(db, self.tenant, self.sender.source, item.leaf).await?,
        };
        if same {
            self.placed.duplicates += 1;
            return Ok(());
        }
        let (kind, why) = match (&item.verdict, chain.stored.contains_key(&seq)) {
            (Verdict::Bad(kind, why), _) => (*kind, why.clone()),
            (Verdict::Good { .. }, true) => (ViolationKind::Equivocation, format!("another entry has seq {seq}")),
            (Verdict::Good { .. }, false) => (ViolationKind::Late, format!("seq {seq} was passed over")),
        };
        self.keep(db, kind, &why, item).await.map(drop)
    }

    /// A source declares that entries of one of its boots are lost: that chain goes on after them.
    async fn declared(&self, db: &mut Conn, gap: &Gap) -> Result<(), StoreError> {
        let key = (self.tenant, self.sender.source, gap.lost_boot);
        let at = position(db, key.0, key.1, key.2).await?;
        match (at, gap.to.checked_add(1)) {
            (Some(at), Some(next_seq)) if gap.from <= at.next_seq && at.next_seq < next_seq => {
                position_set(db, key, Position { next_seq, prev: None }, false, self.store.now()).await?;
            }
            (Some(_) | None, _) => {}
        }
        violation::settle_declared(db, key, gap.to.saturating_add(1)).await
    }

    async fn keep(
        &mut self,
        db: &mut Conn,
        kind: ViolationKind,
        why: &str,
        item: &Delivered,
    ) -> Result<aegis_core::time::Timestamp, StoreError> {
        self.placed.violations.push((self.tenant, kind));
        violation::keep(db, self.store, (self.tenant, self.sender.source), kind, why, item).await
    }

    /// The leaf hashes that the ledger has at the batch's numbers below the cursor.
    async fn stored(
        &self,
        db: &mut Conn,
        boot: BootId,
        next_seq: u64,
        items: &[(u64, Delivered)],
    ) -> Result<HashMap<u64, Hash>, StoreError> {
        let seqs: Vec<u64> = items.iter().map(|(seq, _)| *seq).filter(|seq| *seq < next_seq).collect();
        if seqs.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = Sql::new("SELECT seq, leaf FROM ledger_entries WHERE tenant_id = ");
        sql.push_bind(self.tenant).push(" AND source_id = ").push_bind(self.sender.source);
        sql.push(" AND boot_id = ").push_bind(boot).push(" AND seq IN ");
        sql.push_tuple(seqs.into_iter().map(Into::into));
        db.fetch_all(sql).await?.iter().map(|row| Ok((row.get("seq")?, row.get("leaf")?))).collect()
    }
}

/// The loss that a good entry declares.
fn declaration(item: &Delivered) -> Option<&Gap> {
    let Verdict::Good { admitted, .. } = &item.verdict else { return None };
    if let Body::Gap(gap) = &admitted.entry.body { Some(gap) } else { None }
}

/// Under whose key a row's salt is sealed: the agent it is about.
async fn agent_of(db: &mut Conn, tenant: TenantId, body: &Body) -> Result<AgentId, StoreError> {
    let nobody = AgentId::from_uuid(uuid::Uuid::nil());
    match body {
        Body::Decision(decision) => Ok(decision.agent_id),
        Body::Outcome(outcome) => {
            let sql = Sql::new(
                "SELECT agent_id FROM audit_rows WHERE tenant_id = $1 AND execution_id = $2 AND kind = 'decision' LIMIT 1",
            );
            let row = db.fetch_optional(sql.bind(tenant).bind(outcome.execution_id)).await?;
            row.map_or(Ok(nobody), |row| row.get("agent_id"))
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
        | Body::Note(_) => Ok(nobody),
    }
}
