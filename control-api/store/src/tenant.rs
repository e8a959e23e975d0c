//! Tenants and their settings.

use std::collections::BTreeMap;

use aegis_core::id::TenantId;
use aegis_core::snapshot::Item;
use aegis_core::tenant::TenantRecord;
use aegis_core::time::Timestamp;

use crate::conn::{Conn, Sight};
use crate::error::StoreError;
use crate::item;
use crate::ledger::Head;
use crate::sql::{self, Row, Sql};
use crate::store::Store;
use crate::tx::WriteTx;

/// Tenants one page lists at most.
pub const TENANTS_PAGE_MAX: u32 = 500;

/// A tenant with its dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its settings.
    pub record: TenantRecord,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings last changed.
    pub updated_at: Timestamp,
}

/// Begins the write that makes a tenant: its ledger, its settings, and the token keys that every tenant has. The
/// caller adds what belongs to it (an administrator), records and commits.
///
/// # Errors
/// [`StoreError::Conflict`] `id_taken` if the tenant exists.
pub async fn create(store: &Store, record: &TenantRecord) -> Result<WriteTx, StoreError> {
    let conn = store.begin_write(Sight::Platform).await?;
    create_in(store, conn, record).await
}

/// As [`create`], for the deployment's first tenant; of two that run at once one succeeds.
///
/// # Errors
/// [`StoreError::Conflict`] `not_first` if there is a tenant already.
pub async fn create_first(store: &Store, record: &TenantRecord) -> Result<WriteTx, StoreError> {
    let mut conn = store.begin_write(Sight::Platform).await?;
    // The row is there before the first tenant is, so it can be waited for.
    let mut lock = Sql::new("SELECT number FROM change_counter");
    lock.push(conn.dialect().for_update());
    conn.fetch_one(lock).await?;
    if count(&mut conn).await? > 0 {
        return Err(StoreError::Conflict { what: "tenant", reason: "not_first" });
    }
    create_in(store, conn, record).await
}

async fn create_in(store: &Store, mut conn: Conn, record: &TenantRecord) -> Result<WriteTx, StoreError> {
    let now = store.now();
    let sql = Sql::new(
        "INSERT INTO tenants (tenant_id, org_id, name, tier, status, record, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
    )
    .bind(record.id)
    .bind(record.org_id)
    .bind(record.name.as_str())
    .bind(record.tier)
    .bind(record.status)
    .bind(sql::json(record)?)
    .bind(now);
    conn.execute(sql).await.map_err(|e| e.unique_as("tenant", "id_taken"))?;
    let head = Head::create(&mut conn, record.id, now).await?;
    let token_keys = item::token_keys(&mut conn).await?;
    let mut tx = WriteTx::locked(store.clone(), conn, BTreeMap::from([(record.id, head)]));
    tx.item_put(&Item::Tenant(record.clone()));
    for key in token_keys {
        tx.item_put(&key);
    }
    Ok(tx)
}

/// One tenant.
pub async fn get(db: &mut Conn, tenant: TenantId) -> Result<Option<Tenant>, StoreError> {
    let sql = Sql::new("SELECT record, created_at, updated_at FROM tenants WHERE tenant_id = $1").bind(tenant);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// Every tenant of the deployment, oldest first: platform-wide.
pub async fn list(db: &mut Conn, limit: u32, offset: u64) -> Result<Vec<Tenant>, StoreError> {
    let sql = Sql::new(
        "SELECT record, created_at, updated_at FROM tenants ORDER BY created_at, tenant_id LIMIT $1 OFFSET $2",
    )
    .bind(limit.min(TENANTS_PAGE_MAX))
    .bind(offset);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// How many tenants there are: platform-wide.
pub async fn count(db: &mut Conn) -> Result<u64, StoreError> {
    db.fetch_one(Sql::new("SELECT COUNT(*) AS n FROM tenants")).await?.get("n")
}

/// Replaces a tenant's settings, in the snapshot too.
///
/// # Errors
/// [`StoreError::NotFound`] if the tenant does not exist or the write is not for it.
pub async fn update(tx: &mut WriteTx, record: &TenantRecord) -> Result<(), StoreError> {
    if !tx.tenants().eq([record.id]) {
        return Err(StoreError::NotFound("tenant"));
    }
    let sql = Sql::new(
        "UPDATE tenants SET org_id = $1, name = $2, tier = $3, status = $4, record = $5, updated_at = $6 \
         WHERE tenant_id = $7",
    )
    .bind(record.org_id)
    .bind(record.name.as_str())
    .bind(record.tier)
    .bind(record.status)
    .bind(sql::json(record)?)
    .bind(tx.now())
    .bind(record.id);
    if tx.execute(sql).await? == 0 {
        return Err(StoreError::NotFound("tenant"));
    }
    tx.item_put(&Item::Tenant(record.clone()));
    Ok(())
}

fn from_row(row: &Row) -> Result<Tenant, StoreError> {
    Ok(Tenant { record: row.json("record")?, created_at: row.get("created_at")?, updated_at: row.get("updated_at")? })
}
