//! Verification of a tenant's stored ledger: every byte, hash, signature and column, streaming, in bounded memory.

use std::collections::{HashMap, VecDeque};

use aegis_core::decision::Outcome;
use aegis_core::id::{AuditId, BootId, ExecutionId, SourceId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::loss::Losses;
use aegis_ledger::signing::{EntrySignature, PublicKey};
use aegis_ledger::verify::{Fault, FaultKind, Verifier};

use super::anchor::{Anchor, anchors};
use super::projection::{self, Projection};
use super::{Head, log_key, proof};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::source::SourceKind;
use crate::sql::{Row, Sql};
use crate::store::Store;

/// Entries one verification checks at most; the answer says where it stopped.
pub const ROWS_MAX: u64 = 2_000_000;
/// Faults one verification lists at most; all are counted.
pub const FAULTS_MAX: usize = 1_000;
/// Entries read at a time.
const PAGE: u64 = 500;

/// What a verification found.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The first index checked.
    pub checked_from: u64,
    /// The index after the last one checked.
    pub checked_to: u64,
    /// Whether that is the whole ledger.
    pub complete: bool,
    /// The first [`FAULTS_MAX`] faults.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub fault_count: u64,
    /// What sources have declared as lost: missing, but not silently.
    pub losses: Losses,
    /// The head when the verification began.
    pub head: Head,
    /// The tree's root (RFC 9162) over the whole ledger; absent if not all of it was checked.
    pub root: Option<Hash>,
    /// Checkpoints and daily roots in the range that were compared with the tree.
    pub roots_checked: u64,
}

/// Checks the entries with index `from` up to and with `to` (by default the last), against a head read once at the
/// beginning. A check that begins later believes what lies before.
///
/// # Errors
/// [`StoreError::Invalid`] if the range is empty and the ledger is not.
pub async fn verify(store: &Store, tenant: TenantId, from: u64, to: Option<u64>) -> Result<Verification, StoreError> {
    let mut db = store.read(tenant).await?;
    let head = Head::read(&mut db, tenant).await?;
    let end = to.map_or(head.size, |to| head.size.min(to.saturating_add(1))).min(from.saturating_add(ROWS_MAX));
    if from >= end && head.size > 0 {
        return Err(StoreError::Invalid { what: "range", reason: "empty_range" });
    }
    let verifier = begin(&mut db, store, tenant, from).await?;
    let anchors = anchors(&mut db, store, tenant, (from, end)).await?;
    drop(db);
    let mut check = Check { verifier, anchors, roots_checked: 0, faults: Vec::new(), fault_count: 0 };
    let mut next = from;
    while next < end {
        // A transaction a page: the ledger only grows, so the pages agree, and none is held open for long.
        let mut db = store.read(tenant).await?;
        let rows = page(&mut db, tenant, next, end.min(next + PAGE)).await?;
        let settlements = settlements(&mut db, tenant, &rows).await?;
        drop(db);
        let expected = next;
        next = end.min(next + PAGE);
        check = tokio::task::spawn_blocking(move || {
            check.page(expected, next, &rows, &settlements);
            check
        })
        .await
        .map_err(|e| StoreError::corrupt(format!("a check ended badly: {e}")))?;
    }
    Ok(check.finish(from, end, head))
}

/// One stored entry with its columns.
struct Stored {
    index: u64,
    bytes: Vec<u8>,
    signature: Option<EntrySignature>,
    source: SourceId,
    boot: BootId,
    seq: u64,
    leaf: Hash,
    chain: Hash,
    received_at: Timestamp,
    columns: Option<(Projection, Timestamp, Option<u64>)>,
}

/// What settled a decision, or which decision an outcome was for: by the index of the row that is checked.
#[derive(Default)]
struct Settlements {
    outcomes: HashMap<u64, Vec<u8>>,
    waiting: HashMap<(SourceId, ExecutionId), AuditId>,
}

async fn begin(db: &mut Conn, store: &Store, tenant: TenantId, from: u64) -> Result<Verifier, StoreError> {
    let mut controls = HashMap::from([(store.control().source(), store.control().identity())]);
    let mut sources = HashMap::new();
    for row in db.fetch_all(Sql::new("SELECT source_id, kind, identity_key FROM sources")).await? {
        let key: String = row.get("identity_key")?;
        let key = PublicKey::parse(&key).map_err(StoreError::corrupt)?;
        match row.word("kind", SourceKind::parse)? {
            SourceKind::Control => drop(controls.entry(row.get("source_id")?).or_insert(key)),
            SourceKind::Sidecar => drop(sources.insert(row.get::<SourceId>("source_id")?, key)),
        }
    }
    let verifier = Verifier::new(tenant, controls);
    let Some(last) = from.checked_sub(1) else { return Ok(verifier) };
    let sql = Sql::new("SELECT chain FROM ledger_entries WHERE tenant_id = $1 AND idx = $2").bind(tenant).bind(last);
    let chain = db.fetch_one(sql).await?.get("chain")?;
    let sql = Sql::new("SELECT source_id, boot_id, public_key FROM boot_keys WHERE tenant_id = $1 AND idx < $2");
    let mut boots = Vec::new();
    for row in db.fetch_all(sql.bind(tenant).bind(from)).await? {
        let key: String = row.get("public_key")?;
        let key = PublicKey::parse(&key).map_err(StoreError::corrupt)?;
        boots.push(((row.get("source_id")?, row.get("boot_id")?), key));
    }
    // The tree over what is believed is believed with it; where its tiles are lost, no root is checked.
    let tree = match proof::tree(db, tenant, from).await {
        Ok(tree) => Some(tree),
        Err(StoreError::NotFound(_)) => None,
        Err(fault) => return Err(fault),
    };
    let log_keys = log_key::keys_before(db, tenant, from).await?;
    let mut compromised = log_key::compromised(db, tenant).await?;
    compromised.retain(|_, reported| *reported < from);
    Ok(verifier.starting_at(from, (chain, tree), boots, sources).knowing(log_keys, compromised))
}

async fn page(db: &mut Conn, tenant: TenantId, from: u64, end: u64) -> Result<Vec<Stored>, StoreError> {
    let mut sql = Sql::new(
        "SELECT e.idx AS e_idx, e.source_id AS e_source_id, e.boot_id, e.seq, e.entry, e.leaf, e.chain, e.signature, \
         e.received_at AS e_received_at, a.received_at, a.outcome_idx, ",
    );
    projection::push_beside_entries(&mut sql, tenant, from..end);
    let rows = db.fetch_all(sql).await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<Stored, StoreError> {
    let columns = match row.maybe::<String>("audit_id")? {
        None => None,
        // Columns that cannot even be read differ from the bytes: reported, not an error.
        Some(_) => match (Projection::from_row(row), row.maybe("received_at")?, row.maybe("outcome_idx")?) {
            (Ok(projection), Some(received_at), outcome) => Some((projection, received_at, outcome)),
            (_, _, _) => None,
        },
    };
    let signature: String = row.get("signature")?;
    Ok(Stored {
        index: row.get("e_idx")?,
        bytes: row.get("entry")?,
        signature: serde_json::from_str(&signature).ok(),
        source: row.get("e_source_id")?,
        boot: row.get("boot_id")?,
        seq: row.get("seq")?,
        leaf: row.get("leaf")?,
        chain: row.get("chain")?,
        received_at: row.get("e_received_at")?,
        columns,
    })
}

/// Reads the outcomes that settled decisions of the page, and decisions that still wait though an outcome of the page
/// is theirs.
async fn settlements(db: &mut Conn, tenant: TenantId, rows: &[Stored]) -> Result<Settlements, StoreError> {
    let mut found = Settlements::default();
    let settled: Vec<u64> = rows.iter().filter_map(|r| r.columns.as_ref()?.2).collect();
    if !settled.is_empty() {
        let mut sql = Sql::new("SELECT idx, entry FROM ledger_entries WHERE tenant_id = ");
        sql.push_bind(tenant).push(" AND idx IN ").push_tuple(settled.into_iter().map(Into::into));
        for row in db.fetch_all(sql).await? {
            found.outcomes.insert(row.get("idx")?, row.get("entry")?);
        }
    }
    let outcomes = rows.iter().filter_map(|r| r.columns.as_ref()).filter(|(p, _, _)| p.kind == "outcome");
    let calls: Vec<ExecutionId> = outcomes.filter_map(|(p, _, _)| p.execution_id).collect();
    if !calls.is_empty() {
        let mut sql = Sql::new("SELECT source_id, execution_id, audit_id FROM audit_rows WHERE tenant_id = ");
        sql.push_bind(tenant).push(" AND kind = 'decision' AND outcome = 'pending' AND execution_id IN ");
        sql.push_tuple(calls.into_iter().map(Into::into));
        for row in db.fetch_all(sql).await? {
            found.waiting.insert((row.get("source_id")?, row.get("execution_id")?), row.get("audit_id")?);
        }
    }
    Ok(found)
}

struct Check {
    verifier: Verifier,
    /// Those not yet reached.
    anchors: VecDeque<Anchor>,
    roots_checked: u64,
    faults: Vec<Fault>,
    fault_count: u64,
}

impl Check {
    fn page(&mut self, from: u64, end: u64, rows: &[Stored], settlements: &Settlements) {
        let have = rows.len() as u64;
        let want = end - from;
        if have != want || rows.iter().zip(from..).any(|(row, index)| row.index != index) {
            let detail = format!("of the indexes {from} to {} there are {have}", end - 1);
            self.verifier.note(None, FaultKind::Index, detail);
        }
        for row in rows {
            self.row(row, settlements);
            self.roots();
        }
        self.collect();
    }

    /// Compares the tree with what was signed for its size.
    fn roots(&mut self) {
        while let Some(anchor) = self.anchors.pop_front_if(|anchor| anchor.size <= self.verifier.index()) {
            if let Some(fault) = anchor.fault {
                self.verifier.note(None, FaultKind::Checkpoint, fault);
            }
            match self.verifier.root() {
                Some(root) if anchor.size == self.verifier.index() => {
                    self.roots_checked += 1;
                    if root != anchor.root {
                        self.verifier.note(None, FaultKind::Checkpoint, format!("{} says another root", anchor.what));
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    fn row(&mut self, row: &Stored, settlements: &Settlements) {
        let Some(signature) = &row.signature else {
            self.verifier.note(None, FaultKind::Signature, format!("index {}: not a signature", row.index));
            return;
        };
        let entry = self.verifier.check(&row.bytes, signature);
        let id = entry.as_ref().map(|e| e.header.audit_id);
        if hash::leaf(&row.bytes) != row.leaf {
            self.verifier.note(id, FaultKind::Leaf, "the leaf hash is not that of the bytes");
        }
        if self.verifier.chain() != row.chain {
            self.verifier.note(id, FaultKind::Chain, "the chain hash does not continue the chain");
            self.verifier.resume_chain(row.chain);
        }
        let Some(entry) = entry else { return };
        for detail in differences(&entry, row, settlements) {
            self.verifier.note(id, FaultKind::Projection, detail);
        }
    }

    fn collect(&mut self) {
        let found = self.verifier.take_faults();
        self.fault_count += found.len() as u64;
        let room = FAULTS_MAX.saturating_sub(self.faults.len());
        self.faults.extend(found.into_iter().take(room));
    }

    fn finish(mut self, from: u64, end: u64, head: Head) -> Verification {
        let complete = from == 0 && end == head.size;
        if complete {
            self.verifier.finish();
        } else {
            self.verifier.finish_part();
        }
        if end == head.size && (self.verifier.chain() != head.chain || self.verifier.index() != head.size) {
            self.verifier.note(None, FaultKind::Head, "the head is not that of the entries");
        }
        let root = self.verifier.root();
        if end == head.size && root.is_some_and(|root| root != head.tree.root()) {
            self.verifier.note(None, FaultKind::Head, "the tree beside the head is not that of the entries");
        }
        self.collect();
        // What is known only at the end stands in its place all the same.
        self.faults.sort_by_key(|fault| (fault.index.is_none(), fault.index));
        let root = root.filter(|_| complete);
        let losses = self.verifier.losses().clone();
        let Self { faults, fault_count, roots_checked, .. } = self;
        let (checked_from, checked_to) = (from, end);
        Verification { checked_from, checked_to, complete, faults, fault_count, losses, head, root, roots_checked }
    }
}

/// How the columns differ from what the bytes say.
fn differences(entry: &Entry, row: &Stored, settlements: &Settlements) -> Vec<String> {
    let mut found = Vec::new();
    let header = &entry.header;
    if (header.source, header.boot, header.seq) != (row.source, row.boot, row.seq) {
        found.push("the record is filed under another source, boot or seq".to_owned());
    }
    let Some((columns, received_at, outcome_index)) = &row.columns else {
        found.push("the columns are missing or unreadable".to_owned());
        return found;
    };
    if *received_at != row.received_at {
        found.push("received_at differs".to_owned());
    }
    let Ok(mut expected) = Projection::of(entry) else {
        found.push("the bytes have no columns".to_owned());
        return found;
    };
    match (outcome_index, &entry.body) {
        (None, Body::Outcome(outcome)) => {
            if let Some(decided) = settlements.waiting.get(&(header.source, outcome.execution_id)) {
                found.push(format!("decision {decided} still waits for this outcome"));
            }
        }
        (None, _) => {}
        (Some(index), Body::Decision(decision)) => {
            let settled = settlements.outcomes.get(index).and_then(|bytes| Entry::decode(bytes).ok());
            match settled.map(|e| (e.header.source, e.body)) {
                Some((source, Body::Outcome(o)))
                    if source == header.source && o.execution_id == decision.execution_id && *index > row.index =>
                {
                    if decision.outcome == Outcome::Pending {
                        expected.outcome = Some(o.outcome);
                        expected.cost_micro_usd = Some(o.cost_micro_usd);
                    }
                }
                Some(_) | None => found.push(format!("index {index} is not the outcome of this call")),
            }
        }
        (Some(_), _) => found.push("only a decision can be settled".to_owned()),
    }
    found.extend(expected.differences(columns));
    found
}

impl Projection {
    /// The names of the columns in which the two differ.
    fn differences(&self, stored: &Self) -> Option<String> {
        if self == stored {
            return None;
        }
        let pairs = [
            ("audit_id", self.audit_id == stored.audit_id),
            ("source_id", self.source == stored.source),
            ("kind", self.kind == stored.kind),
            ("ts", self.ts == stored.ts),
            ("execution_id", self.execution_id == stored.execution_id),
            ("request_id", self.request_id == stored.request_id),
            ("client_request_id", self.client_request_id == stored.client_request_id),
            ("agent_id", self.agent_id == stored.agent_id),
            ("principal", self.principal == stored.principal),
            ("session_id", self.session_id == stored.session_id),
            ("tool", self.tool == stored.tool),
            ("action", self.action == stored.action),
            ("object", self.object == stored.object),
            ("decision", self.decision == stored.decision),
            ("outcome", self.outcome == stored.outcome),
            ("score_bp", self.score_bp == stored.score_bp),
            ("risk_score", self.risk_score == stored.risk_score),
            ("findings", self.findings == stored.findings),
            ("rule_ids", self.rule_ids == stored.rule_ids),
            ("cost_micro_usd", self.cost_micro_usd == stored.cost_micro_usd),
            ("count", self.count == stored.count),
            ("reason", self.reason == stored.reason),
            ("shadow", self.shadow == stored.shadow),
        ];
        let names: Vec<&str> = pairs.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();
        Some(format!("the columns {} differ from the bytes", names.join(", ")))
    }
}
