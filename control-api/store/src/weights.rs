//! A tenant's decision weights: kept in its settings, with who set them.

use aegis_core::id::TenantId;
use aegis_core::tenant::SignalWeights;
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;
use crate::tenant;
use crate::tx::WriteTx;

/// The weights in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// The weights.
    pub weights: SignalWeights,
    /// When and by whom (a principal label) they were set; absent while they are the product's.
    pub set: Option<(Timestamp, String)>,
}

/// The tenant's weights.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such tenant.
pub async fn get(db: &mut Conn, tenant: TenantId) -> Result<Weights, StoreError> {
    let found = tenant::get(db, tenant).await?.ok_or(StoreError::NotFound("tenant"))?;
    let sql = Sql::new("SELECT updated_at, updated_by FROM signal_weights WHERE tenant_id = $1");
    let row = db.fetch_optional(sql.bind(tenant)).await?;
    let set = row.map(|row| Ok::<_, StoreError>((row.get("updated_at")?, row.get("updated_by")?))).transpose()?;
    Ok(Weights { weights: found.record.weights, set })
}

/// Sets the tenant's weights, in the snapshot too: the next call of every sidecar that has it is decided by them.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such tenant.
pub async fn set(tx: &mut WriteTx, tenant: TenantId, weights: SignalWeights, by: &str) -> Result<Weights, StoreError> {
    let mut record = tenant::get(tx, tenant).await?.ok_or(StoreError::NotFound("tenant"))?.record;
    record.weights = weights;
    tenant::update(tx, &record).await?;
    let now = tx.now();
    let sql = Sql::new(
        "INSERT INTO signal_weights (tenant_id, updated_at, updated_by) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id) DO UPDATE SET updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    );
    tx.execute(sql.bind(tenant).bind(now).bind(by)).await?;
    Ok(Weights { weights, set: Some((now, by.to_owned())) })
}
