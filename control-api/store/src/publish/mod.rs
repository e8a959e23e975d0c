//! Publishing: tiles are written, then a checkpoint is recorded, then it is published; and days are sealed.
//!
//! The record outside the database is what the signer believes. A tree that is smaller than the recorded one, or
//! another one, is never signed in the same log: the log is sealed by its last checkpoint, and goes on as a new one
//! in the next epoch, which names that checkpoint.

mod key;
mod record;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::day::Day;
use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_ledger::checkpoint::{self as form, Checkpoint, Epoch, FIRST_EPOCH};
use aegis_ledger::entry::Body;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::note::VerifierKey;
use aegis_ledger::rows::Admin;
use aegis_ledger::signing::{PrivateKey, PublicKey};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use self::key::introduce;
pub use self::key::{compromise, introduce_everywhere};
use self::record::{Record, Records};
use crate::checkpoint_key::CheckpointKey;
use crate::error::StoreError;
use crate::lease;
use crate::ledger::checkpoint::{self, Opened, Stored};
use crate::ledger::{Head, day, grown, log_key, proof, tile};
use crate::store::Store;

/// How often an idle ledger is compared with its checkpoint again.
pub const IDLE: Duration = Duration::from_mins(1);
/// The lease of the replica that publishes.
const LEASE: &str = "publish";
/// How long it holds without being renewed.
const LEASE_LENGTH: Duration = Duration::from_secs(10);
/// The action of the entry that opens an epoch.
pub const EPOCH_ACTION: &str = "ledger.epoch";

/// Signs and publishes the checkpoints of every tenant.
pub struct Publisher {
    store: Store,
    deployment: String,
    records: Records,
    /// The key that a tenant's ledger is known to have introduced last.
    introduced: Mutex<HashMap<TenantId, PublicKey>>,
    /// Until when the lease is known to be held.
    held: Mutex<Timestamp>,
}

/// What became of a tenant's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It has a new one.
    Signed(Stored),
    /// Its last one is still that of the whole ledger.
    Unchanged(Stored),
    /// The database did not hold what had been signed: the log was sealed and goes on in a new epoch.
    Reopened {
        /// The checkpoint that sealed the log.
        sealed_size: u64,
        /// The first one of the new epoch.
        checkpoint: Stored,
    },
}

impl Publisher {
    /// `records` is the folder outside the database, which all replicas share; `deployment` names the logs.
    pub fn new(store: Store, deployment: &str, records: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            deployment: deployment.to_owned(),
            records: Records::open(records)?,
            introduced: Mutex::new(HashMap::new()),
            held: Mutex::new(store.now()),
            store,
        })
    }

    /// Publishes for every tenant whose ledger has grown or was not looked at for [`IDLE`], if this replica holds the
    /// lease or can take it.
    pub async fn turn(&self) -> Result<Vec<(TenantId, Result<Published, StoreError>)>, StoreError> {
        let idle = self.store.now().minus(IDLE);
        let due = checkpoint::due(&mut *self.store.read_platform().await?, idle).await?;
        let mut done = Vec::with_capacity(due.len());
        for tenant in due {
            if !self.leads().await? {
                break;
            }
            done.push((tenant, self.publish(tenant).await));
        }
        Ok(done)
    }

    /// Seals the days that are over, of every tenant, if this replica holds the lease or can take it; how many.
    pub async fn seal_days(&self) -> Result<u64, StoreError> {
        let today = Day::of(self.store.now());
        let mut sealed = 0;
        for tenant in day::due(&mut *self.store.read_platform().await?, today).await? {
            if !self.leads().await? {
                break;
            }
            sealed += u64::from(day::seal(&self.store, tenant, today.previous()).await?);
        }
        Ok(sealed)
    }

    /// Drops checkpoints that are old and beside others; how many.
    pub async fn thin(&self) -> Result<u64, StoreError> {
        let mut db = self.store.upkeep().await?;
        let dropped = checkpoint::thin(&mut db, self.store.now()).await?;
        db.commit().await?;
        Ok(dropped)
    }

    /// Lets another replica publish without waiting.
    pub async fn stop(&self) -> Result<(), StoreError> {
        *self.held.lock().await = self.store.now();
        lease::give_back(&self.store, LEASE).await
    }

    /// The keys that verify a tenant's checkpoints of this size in an epoch.
    ///
    /// # Errors
    /// If the deployment's name cannot stand in a key's name.
    pub async fn verifiers(&self, tenant: TenantId, epoch: u64, size: u64) -> Result<Vec<VerifierKey>, StoreError> {
        let keys = log_key::keys(&mut *self.store.read(tenant).await?, tenant).await?;
        let name = form::origin(&self.deployment, tenant, epoch);
        log_key::verifiers(&keys, &name, size).map_err(StoreError::corrupt)
    }

    /// The key that signs, and those before it.
    ///
    /// # Errors
    /// [`StoreError::KeyFile`] if it cannot be read.
    pub fn key(&self) -> Result<Arc<CheckpointKey>, StoreError> {
        self.store.control().checkpoint_keys().refreshed()
    }

    /// Brings a tenant's checkpoint up to its ledger.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] `other_key` if the ledger's checkpoints are signed with another key,
    /// `changed_meanwhile` if another replica signed or the key was rotated at the same time, `head_differs` if entries and head disagree.
    pub async fn publish(&self, tenant: TenantId) -> Result<Published, StoreError> {
        let key = self.introduce(tenant).await?;
        // The record is read before the ledger: another replica may sign meanwhile, but a ledger that is read later
        // and is smaller than the record has lost something.
        let mut kept = self.records.read(tenant)?;
        let mut record = self.believed(tenant, kept.clone()).await?;
        let (mut size, mut root) = self.tree(tenant).await?;
        let mut sealed_size = None;
        if let Some(before) = &record
            && !self.continues(tenant, before, size).await?
        {
            sealed_size = Some(before.size);
            let sealed = before.note.clone();
            let next = Record { epoch: before.epoch + 1, size: 0, root: hash::root(&[]), note: None, sealed };
            tracing::error!(%tenant, signed = before.size, found = size, epoch = next.epoch,
                "the database holds an older or another ledger than was signed: the log is sealed, a new epoch begins");
            // Dead after this: the record is in the new epoch, and the next turn writes its entry.
            self.records.swap(tenant, kept.as_ref(), &next)?;
            (kept, record) = (Some(next.clone()), Some(next));
            self.introduced.lock().await.remove(&tenant);
            self.introduce(tenant).await?;
        }
        if let Some(opened) = &record
            && (self.enter(tenant, opened).await? || sealed_size.is_some())
        {
            (size, root) = self.tree(tenant).await?;
        }
        // A ledger learns of a key only after that key is in use: if ours still is, the tree knows of no later one.
        if self.key()?.private.public() != key.private.public() {
            return Err(StoreError::Conflict { what: "checkpoint key", reason: "changed_meanwhile" });
        }
        let next = self.next(tenant, record.as_ref(), (size, root), &key.private)?;
        if kept.as_ref() != Some(&next) {
            self.records.swap(tenant, kept.as_ref(), &next)?;
        }
        let is_new = record.as_ref() != Some(&next);
        let note = next.note.unwrap_or_default();
        let checkpoint = Stored { epoch: next.epoch, size, root, note, signed_at: self.store.now() };
        // Dead before this: the record is ahead of what is published, and the next turn publishes the same note again.
        self.put(tenant, &checkpoint).await?;
        Ok(match (sealed_size, is_new) {
            (Some(sealed_size), _) => Published::Reopened { sealed_size, checkpoint },
            (None, true) => Published::Signed(checkpoint),
            (None, false) => Published::Unchanged(checkpoint),
        })
    }

    /// Whether this replica holds the lease or can take it.
    async fn leads(&self) -> Result<bool, StoreError> {
        let mut held = self.held.lock().await;
        let now = self.store.now();
        if *held > now.plus(LEASE_LENGTH / 2) {
            return Ok(true);
        }
        let leads = lease::take(&self.store, LEASE, LEASE_LENGTH).await?;
        if leads {
            *held = now.plus(LEASE_LENGTH);
        }
        Ok(leads)
    }

    /// The whole tree's size and root, with every tile under it written.
    async fn tree(&self, tenant: TenantId) -> Result<(u64, Hash), StoreError> {
        let head = Head::read(&mut *self.store.read(tenant).await?, tenant).await?;
        let root = head.tree.root();
        for attempt in 0..2 {
            match self.written(tenant, head.size).await {
                Ok(found) if found == root => return Ok((head.size, root)),
                Ok(_) | Err(StoreError::NotFound(_) | StoreError::Corrupt(_)) if attempt == 0 => {
                    tracing::warn!(%tenant, "the tiles are not those of the ledger and are made anew");
                    tile::forget(&self.store, tenant).await?;
                }
                Ok(_) | Err(StoreError::NotFound(_) | StoreError::Corrupt(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        let entries = grown(&mut *self.store.read(tenant).await?, tenant, head.size).await?.root();
        tracing::error!(%tenant, head = %root, %entries, "the ledger's head is not that of its entries: nothing is signed");
        Err(StoreError::Conflict { what: "tree", reason: "head_differs" })
    }

    /// The root of a tree, from its tiles, once they are written.
    async fn written(&self, tenant: TenantId, size: u64) -> Result<Hash, StoreError> {
        tile::write(&self.store, tenant, size).await?;
        proof::root(&mut *self.store.read(tenant).await?, tenant, size).await
    }

    /// What was signed last: the record, or, where that is missing or of an older epoch, what is published, if our key
    /// has signed it.
    async fn believed(&self, tenant: TenantId, kept: Option<Record>) -> Result<Option<Record>, StoreError> {
        let mut db = self.store.read(tenant).await?;
        let epochs = checkpoint::epochs(&mut db, tenant).await?;
        let epoch = epochs.last().map_or(FIRST_EPOCH, |opened| opened.epoch);
        if kept.as_ref().is_some_and(|record| record.epoch >= epoch) {
            return Ok(kept);
        }
        let sealed = epochs.last().map(|opened| opened.sealed.clone());
        let Some(latest) = checkpoint::latest(&mut db, tenant).await? else {
            return Ok(sealed.map(|sealed| Record {
                epoch,
                size: 0,
                root: hash::root(&[]),
                note: None,
                sealed: Some(sealed),
            }));
        };
        tracing::warn!(%tenant, size = latest.size, "there is no record of what was signed: what is published counts");
        drop(db);
        let verifiers = self.verifiers(tenant, latest.epoch, latest.size).await?;
        let mut read = verifiers.iter().filter_map(|key| Checkpoint::open(&latest.note, key).ok());
        if read.any(|read| (read.size, read.root) == (latest.size, latest.root)) {
            let note = Some(latest.note);
            Ok(Some(Record { epoch: latest.epoch, size: latest.size, root: latest.root, note, sealed }))
        } else {
            Err(StoreError::Conflict { what: "checkpoint", reason: "other_key" })
        }
    }

    /// Whether the ledger begins with all that was signed.
    async fn continues(&self, tenant: TenantId, record: &Record, size: u64) -> Result<bool, StoreError> {
        if record.note.is_none() {
            return Ok(true);
        }
        if record.size > size {
            return Ok(false);
        }
        Ok(proof::root(&mut *self.store.read(tenant).await?, tenant, record.size).await? == record.root)
    }

    /// Writes the entry that opens the record's epoch, if the ledger has none; whether it did.
    async fn enter(&self, tenant: TenantId, record: &Record) -> Result<bool, StoreError> {
        let known = checkpoint::epoch(&mut *self.store.read(tenant).await?, tenant).await?;
        let Some(sealed) = record.sealed.clone().filter(|_| record.epoch > known) else { return Ok(false) };
        let text = |name: &str, value: String| (name.to_owned(), Value::from(value));
        let detail = Map::from_iter([
            ("epoch".to_owned(), Value::from(record.epoch)),
            text("origin", form::origin(&self.deployment, tenant, record.epoch)),
            text("sealed_checkpoint", sealed.clone()),
        ]);
        let entry = Body::Admin(Admin {
            actor: "control-plane".into(),
            action: EPOCH_ACTION.into(),
            object: format!("log:{}", form::origin(&self.deployment, tenant, known)),
            detail,
            request_id: String::new(),
        });
        let mut tx = self.store.write(tenant).await?.record(entry).await?;
        let index = Head::read(&mut tx, tenant).await?.size.saturating_sub(1);
        let opened = Opened { epoch: record.epoch, sealed, index, at: self.store.now() };
        match checkpoint::open_epoch(&mut tx, tenant, &opened).await {
            Ok(()) => tx.commit().await.map(|()| true),
            // Another replica was first.
            Err(StoreError::Conflict { .. }) => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    /// The record of the tree's checkpoint, signed. The same tree gives the same note: signing is deterministic.
    fn next(
        &self,
        tenant: TenantId,
        record: Option<&Record>,
        (size, root): (u64, Hash),
        key: &PrivateKey,
    ) -> Result<Record, StoreError> {
        let (epoch, sealed) = record.map_or((FIRST_EPOCH, None), |r| (r.epoch, r.sealed.clone()));
        let epoch_line = |note: &String| Epoch { number: epoch, sealed: Hash::of(&[note.as_bytes()]) }.to_extension();
        let extensions = sealed.iter().map(epoch_line).collect();
        let origin = form::origin(&self.deployment, tenant, epoch);
        let note = Checkpoint { origin, size, root, extensions }.sign(key).map_err(StoreError::corrupt)?;
        Ok(Record { epoch, size, root, note: Some(note.to_string()), sealed })
    }

    async fn put(&self, tenant: TenantId, checkpoint: &Stored) -> Result<(), StoreError> {
        let mut db = self.store.upkeep().await?;
        checkpoint::publish(&mut db, tenant, checkpoint, self.store.now()).await?;
        db.commit().await
    }

    /// Makes the ledger introduce the key in use before the first checkpoint that it signs; that key.
    async fn introduce(&self, tenant: TenantId) -> Result<Arc<CheckpointKey>, StoreError> {
        let key = self.key()?;
        let public = key.private.public();
        if self.introduced.lock().await.get(&tenant) != Some(&public) {
            introduce(&self.store, tenant, &key).await?;
            self.introduced.lock().await.insert(tenant, public);
        }
        Ok(key)
    }
}
