//! Keys of boots: each enters with its `open` entry and verifies what that boot signed, for ever.

use aegis_core::id::{BootId, SourceId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::signing::PublicKey;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};

/// A boot's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootKey {
    /// Who signs with it.
    pub source: SourceId,
    /// In which process start.
    pub boot: BootId,
    /// The key.
    pub key: PublicKey,
    /// The index of the `open` entry that introduced it in its tenant's ledger.
    pub index: u64,
    /// Whether the boot has ended in order: it signs no more.
    pub closed: bool,
    /// When the `open` was committed.
    pub opened_at: Timestamp,
}

const SELECT: &str = "SELECT k.source_id, k.boot_id, k.public_key, k.idx, c.closed, c.opened_at FROM boot_keys k \
     JOIN source_cursors c ON c.tenant_id = k.tenant_id AND c.source_id = k.source_id AND c.boot_id = k.boot_id ";

/// The key of a boot in a tenant's ledger.
pub async fn get(
    db: &mut Conn,
    tenant: TenantId,
    source: SourceId,
    boot: BootId,
) -> Result<Option<BootKey>, StoreError> {
    let mut sql = Sql::new(SELECT);
    sql.push("WHERE k.tenant_id = ").push_bind(tenant).push(" AND k.source_id = ").push_bind(source);
    sql.push(" AND k.boot_id = ").push_bind(boot);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// The key with this id, wherever it was introduced: public keys are public.
pub async fn by_id(db: &mut Conn, key_id: &str) -> Result<Option<BootKey>, StoreError> {
    let mut sql = Sql::new(SELECT);
    sql.push("WHERE k.key_id = ").push_bind(key_id).push(" ORDER BY k.tenant_id LIMIT 1");
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

fn from_row(row: &Row) -> Result<BootKey, StoreError> {
    let key: String = row.get("public_key")?;
    Ok(BootKey {
        source: row.get("source_id")?,
        boot: row.get("boot_id")?,
        key: PublicKey::parse(&key).map_err(StoreError::corrupt)?,
        index: row.get("idx")?,
        closed: row.get("closed")?,
        opened_at: row.get("opened_at")?,
    })
}
