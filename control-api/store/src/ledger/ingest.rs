//! `POST /internal/audit/entries`: a batch of one sidecar's entries, committed and then acknowledged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use aegis_core::id::{BootId, SourceId, TenantId};
use aegis_ledger::signing::PublicKey;
use aegis_ledger::wire::{INGEST_BYTES_MAX, INGEST_ENTRIES_MAX, IngestAnswer};

use super::Head;
use super::checkpoint;
use super::intake::{self, Delivered, Verdict};
use super::log_key;
use super::placement::{Placed, Placement};
use super::violation::ViolationKind;
use crate::conn::{Conn, Sight};
use crate::error::StoreError;
use crate::notice::LedgerGrew;
use crate::source::{self, Sender};
use crate::sql::Sql;
use crate::store::Store;
use crate::tx::tell_ledger;

/// What became of a batch.
#[derive(Debug)]
pub struct Ingested {
    /// For the sidecar.
    pub answer: IngestAnswer,
    /// For metrics and alerts: the rules that were broken, by tenant.
    pub violations: Vec<(TenantId, ViolationKind)>,
}

/// Takes a batch: NDJSON lines of `SignedEntry`, decompressed, delivered with the credential of `source`.
///
/// Each tenant's entries are one transaction; its acknowledgement is given after its commit. A process that dies
/// between two of them has committed the first without telling: the batch comes again and those are duplicates.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such source, [`StoreError::Conflict`] `revoked` if it is no longer
/// enrolled, [`StoreError::Invalid`] if the batch is too large. Entries that break a rule are no error: they are
/// kept as violations.
pub async fn ingest(store: &Store, source: SourceId, body: Vec<u8>) -> Result<Ingested, StoreError> {
    if body.len() > INGEST_BYTES_MAX {
        return Err(StoreError::Invalid { what: "batch", reason: "too_many_bytes" });
    }
    let sender = Arc::new(source::sender(&mut *store.read_platform().await?, source).await?);
    let items = checked(store, &sender, body).await?;
    let mut total = Placed::default();
    for (tenant, part) in by_tenant(&sender, items)? {
        let placed = prepare(store, &sender, tenant, part).await?.commit(store).await?;
        total.accepted += placed.accepted;
        total.duplicates += placed.duplicates;
        total.violations.extend(placed.violations);
        total.acks.extend(placed.acks);
        total.checkpoints.extend(placed.checkpoints);
    }
    let answer = IngestAnswer {
        accepted: total.accepted,
        duplicates: total.duplicates,
        violations: total.violations.len() as u64,
        acks: total.acks,
        checkpoints: total.checkpoints,
    };
    Ok(Ingested { answer, violations: total.violations })
}

/// Decodes and verifies, away from the async threads: tens of microseconds an entry.
async fn checked(store: &Store, sender: &Arc<Sender>, body: Vec<u8>) -> Result<Vec<Delivered>, StoreError> {
    let decoded = blocking(move || {
        let lines: Vec<&[u8]> = body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        if lines.len() > INGEST_ENTRIES_MAX {
            return Err(StoreError::Invalid { what: "batch", reason: "too_many_entries" });
        }
        Ok(lines.into_iter().map(intake::decode).collect::<Vec<_>>())
    });
    let mut items = decoded.await??;
    let keys = boot_keys(&mut *store.read_platform().await?, sender, &items).await?;
    let sender = Arc::clone(sender);
    blocking(move || {
        intake::verify(&mut items, &sender, keys);
        items
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| StoreError::corrupt(format!("a check ended badly: {e}")))
}

async fn boot_keys(
    db: &mut Conn,
    sender: &Sender,
    items: &[Delivered],
) -> Result<HashMap<(TenantId, BootId), PublicKey>, StoreError> {
    let places = items.iter().filter_map(|item| item.place).filter(|p| p.source == sender.source);
    let boots: HashSet<_> = places.map(|p| (p.tenant, p.boot)).collect();
    let mut keys = HashMap::new();
    for (tenant, boot) in boots {
        let sql = Sql::new("SELECT public_key FROM boot_keys WHERE tenant_id = $1 AND source_id = $2 AND boot_id = $3");
        if let Some(row) = db.fetch_optional(sql.bind(tenant).bind(sender.source).bind(boot)).await? {
            let text: String = row.get("public_key")?;
            keys.insert((tenant, boot), PublicKey::parse(&text).map_err(StoreError::corrupt)?);
        }
    }
    Ok(keys)
}

/// One tenant's part of a batch.
#[derive(Default)]
struct Part {
    chained: Vec<Delivered>,
    aside: Vec<Delivered>,
}

/// What speaks for nobody, or for somebody else, goes aside under the sender's first tenant.
fn by_tenant(sender: &Sender, items: Vec<Delivered>) -> Result<BTreeMap<TenantId, Part>, StoreError> {
    let first = *sender.tenants.first().ok_or(StoreError::Conflict { what: "source", reason: "no_tenants" })?;
    let mut parts: BTreeMap<TenantId, Part> = BTreeMap::new();
    for item in items {
        let foreign = match item.verdict {
            Verdict::Bad(ViolationKind::ForeignSource | ViolationKind::ForeignTenant, _) => true,
            Verdict::Bad(..) | Verdict::Good { .. } => false,
        };
        match item.place {
            Some(place) if !foreign => parts.entry(place.tenant).or_default().chained.push(item),
            Some(_) | None => parts.entry(first).or_default().aside.push(item),
        }
    }
    Ok(parts)
}

/// One tenant's part, written and not yet committed.
struct Prepared {
    db: Conn,
    placed: Placed,
    grew: Option<LedgerGrew>,
}

async fn prepare(store: &Store, sender: &Sender, tenant: TenantId, part: Part) -> Result<Prepared, StoreError> {
    let mut db = store.begin_write(Sight::Tenant(tenant)).await?;
    let mut head = Head::lock(&mut db, tenant).await?;
    let before = head.size;
    let compromised = log_key::compromised(&mut db, tenant).await?;
    let mut placement = Placement { store, sender, tenant, compromised, gaps: Vec::new(), placed: Placed::default() };
    placement.aside(&mut db, &part.aside).await?;
    placement.place(&mut db, &mut head, part.chained).await?;
    let mut placed = placement.placed;
    placed.checkpoints.extend(checkpoint::latest(&mut db, tenant).await?.map(|latest| latest.note));
    let grew = (head.size > before).then_some(LedgerGrew { tenant, size: head.size });
    if let Some(grew) = grew {
        tell_ledger(&mut db, grew).await?;
    }
    Ok(Prepared { db, placed, grew })
}

impl Prepared {
    /// Dead before the commit: nothing was written and nothing acknowledged, the batch comes again. Dead after it:
    /// written and not acknowledged, the batch comes again and every entry is a duplicate.
    async fn commit(self, store: &Store) -> Result<Placed, StoreError> {
        self.db.commit().await?;
        if let Some(grew) = self.grew {
            store.notices().ledger_grew(grew);
        }
        Ok(self.placed)
    }
}

/// A batch whose process dies before its first commit.
#[cfg(test)]
pub(crate) async fn ingest_and_die(store: &Store, source: SourceId, body: Vec<u8>) -> Result<(), StoreError> {
    let sender = Arc::new(source::sender(&mut *store.read_platform().await?, source).await?);
    let items = checked(store, &sender, body).await?;
    for (tenant, part) in by_tenant(&sender, items)? {
        drop(prepare(store, &sender, tenant, part).await?);
    }
    Ok(())
}
