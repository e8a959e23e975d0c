//! How ledgers learn of keys: the first that signs checkpoints, each that follows another, and those that somebody
//! else may have.

use aegis_core::id::TenantId;
use aegis_ledger::entry::Body;
use aegis_ledger::rotation::{CHECKPOINT_PURPOSE, COMPROMISED, INTRODUCED, Rotation};
use aegis_ledger::rows::Key;
use aegis_ledger::signing::PublicKey;

use crate::checkpoint_key::CheckpointKey;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::ledger::log_key;
use crate::sql::Sql;
use crate::store::Store;

/// The purpose of sidecars' identity keys in `key` entries.
const IDENTITY_PURPOSE: &str = "identity";
/// The purpose of boot keys in `key` entries.
const RECEIPT_PURPOSE: &str = "receipt";

/// Brings a ledger up to the key in use: it introduces the first as it is, later ones with every rotation between.
///
/// # Errors
/// [`StoreError::Conflict`] `other_key` if no rotation leads from the ledger's last key to this one.
pub(super) async fn introduce(store: &Store, tenant: TenantId, key: &CheckpointKey) -> Result<(), StoreError> {
    let known = log_key::keys(&mut *store.read(tenant).await?, tenant).await?;
    let entries = match known.last() {
        None => vec![entry(&key.private.public(), None)],
        Some(last) => {
            let other = StoreError::Conflict { what: "checkpoint", reason: "other_key" };
            let mut entries = Vec::new();
            for rotated in key.since(&last.key).ok_or(other)? {
                let key = PublicKey::parse(&rotated.key).map_err(StoreError::corrupt)?;
                entries.push(entry(&key, Some(rotated.rotation.clone())));
            }
            entries
        }
    };
    let mut entries = entries.into_iter();
    let Some(first) = entries.next() else { return Ok(()) };
    let mut tx = store.write(tenant).await?.record(first).await?;
    for entry in entries {
        tx = tx.record(entry).await?;
    }
    tx.commit().await
}

fn entry(key: &PublicKey, rotation: Option<Rotation>) -> Body {
    Body::Key(Key {
        key_id: key.id().0,
        public_key: key.to_base64(),
        purpose: CHECKPOINT_PURPOSE.into(),
        state: INTRODUCED.into(),
        rotation,
    })
}

async fn tenants(store: &Store) -> Result<Vec<TenantId>, StoreError> {
    let sql = Sql::new("SELECT tenant_id FROM tenants ORDER BY tenant_id");
    store.read_platform().await?.fetch_all(sql).await?.iter().map(|row| row.get("tenant_id")).collect()
}

/// Tells every ledger of the key in use, so that a rotation is on record at once; how many ledgers there are.
///
/// # Errors
/// [`StoreError::Conflict`] `other_key` if no rotation leads from a ledger's last key to the one in use.
pub async fn introduce_everywhere(store: &Store) -> Result<u64, StoreError> {
    let key = store.control().checkpoint_keys().refreshed()?;
    let tenants = tenants(store).await?;
    for tenant in &tenants {
        introduce(store, *tenant, &key).await?;
    }
    Ok(tenants.len() as u64)
}

/// Reports a key as compromised in every ledger that knows it; how many these are. What it signed before stays good,
/// what it signs afterwards does not count.
///
/// # Errors
/// [`StoreError::NotFound`] if no ledger knows it, [`StoreError::Conflict`] `in_use` if the control plane signs with
/// it: a checkpoint key is rotated first, and a process that signs with a boot key is ended first.
pub async fn compromise(store: &Store, key_id: &str) -> Result<u64, StoreError> {
    let mut told = 0;
    for tenant in tenants(store).await? {
        let mut db = store.read(tenant).await?;
        let Some((public_key, purpose)) = known(store, &mut db, tenant, key_id).await? else { continue };
        let is_reported = log_key::compromised(&mut db, tenant).await?.contains_key(key_id);
        drop(db);
        told += 1;
        if !is_reported {
            let key_id = key_id.to_owned();
            let entry = Key { key_id, public_key, purpose: purpose.into(), state: COMPROMISED.into(), rotation: None };
            store.write(tenant).await?.record(Body::Key(entry)).await?.commit().await?;
        }
    }
    if told == 0 { Err(StoreError::NotFound("key")) } else { Ok(told) }
}

/// The public half and purpose of a key that this ledger knows.
async fn known(
    store: &Store,
    db: &mut Conn,
    tenant: TenantId,
    key_id: &str,
) -> Result<Option<(String, &'static str)>, StoreError> {
    let in_use = StoreError::Conflict { what: "key", reason: "in_use" };
    if let Some(known) = log_key::keys(db, tenant).await?.by_id(key_id) {
        let now = store.control().checkpoint_keys().refreshed()?.private.public();
        return if known.key == now { Err(in_use) } else { Ok(Some((known.key.to_base64(), CHECKPOINT_PURPOSE))) };
    }
    let sql = Sql::new(
        "SELECT k.public_key, c.closed, s.kind FROM boot_keys k JOIN sources s ON s.source_id = k.source_id \
         JOIN source_cursors c ON c.tenant_id = k.tenant_id AND c.source_id = k.source_id AND c.boot_id = k.boot_id \
         WHERE k.tenant_id = $1 AND k.key_id = $2 LIMIT 1",
    );
    let Some(row) = db.fetch_optional(sql.bind(tenant).bind(key_id)).await? else {
        return identity(db, tenant, key_id).await;
    };
    let kind: String = row.get("kind")?;
    if kind == "control" && !row.get::<bool>("closed")? {
        return Err(in_use);
    }
    Ok(Some((row.get("public_key")?, RECEIPT_PURPOSE)))
}

/// The identity key of a sidecar of this tenant.
async fn identity(db: &mut Conn, tenant: TenantId, key_id: &str) -> Result<Option<(String, &'static str)>, StoreError> {
    let sql = Sql::new(
        "SELECT s.identity_key FROM sources s JOIN source_tenants t ON t.source_id = s.source_id \
         WHERE t.tenant_id = $1 AND s.identity_key_id = $2 AND s.kind = 'sidecar' LIMIT 1",
    );
    let row = db.fetch_optional(sql.bind(tenant).bind(key_id)).await?;
    row.map(|row| Ok((row.get("identity_key")?, IDENTITY_PURPOSE))).transpose()
}
