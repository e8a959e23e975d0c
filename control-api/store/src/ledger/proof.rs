//! Roots and proofs of a ledger's tree, from its tiles: few reads, however long the ledger is.

use std::collections::{BTreeMap, HashMap};

use aegis_core::id::TenantId;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::proof::{Node, Plan, ProofError};
use aegis_ledger::tile::{place, subtree};
use aegis_ledger::tree::Tree;

use super::tile;
use crate::conn::Conn;
use crate::error::StoreError;

/// The root over the first `size` entries.
///
/// # Errors
/// [`StoreError::NotFound`] if the ledger is not that large, or its tiles are not written that far.
pub async fn root(db: &mut Conn, tenant: TenantId, size: u64) -> Result<Hash, StoreError> {
    let found = build(db, tenant, &Plan::root(size)).await?;
    Ok(found.first().copied().unwrap_or_else(|| hash::root(&[])))
}

/// The tree over the first `size` entries, ready to go on.
///
/// # Errors
/// As [`root`].
pub async fn tree(db: &mut Conn, tenant: TenantId, size: u64) -> Result<Tree, StoreError> {
    let plan = Plan::root(size);
    let nodes = read(db, tenant, &plan).await?;
    let edge = plan.nodes().map(|node| nodes.get(&node).copied()).collect::<Option<Vec<_>>>();
    edge.and_then(|edge| Tree::from_edge(size, edge)).ok_or(StoreError::NotFound("tile"))
}

/// The inclusion proof (RFC 9162 §2.1.3) of entry `index` in the tree over the first `size`.
///
/// # Errors
/// As [`root`]; [`StoreError::Invalid`] if `index` is not below `size`.
pub async fn inclusion(db: &mut Conn, tenant: TenantId, index: u64, size: u64) -> Result<Vec<Hash>, StoreError> {
    build(db, tenant, &Plan::inclusion(index, size).map_err(out_of_range)?).await
}

/// The consistency proof (RFC 9162 §2.1.4) of the trees over the first `old` and the first `new` entries.
///
/// # Errors
/// As [`root`]; [`StoreError::Invalid`] if `old` is larger than `new`.
pub async fn consistency(db: &mut Conn, tenant: TenantId, old: u64, new: u64) -> Result<Vec<Hash>, StoreError> {
    build(db, tenant, &Plan::consistency(old, new).map_err(out_of_range)?).await
}

fn out_of_range(_: ProofError) -> StoreError {
    StoreError::Invalid { what: "size", reason: "out_of_range" }
}

async fn build(db: &mut Conn, tenant: TenantId, plan: &Plan) -> Result<Vec<Hash>, StoreError> {
    let nodes = read(db, tenant, plan).await?;
    plan.build(|node| nodes.get(&node).copied()).ok_or(StoreError::NotFound("tile"))
}

/// Reads the nodes of a plan, each tile once.
async fn read(db: &mut Conn, tenant: TenantId, plan: &Plan) -> Result<HashMap<Node, Hash>, StoreError> {
    let mut tiles = BTreeMap::<_, Vec<_>>::new();
    for node in plan.nodes() {
        let (level, index, range) = place(node);
        tiles.entry((level, index)).or_default().push((node, range));
    }
    let mut found = HashMap::new();
    for ((level, index), wanted) in tiles {
        let width = wanted.iter().map(|(_, range)| range.end as u64).max().unwrap_or(0);
        let hashes = tile::hashes(db, tenant, level, index, width).await?;
        for (node, range) in wanted {
            let hash = hashes.get(range).and_then(subtree).ok_or(StoreError::NotFound("tile"))?;
            found.insert(node, hash);
        }
    }
    Ok(found)
}
