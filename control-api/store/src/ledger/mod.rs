//! A tenant's ledger: one order, one chain; every entry enters through `append::append`.

pub(crate) mod append;
pub mod check;
#[cfg(test)]
mod check_tests;
pub mod control;
pub mod ingest;
#[cfg(test)]
mod ingest_tests;
mod intake;
mod placement;
pub(crate) mod projection;
pub(crate) mod rollup;
pub mod salt;
#[cfg(test)]
mod tests;
pub mod violation;

use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_ledger::chain;
use aegis_ledger::hash::Hash;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;

/// Where a tenant's ledger stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Entries it has: the next entry's index.
    pub size: u64,
    /// The chain hash over all of them.
    pub chain: Hash,
}

impl Head {
    /// Where the ledger stands now, without holding it.
    pub async fn read(db: &mut Conn, tenant: TenantId) -> Result<Self, StoreError> {
        Self::select(db, tenant, "").await
    }

    /// Takes the ledger for this transaction: nobody else writes to it until commit or rollback.
    pub(crate) async fn lock(db: &mut Conn, tenant: TenantId) -> Result<Self, StoreError> {
        let suffix = db.dialect().for_update();
        Self::select(db, tenant, suffix).await
    }

    async fn select(db: &mut Conn, tenant: TenantId, suffix: &'static str) -> Result<Self, StoreError> {
        let mut sql = Sql::new("SELECT size, chain FROM ledger_heads WHERE tenant_id = $1").bind(tenant);
        sql.push(suffix);
        let row = db.fetch_optional(sql).await?.ok_or(StoreError::NotFound("tenant"))?;
        Ok(Self { size: row.get("size")?, chain: row.get("chain")? })
    }

    /// The empty ledger of a new tenant.
    pub(crate) async fn create(db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<Self, StoreError> {
        let head = Self { size: 0, chain: chain::tenant_genesis(tenant) };
        let sql = Sql::new("INSERT INTO ledger_heads (tenant_id, size, chain, updated_at) VALUES ($1, $2, $3, $4)");
        db.execute(sql.bind(tenant).bind(head.size).bind(head.chain).bind(now)).await?;
        Ok(head)
    }

    async fn store(&self, db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<(), StoreError> {
        let sql = Sql::new("UPDATE ledger_heads SET size = $1, chain = $2, updated_at = $3 WHERE tenant_id = $4");
        db.execute(sql.bind(self.size).bind(self.chain).bind(now).bind(tenant)).await.map(drop)
    }
}
