//! Tiles of a ledger's tree: written after the entries are committed, and made anew from them if lost.
//!
//! Only full tiles are stored, each with its own root: what a partial tile holds is read from the level below.

use aegis_core::id::TenantId;
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::tile::{HEIGHT, LEVEL_MAX, Level, TilePath, WIDTH, bundle};

use super::{bytes_of, hashes_of};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Sql, Value};
use crate::store::Store;

/// Tiles one transaction writes at most: what others wait for meanwhile.
const TILES_PER_WRITE_MAX: u64 = 256;

/// Writes every full tile that the tree of the first `size` entries has and that is not there yet; how many.
///
/// A process that dies on the way leaves whole tiles: the next goes on after them.
pub async fn write(store: &Store, tenant: TenantId, size: u64) -> Result<u64, StoreError> {
    let mut written = 0;
    for level in 0..=LEVEL_MAX {
        let wanted = size.checked_shr(u32::from(HEIGHT) * (u32::from(level) + 1)).unwrap_or(0);
        if wanted == 0 {
            break;
        }
        let mut next = count(&mut *store.read(tenant).await?, tenant, level).await?;
        while next < wanted {
            let end = wanted.min(next + TILES_PER_WRITE_MAX);
            let mut db = store.upkeep().await?;
            written += write_level(&mut db, tenant, level, next, end).await?;
            db.commit().await?;
            next = end;
        }
    }
    Ok(written)
}

/// Forgets all tiles of a tenant; [`write()`] makes them anew.
pub async fn forget(store: &Store, tenant: TenantId) -> Result<(), StoreError> {
    let mut db = store.upkeep().await?;
    db.execute(Sql::new("DELETE FROM ledger_tiles WHERE tenant_id = $1").bind(tenant)).await?;
    db.commit().await
}

/// The hashes of a tile, full or partial.
///
/// # Errors
/// [`StoreError::NotFound`] if the ledger is not that large, or its tiles are not written that far.
pub async fn hashes(
    db: &mut Conn,
    tenant: TenantId,
    level: u8,
    index: u64,
    width: u64,
) -> Result<Vec<Hash>, StoreError> {
    let sql = Sql::new("SELECT hashes FROM ledger_tiles WHERE tenant_id = $1 AND level = $2 AND idx = $3");
    let mut found = if let Some(row) = db.fetch_optional(sql.bind(tenant).bind(level).bind(index)).await? {
        hashes_of(&row.get::<Vec<u8>>("hashes")?)?
    } else {
        let first = index.saturating_mul(WIDTH);
        below(db, tenant, level, first, first.saturating_add(width)).await?
    };
    let width = usize::try_from(width).unwrap_or(usize::MAX);
    if found.len() < width {
        return Err(StoreError::NotFound("tile"));
    }
    found.truncate(width);
    Ok(found)
}

/// A tile or a bundle of entries, as it is served (C2SP tlog-tiles), from a tree of `size` entries.
///
/// # Errors
/// [`StoreError::NotFound`] if that tree has no such tile.
pub async fn serve(db: &mut Conn, tenant: TenantId, path: TilePath, size: u64) -> Result<Vec<u8>, StoreError> {
    if !path.is_in(size) {
        return Err(StoreError::NotFound("tile"));
    }
    match path.level {
        Level::Hashes(level) => Ok(bytes_of(&hashes(db, tenant, level, path.index, path.width.into()).await?)),
        Level::Entries => {
            let first = path.index * WIDTH;
            let sql = Sql::new(
                "SELECT entry FROM ledger_entries WHERE tenant_id = $1 AND idx >= $2 AND idx < $3 ORDER BY idx",
            );
            let rows = db.fetch_all(sql.bind(tenant).bind(first).bind(first + u64::from(path.width))).await?;
            let entries = rows.iter().map(|row| row.get("entry")).collect::<Result<Vec<Vec<u8>>, _>>()?;
            bundle(entries.iter().map(Vec::as_slice)).ok_or_else(|| StoreError::corrupt("an entry of 64 KiB"))
        }
    }
}

/// The leaf hashes from one index to before another; fewer where the ledger ends.
pub(crate) async fn leaves(db: &mut Conn, tenant: TenantId, from: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
    let sql = Sql::new("SELECT leaf FROM ledger_entries WHERE tenant_id = $1 AND idx >= $2 AND idx < $3 ORDER BY idx");
    db.fetch_all(sql.bind(tenant).bind(from).bind(end)).await?.iter().map(|row| row.get("leaf")).collect()
}

/// What tiles of a level hold from one place to before another, from the level below them.
async fn below(db: &mut Conn, tenant: TenantId, level: u8, from: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
    let Some(lower) = level.checked_sub(1) else { return leaves(db, tenant, from, end).await };
    let sql = Sql::new(
        "SELECT root FROM ledger_tiles WHERE tenant_id = $1 AND level = $2 AND idx >= $3 AND idx < $4 ORDER BY idx",
    );
    let rows = db.fetch_all(sql.bind(tenant).bind(lower).bind(from).bind(end)).await?;
    rows.iter().map(|row| row.get("root")).collect()
}

/// Tiles of a level that are written: they are, without gaps, the first ones.
async fn count(db: &mut Conn, tenant: TenantId, level: u8) -> Result<u64, StoreError> {
    let sql = Sql::new("SELECT COALESCE(MAX(idx) + 1, 0) AS n FROM ledger_tiles WHERE tenant_id = $1 AND level = $2");
    db.fetch_one(sql.bind(tenant).bind(level)).await?.get("n")
}

async fn write_level(db: &mut Conn, tenant: TenantId, level: u8, from: u64, end: u64) -> Result<u64, StoreError> {
    let hashes = below(db, tenant, level, from * WIDTH, end * WIDTH).await?;
    let (tiles, rest) = hashes.as_chunks::<256>();
    if tiles.len() as u64 != end - from || !rest.is_empty() {
        return Err(StoreError::corrupt(format!("hashes of the tiles {from} to {end} of level {level} are missing")));
    }
    let rows = (from..end).zip(tiles).map(|(index, tile)| -> Vec<Value> {
        vec![tenant.into(), level.into(), index.into(), bytes_of(tile).into(), hash::root(tile).into()]
    });
    let mut sql = Sql::new("INSERT INTO ledger_tiles (tenant_id, level, idx, hashes, root) VALUES ");
    // Another replica may have written the same meanwhile.
    sql.push_rows(rows).push(" ON CONFLICT (tenant_id, level, idx) DO NOTHING");
    db.execute(sql).await
}
