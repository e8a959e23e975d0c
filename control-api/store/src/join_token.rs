//! Join tokens: what a sidecar is enrolled with. Kept as SHA-256.

use aegis_core::id::{JoinTokenId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::hash::Hash;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{self, Sql};
use crate::tx::WriteTx;

/// A join token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// The tenants a sidecar enrolled with it speaks for.
    pub tenants: Vec<TenantId>,
    /// Its end.
    pub expires_at: Timestamp,
    /// Enrolments it is still good for.
    pub uses_left: u32,
}

/// Makes a token for the tenants of the write; `hash` is the SHA-256 of its text.
pub async fn create(
    tx: &mut WriteTx,
    hash: &[u8; 32],
    created_by: &str,
    expires_at: Timestamp,
    uses: u32,
) -> Result<JoinTokenId, StoreError> {
    let id = JoinTokenId::generate(tx.now(), tx.store().entropy());
    let tenants: Vec<TenantId> = tx.tenants().collect();
    let sql = Sql::new(
        "INSERT INTO join_tokens (join_token_id, hash, tenants, created_by, created_at, expires_at, uses_left) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    );
    let sql = sql.bind(id).bind(Hash::from_bytes(*hash)).bind(sql::json(&tenants)?).bind(created_by);
    let sql = sql.bind(tx.now()).bind(expires_at).bind(uses);
    tx.execute(sql).await?;
    Ok(id)
}

/// The token with this hash, whatever its state: platform-wide.
pub async fn get(db: &mut Conn, hash: &[u8; 32]) -> Result<Option<JoinToken>, StoreError> {
    let sql = Sql::new("SELECT join_token_id, tenants, expires_at, uses_left FROM join_tokens WHERE hash = $1");
    let row = db.fetch_optional(sql.bind(Hash::from_bytes(*hash))).await?;
    row.map(|row| {
        Ok(JoinToken {
            id: row.get("join_token_id")?,
            tenants: row.json("tenants")?,
            expires_at: row.get("expires_at")?,
            uses_left: row.get("uses_left")?,
        })
    })
    .transpose()
}

/// Takes one use; in one statement, so two sidecars never share one.
pub(crate) async fn take(tx: &mut WriteTx, id: JoinTokenId) -> Result<(), StoreError> {
    let now = tx.now();
    let sql = Sql::new(
        "UPDATE join_tokens SET uses_left = uses_left - 1 \
         WHERE join_token_id = $1 AND uses_left > 0 AND expires_at > $2",
    );
    if tx.execute(sql.bind(id).bind(now)).await? == 0 { Err(StoreError::NotFound("join_token")) } else { Ok(()) }
}
