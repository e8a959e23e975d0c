//! Snapshot items: what sidecars decide by, each with the number of the change that last touched it.

use std::collections::BTreeMap;

use aegis_core::id::TenantId;
use aegis_core::snapshot::{Change, Item};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{self, Sql};

/// Changes one call of [`changes_since`] returns at most.
pub const CHANGES_MAX: u64 = 5_000;
/// Tenants one sidecar may watch at most.
pub const WATCHED_TENANTS_MAX: usize = 1_000;

/// The number of the last committed change of the deployment; 0 before the first.
pub async fn change_number(db: &mut Conn) -> Result<u64, StoreError> {
    db.fetch_one(Sql::new("SELECT number FROM change_counter")).await?.get("number")
}

/// Changes of the tenants' items after the change `since`, oldest first, at most [`CHANGES_MAX`]: ask again from the
/// last one's version until none come. From 0, removed items are left out.
pub async fn changes_since(db: &mut Conn, tenants: &[TenantId], since: u64) -> Result<Vec<Change>, StoreError> {
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    if tenants.len() > WATCHED_TENANTS_MAX {
        return Err(StoreError::Invalid { what: "tenants", reason: "too_many" });
    }
    let mut sql = Sql::new("SELECT version, tenant_id, item_key, item FROM snapshot_items WHERE version > ");
    sql.push_bind(since).push(" AND tenant_id IN ").push_tuple(tenants.iter().map(|t| (*t).into()));
    if since == 0 {
        sql.push(" AND item IS NOT NULL");
    }
    sql.push(" ORDER BY version LIMIT ").push_bind(CHANGES_MAX);
    let rows = db.fetch_all(sql).await?;
    rows.iter()
        .map(|row| {
            let item = match row.maybe::<String>("item")? {
                None => None,
                Some(text) => Some(serde_json::from_str(&text).map_err(StoreError::corrupt)?),
            };
            Ok(Change {
                version: row.get("version")?,
                tenant_id: row.get("tenant_id")?,
                key: row.get("item_key")?,
                item,
            })
        })
        .collect()
}

/// One item as it stands.
pub async fn get(db: &mut Conn, tenant: TenantId, key: &str) -> Result<Option<Item>, StoreError> {
    let sql = Sql::new("SELECT item FROM snapshot_items WHERE tenant_id = $1 AND item_key = $2 AND item IS NOT NULL");
    let row = db.fetch_optional(sql.bind(tenant).bind(key)).await?;
    row.map(|row| row.json("item")).transpose()
}

/// Numbers and writes the changes; the last number.
///
/// The counter row is locked here, after everything else, until the commit: changes become visible in the order of
/// their numbers, so whoever has seen number N has seen every lower one.
pub(crate) async fn apply(
    db: &mut Conn,
    items: BTreeMap<(TenantId, String), Option<Item>>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let count = items.len() as u64;
    let sql = Sql::new("UPDATE change_counter SET number = number + $1 RETURNING number").bind(count);
    let last: u64 = db.fetch_one(sql).await?.get("number")?;
    let mut version = last - count;
    for ((tenant, key), item) in items {
        version += 1;
        let text = item.as_ref().map(sql::json).transpose()?;
        let sql = Sql::new(
            "INSERT INTO snapshot_items (tenant_id, item_key, version, item, changed_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant_id, item_key) DO UPDATE \
             SET version = excluded.version, item = excluded.item, changed_at = excluded.changed_at",
        );
        db.execute(sql.bind(tenant).bind(key).bind(version).bind(text).bind(now)).await?;
    }
    Ok(last)
}

/// The token keys of the deployment, which are the same for every tenant.
pub(crate) async fn token_keys(db: &mut Conn) -> Result<Vec<Item>, StoreError> {
    let sql = Sql::new(
        "SELECT item FROM snapshot_items WHERE item_key LIKE 'token_key/%' AND item IS NOT NULL \
         AND tenant_id = (SELECT MIN(tenant_id) FROM snapshot_items WHERE item_key LIKE 'token_key/%' AND item IS NOT NULL)",
    );
    db.fetch_all(sql).await?.iter().map(|row| row.json("item")).collect()
}
