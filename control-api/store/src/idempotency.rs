//! Idempotency keys: a management write that is sent twice happens once, across replicas, restarts and crashes.
//!
//! A key is claimed in a transaction of its own before the work begins. While the work runs inside [`within`], every
//! recorded write that commits marks the claim in the same transaction, so afterwards there is no doubt whether the
//! work happened: a claim without a mark whose holder is gone may be taken over, one with a mark never runs again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_core::entropy;
use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_ledger::hash::Hash;

use crate::conn::{Conn, Sight};
use crate::error::StoreError;
use crate::sealing;
use crate::sql::{Row, Sql};
use crate::store::Store;

/// How long a key is remembered.
pub const KEPT: Duration = Duration::from_hours(24);
/// Keys of one principal that are remembered at most.
pub const KEYS_MAX: u64 = 10_000;
/// Bytes of an answer that is kept at most.
pub const ANSWER_MAX: usize = 256 * 1024;
/// After this long an unmarked claim counts as left behind.
pub const LEASE: Duration = Duration::from_mins(1);
/// Ended keys removed at once at most.
const PRUNED_MAX: u64 = 5_000;

/// Whose key it is: unique together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The tenant.
    pub tenant: TenantId,
    /// The principal's label.
    pub principal: String,
    /// The key.
    pub key: String,
}

/// The right to do the work of a key.
#[derive(Debug)]
pub struct Claim {
    place: Place,
    owner: String,
    committed: AtomicBool,
}

/// What is known of a key.
#[derive(Debug)]
pub enum Begun {
    /// Nothing yet: do the work, then [`finish`] or [`release`].
    Run(Arc<Claim>),
    /// The work was done; this is its answer.
    Done(Vec<u8>),
    /// The work was done; its answer is not known: too long to be kept, or its process died before keeping it.
    AnswerLost,
    /// The work is being done.
    Running,
    /// The key stands for another request.
    OtherRequest,
    /// The principal has too many keys.
    TooMany,
}

impl Claim {
    /// Whether a write of this claim was committed.
    pub fn is_committed(&self) -> bool {
        self.committed.load(Ordering::SeqCst)
    }

    /// Marks the claim in the transaction that is about to commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] `claim_lost` if somebody took it over: then this work must not happen.
    pub(crate) async fn mark(&self, db: &mut Conn) -> Result<(), StoreError> {
        // The write may be of another tenant than the principal's: a platform administrator's.
        db.see(Sight::Platform).await?;
        let mut sql = Sql::new("UPDATE idempotency_keys SET committed = TRUE");
        self.narrow(&mut sql);
        if db.execute(sql).await? == 0 {
            return Err(StoreError::Conflict { what: "idempotency_key", reason: "claim_lost" });
        }
        Ok(())
    }

    pub(crate) fn committed(&self) {
        self.committed.store(true, Ordering::SeqCst);
    }

    fn narrow(&self, sql: &mut Sql) {
        sql.push(" WHERE tenant_id = ").push_bind(self.place.tenant);
        sql.push(" AND principal = ").push_bind(self.place.principal.as_str());
        sql.push(" AND idem_key = ").push_bind(self.place.key.as_str());
        sql.push(" AND owner = ").push_bind(self.owner.as_str());
    }
}

tokio::task_local! {
    static CURRENT: Arc<Claim>;
}

/// Does the work of a claim: every recorded write that commits inside marks it.
pub async fn within<F: Future>(claim: Arc<Claim>, work: F) -> F::Output {
    CURRENT.scope(claim, work).await
}

/// The claim whose work runs here.
pub(crate) fn current() -> Option<Arc<Claim>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Claims a key for a request, or tells what became of it.
///
/// Dead right after the commit: the claim is unmarked, and can be taken over when its lease has ended.
pub async fn begin(store: &Store, place: Place, request: &[u8; 32]) -> Result<Begun, StoreError> {
    let (now, request) = (store.now(), Hash::from_bytes(*request));
    let owner = hex::encode(entropy::random::<16>(store.entropy()));
    let mut db = store.upkeep_of(place.tenant).await?;
    let sql = Sql::new(
        "INSERT INTO idempotency_keys (tenant_id, principal, idem_key, request_hash, owner, committed, started_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, FALSE, $6, $7) ON CONFLICT DO NOTHING",
    );
    let sql = sql.bind(place.tenant).bind(place.principal.as_str()).bind(place.key.as_str()).bind(request);
    let is_new = db.execute(sql.bind(owner.as_str()).bind(now).bind(now.plus(KEPT))).await? == 1;
    if is_new {
        let sql = Sql::new("SELECT COUNT(*) AS n FROM idempotency_keys WHERE tenant_id = $1 AND principal = $2");
        let count = db.fetch_one(sql.bind(place.tenant).bind(place.principal.as_str())).await?;
        if count.get::<u64>("n")? > KEYS_MAX {
            return Ok(Begun::TooMany);
        }
        db.commit().await?;
        return Ok(Begun::Run(Arc::new(Claim { place, owner, committed: AtomicBool::new(false) })));
    }
    let known = read(&mut db, &place).await?;
    let begun = match known.judge(request, now) {
        Known::OtherRequest => Begun::OtherRequest,
        Known::Running => Begun::Running,
        Known::Done(None) => Begun::AnswerLost,
        Known::Done(Some(sealed)) => Begun::Done(sealing::open(store.control().data_key(), &sealed, &context(&place))?),
        Known::Free => {
            let sql = Sql::new(
                "UPDATE idempotency_keys SET owner = $1, request_hash = $2, committed = FALSE, answer = NULL, \
                 started_at = $3, expires_at = $4 WHERE tenant_id = $5 AND principal = $6 AND idem_key = $7",
            );
            let sql = sql.bind(owner.as_str()).bind(request).bind(now).bind(now.plus(KEPT)).bind(place.tenant);
            db.execute(sql.bind(place.principal.as_str()).bind(place.key.as_str())).await?;
            db.commit().await?;
            Begun::Run(Arc::new(Claim { place, owner, committed: AtomicBool::new(false) }))
        }
    };
    Ok(begun)
}

/// Keeps the answer of work that was done; without one (too long), only that it was done.
///
/// Dead before: a marked claim says that the work was done, and its answer is lost.
pub async fn finish(store: &Store, claim: &Claim, answer: Option<&[u8]>) -> Result<(), StoreError> {
    let answer = answer.filter(|a| a.len() <= ANSWER_MAX);
    let sealed = answer
        .map(|a| sealing::seal(store.control().data_key(), a, &context(&claim.place), store.entropy()))
        .transpose()?;
    let mut db = store.upkeep_of(claim.place.tenant).await?;
    let mut sql = Sql::new("UPDATE idempotency_keys SET committed = TRUE, answer = ");
    sql.push_bind(sealed);
    claim.narrow(&mut sql);
    db.execute(sql).await?;
    db.commit().await
}

/// Gives the key back after work that changed nothing.
pub async fn release(store: &Store, claim: &Claim) -> Result<(), StoreError> {
    let mut db = store.upkeep_of(claim.place.tenant).await?;
    let mut sql = Sql::new("DELETE FROM idempotency_keys");
    claim.narrow(&mut sql);
    sql.push(" AND NOT committed");
    db.execute(sql).await?;
    db.commit().await
}

/// Forgets keys that have ended; how many.
pub async fn prune(db: &mut Conn, now: Timestamp) -> Result<u64, StoreError> {
    let sql = Sql::new(
        "DELETE FROM idempotency_keys WHERE (tenant_id, principal, idem_key) IN (SELECT tenant_id, principal, idem_key \
         FROM idempotency_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    );
    db.execute(sql.bind(now).bind(PRUNED_MAX)).await
}

/// A key as stored.
struct Stored {
    request: Hash,
    committed: bool,
    answer: Option<Vec<u8>>,
    started_at: Timestamp,
    expires_at: Timestamp,
}

enum Known {
    Free,
    OtherRequest,
    Running,
    Done(Option<Vec<u8>>),
}

impl Stored {
    fn judge(self, request: Hash, now: Timestamp) -> Known {
        if self.expires_at <= now {
            Known::Free
        } else if self.request != request {
            Known::OtherRequest
        } else if self.committed {
            Known::Done(self.answer)
        } else if now < self.started_at.plus(LEASE) {
            Known::Running
        } else {
            // Its holder is gone, or slower than the lease: then its commit finds the claim lost and does nothing.
            Known::Free
        }
    }
}

async fn read(db: &mut Conn, place: &Place) -> Result<Stored, StoreError> {
    let mut sql = Sql::new(
        "SELECT request_hash, committed, answer, started_at, expires_at FROM idempotency_keys \
         WHERE tenant_id = $1 AND principal = $2 AND idem_key = $3",
    )
    .bind(place.tenant)
    .bind(place.principal.as_str())
    .bind(place.key.as_str());
    // A commit that marks the claim right now is waited for.
    sql.push(db.dialect().for_update());
    let row: Row = db.fetch_optional(sql).await?.ok_or_else(|| {
        // Released between the two statements.
        StoreError::Conflict { what: "idempotency_key", reason: "idempotency_in_progress" }
    })?;
    Ok(Stored {
        request: row.get("request_hash")?,
        committed: row.get("committed")?,
        answer: row.maybe("answer")?,
        started_at: row.get("started_at")?,
        expires_at: row.get("expires_at")?,
    })
}

fn context(place: &Place) -> Vec<u8> {
    format!("aegis-idempotency/1\n{}\n{}\n{}", place.tenant, place.principal, place.key).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both;
    use crate::testing::admin;

    const ONE: [u8; 32] = [1; 32];

    fn place(tenant: TenantId) -> Place {
        Place { tenant, principal: "user:ada".into(), key: "k".into() }
    }

    async fn claim(store: &Store, tenant: TenantId) -> Arc<Claim> {
        match begin(store, place(tenant), &ONE).await.unwrap() {
            Begun::Run(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    async fn write(store: &Store, tenant: TenantId) -> Result<(), StoreError> {
        let tx = store.write(tenant).await?;
        tx.record(admin("test", "test")).await?.commit().await
    }

    both! {
        async fn work_happens_once_and_its_answer_is_kept_sealed(t: TestStore) {
            let tenant = t.tenant().await;
            let held = claim(&t.store, tenant).await;
            // Another replica.
            let again = t.again().await;
            assert!(matches!(begin(&again, place(tenant), &ONE).await.unwrap(), Begun::Running));
            assert!(matches!(begin(&again, place(tenant), &[2; 32]).await.unwrap(), Begun::OtherRequest));
            within(Arc::clone(&held), write(&t.store, tenant)).await.unwrap();
            assert!(held.is_committed());
            finish(&t.store, &held, Some(b"answer")).await.unwrap();
            assert!(matches!(begin(&again, place(tenant), &ONE).await.unwrap(), Begun::Done(answer) if answer == b"answer"));
            let mut db = t.store.read(tenant).await.unwrap();
            let row = db.fetch_one(Sql::new("SELECT answer FROM idempotency_keys")).await.unwrap();
            let stored: Vec<u8> = row.get("answer").unwrap();
            assert!(!stored.windows(6).any(|w| w == b"answer"));
            drop(db);
            t.clock.advance(KEPT);
            let mut db = t.store.upkeep().await.unwrap();
            assert_eq!(prune(&mut db, t.store.now()).await.unwrap(), 1);
        }

        async fn after_a_crash_what_was_committed_never_runs_again_and_what_was_not_does(t: TestStore) {
            let tenant = t.tenant().await;
            let held = claim(&t.store, tenant).await;
            // Dead before the commit: nobody releases. Within the lease it may still be alive.
            assert!(matches!(begin(&t.store, place(tenant), &ONE).await.unwrap(), Begun::Running));
            t.clock.advance(LEASE);
            let next = claim(&t.store, tenant).await;
            // It was alive after all: its commit comes too late and leaves nothing.
            let late = within(held, write(&t.store, tenant)).await;
            assert!(matches!(late, Err(StoreError::Conflict { reason: "claim_lost", .. })));
            within(Arc::clone(&next), write(&t.store, tenant)).await.unwrap();
            // Dead between commit and answer.
            t.clock.advance(LEASE);
            assert!(matches!(begin(&t.store, place(tenant), &ONE).await.unwrap(), Begun::AnswerLost));
        }

        async fn work_that_changed_nothing_gives_its_key_back(t: TestStore) {
            let (tenant, other) = (t.tenant().await, t.tenant().await);
            let held = claim(&t.store, tenant).await;
            release(&t.store, &held).await.unwrap();
            let held = claim(&t.store, tenant).await;
            // A write of another tenant marks it just so; marked, it is not given back.
            within(Arc::clone(&held), write(&t.store, other)).await.unwrap();
            release(&t.store, &held).await.unwrap();
            assert!(matches!(begin(&t.store, place(tenant), &ONE).await.unwrap(), Begun::AnswerLost));
        }
    }
}
