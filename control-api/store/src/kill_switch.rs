//! The kill switch of a tenant: engaged until disengaged.

use aegis_core::id::TenantId;
use aegis_core::snapshot::{Item, KillSwitch};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;
use crate::tx::WriteTx;

/// The snapshot key of the switch.
pub const ITEM_KEY: &str = "kill_switch";

/// The switch as last set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchState {
    /// Whether it is engaged now.
    pub engaged: bool,
    /// Its last engagement.
    pub last: KillSwitch,
    /// When it was last set.
    pub changed_at: Timestamp,
    /// By whom: a principal label.
    pub changed_by: String,
}

/// The tenant's switch; `None` if it was never touched.
pub async fn get(db: &mut Conn, tenant: TenantId) -> Result<Option<SwitchState>, StoreError> {
    let sql = Sql::new(
        "SELECT engaged, engaged_at, engaged_by, reason, changed_at, changed_by FROM kill_switches WHERE tenant_id = $1",
    );
    db.fetch_optional(sql.bind(tenant))
        .await?
        .map(|row| {
            Ok(SwitchState {
                engaged: row.get("engaged")?,
                last: KillSwitch {
                    engaged_at: row.get("engaged_at")?,
                    engaged_by: row.get("engaged_by")?,
                    reason: row.get("reason")?,
                },
                changed_at: row.get("changed_at")?,
                changed_by: row.get("changed_by")?,
            })
        })
        .transpose()
}

/// Engages the switch, in the snapshot too. The caller makes sure that it is not engaged already: who engaged it
/// first, and why, stays.
pub async fn engage(tx: &mut WriteTx, tenant: TenantId, by: &str, reason: &str) -> Result<SwitchState, StoreError> {
    let now = tx.now();
    let switch = KillSwitch { engaged_at: now, engaged_by: by.to_owned(), reason: reason.to_owned() };
    let sql = Sql::new(
        "INSERT INTO kill_switches (tenant_id, engaged, engaged_at, engaged_by, reason, changed_at, changed_by) \
         VALUES ($1, TRUE, $2, $3, $4, $2, $3) ON CONFLICT (tenant_id) DO UPDATE SET engaged = TRUE, \
         engaged_at = excluded.engaged_at, engaged_by = excluded.engaged_by, reason = excluded.reason, \
         changed_at = excluded.changed_at, changed_by = excluded.changed_by",
    );
    tx.execute(sql.bind(tenant).bind(now).bind(by).bind(reason)).await?;
    tx.item_put(&Item::KillSwitch(switch.clone()));
    Ok(SwitchState { engaged: true, last: switch, changed_at: now, changed_by: by.to_owned() })
}

/// Disengages the switch, in the snapshot too; `None` if it is not engaged.
pub async fn disengage(tx: &mut WriteTx, tenant: TenantId, by: &str) -> Result<Option<SwitchState>, StoreError> {
    let now = tx.now();
    let Some(before) = get(tx, tenant).await?.filter(|state| state.engaged) else { return Ok(None) };
    let sql =
        Sql::new("UPDATE kill_switches SET engaged = FALSE, changed_at = $1, changed_by = $2 WHERE tenant_id = $3");
    tx.execute(sql.bind(now).bind(by).bind(tenant)).await?;
    tx.item_remove(ITEM_KEY);
    Ok(Some(SwitchState { engaged: false, changed_at: now, changed_by: by.to_owned(), ..before }))
}

#[cfg(test)]
mod tests;
