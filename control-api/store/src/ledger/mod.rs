//! A tenant's ledger: one order, one chain; every entry enters through `append::append`.

mod anchor;
pub(crate) mod append;
pub mod check;
#[cfg(test)]
mod check_tests;
pub mod checkpoint;
pub mod control;
pub mod day;
pub mod evidence;
#[cfg(test)]
mod fault_tests;
pub mod ingest;
#[cfg(test)]
mod ingest_tests;
mod intake;
pub mod log_key;
mod placement;
pub(crate) mod projection;
pub mod proof;
pub(crate) mod rollup;
pub mod salt;
#[cfg(test)]
mod tests;
pub mod tile;
#[cfg(test)]
mod tree_tests;
pub mod violation;

use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_ledger::chain;
use aegis_ledger::hash::Hash;
use aegis_ledger::tree::Tree;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;

/// Where a tenant's ledger stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Entries it has: the next entry's index.
    pub size: u64,
    /// The chain hash over all of them.
    pub chain: Hash,
    /// The tree over all of them (RFC 9162), as its right edge.
    pub tree: Tree,
}

/// Leaf hashes read at a time where all of them are.
const LEAVES_PAGE: u64 = 8_192;

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
        let mut sql = Sql::new("SELECT size, chain, edge FROM ledger_heads WHERE tenant_id = $1").bind(tenant);
        sql.push(suffix);
        let row = db.fetch_optional(sql).await?.ok_or(StoreError::NotFound("tenant"))?;
        let (size, edge): (u64, Option<Vec<u8>>) = (row.get("size")?, row.maybe("edge")?);
        let tree = match edge {
            Some(edge) => Tree::from_edge(size, hashes_of(&edge)?)
                .ok_or_else(|| StoreError::corrupt("the tree's edge does not belong to its size"))?,
            None => grown(db, tenant, size).await?,
        };
        Ok(Self { size, chain: row.get("chain")?, tree })
    }

    /// The empty ledger of a new tenant.
    pub(crate) async fn create(db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<Self, StoreError> {
        let head = Self { size: 0, chain: chain::tenant_genesis(tenant), tree: Tree::default() };
        let sql =
            Sql::new("INSERT INTO ledger_heads (tenant_id, size, chain, edge, updated_at) VALUES ($1, $2, $3, $4, $5)");
        let sql = sql.bind(tenant).bind(head.size).bind(head.chain).bind(bytes_of(head.tree.edge()));
        db.execute(sql.bind(now)).await?;
        Ok(head)
    }

    async fn store(&self, db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<(), StoreError> {
        let sql =
            Sql::new("UPDATE ledger_heads SET size = $1, chain = $2, edge = $3, updated_at = $4 WHERE tenant_id = $5");
        let sql = sql.bind(self.size).bind(self.chain).bind(bytes_of(self.tree.edge()));
        db.execute(sql.bind(now).bind(tenant)).await.map(drop)
    }
}

/// The tree over the first `size` entries, from their leaf hashes.
pub(crate) async fn grown(db: &mut Conn, tenant: TenantId, size: u64) -> Result<Tree, StoreError> {
    let mut tree = Tree::default();
    while tree.size() < size {
        let end = size.min(tree.size() + LEAVES_PAGE);
        let leaves = tile::leaves(db, tenant, tree.size(), end).await?;
        for leaf in leaves {
            tree.push(leaf);
        }
        if tree.size() < end {
            return Err(StoreError::corrupt(format!("the ledger has no entry {}", tree.size())));
        }
    }
    Ok(tree)
}

/// Hashes one after the other.
pub(crate) fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|h| *h.as_bytes()).collect()
}

/// The same back.
pub(crate) fn hashes_of(bytes: &[u8]) -> Result<Vec<Hash>, StoreError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() {
        Ok(hashes.iter().map(|h| Hash::from_bytes(*h)).collect())
    } else {
        Err(StoreError::corrupt("not hashes of 32 bytes"))
    }
}
