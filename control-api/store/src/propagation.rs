//! Propagation: when each sidecar put a kill switch, a policy or a shadow in force, as measured by itself.

use aegis_core::id::{SourceId, TenantId};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;

/// How far one item has come on one sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// The sidecar.
    pub source: SourceId,
    /// Its name.
    pub name: String,
    /// The snapshot version it has in force, as last told.
    pub applied_version: Option<u64>,
    /// Microseconds from the item's change to its being in force there; `None` while that is not known.
    pub lag_us: Option<i64>,
    /// When it last told anything.
    pub last_seen_at: Option<Timestamp>,
}

/// Notes which watched items a heartbeat reports as in force: those changed after `before`, up to `applied`.
///
/// A heartbeat follows each applied version at once, so the first one to report an item tells when it took effect.
/// Told again after a crash, it writes the same.
pub async fn note(
    db: &mut Conn,
    source: SourceId,
    before: u64,
    applied: u64,
    applied_at: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "INSERT INTO item_applied (source_id, tenant_id, item_key, version, applied_at) \
         SELECT st.source_id, i.tenant_id, i.item_key, i.version, $4 FROM snapshot_items i \
         JOIN source_tenants st ON st.tenant_id = i.tenant_id AND st.source_id = $1 \
         WHERE i.version > $2 AND i.version <= $3 AND (i.item_key = 'kill_switch' OR i.item_key LIKE 'policy/%' OR i.item_key LIKE 'shadow_policy/%') \
         ON CONFLICT (source_id, tenant_id, item_key) DO UPDATE \
         SET version = excluded.version, applied_at = excluded.applied_at \
         WHERE item_applied.version < excluded.version",
    );
    db.execute(sql.bind(source).bind(before).bind(applied).bind(applied_at)).await.map(drop)
}

/// How far an item has come on every sidecar of the tenant.
pub async fn of_item(db: &mut Conn, tenant: TenantId, item_key: &str) -> Result<Vec<Propagation>, StoreError> {
    let sql = Sql::new(
        "SELECT s.source_id, s.name, s.applied_version, s.last_seen_at, a.applied_at - i.changed_at AS lag_us \
         FROM source_tenants st JOIN sources s ON s.source_id = st.source_id \
         LEFT JOIN snapshot_items i ON i.tenant_id = st.tenant_id AND i.item_key = $2 \
         LEFT JOIN item_applied a ON a.source_id = st.source_id AND a.tenant_id = st.tenant_id \
         AND a.item_key = i.item_key AND a.version = i.version \
         WHERE st.tenant_id = $1 AND s.kind = 'sidecar' AND s.status = 'active' ORDER BY s.name, s.source_id",
    );
    let rows = db.fetch_all(sql.bind(tenant).bind(item_key)).await?;
    rows.iter()
        .map(|row| {
            Ok(Propagation {
                source: row.get("source_id")?,
                name: row.get("name")?,
                applied_version: row.maybe("applied_version")?,
                lag_us: row.maybe("lag_us")?,
                last_seen_at: row.maybe("last_seen_at")?,
            })
        })
        .collect()
}
