//! Second factors: one TOTP secret per user, sealed under the data key, in force once confirmed.

use aegis_core::id::{TenantId, UserId};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sealing;
use crate::sql::Sql;
use crate::store::Store;

/// A second factor with its secret opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Totp {
    /// The shared secret.
    pub secret: Vec<u8>,
    /// When its user proved to have it; not in force before.
    pub confirmed_at: Option<Timestamp>,
    /// The time step of the last code that was accepted: none is accepted twice.
    pub last_step: u64,
}

/// A user's second factor.
pub async fn get(db: &mut Conn, store: &Store, tenant: TenantId, user: UserId) -> Result<Option<Totp>, StoreError> {
    let sql = Sql::new("SELECT sealed, confirmed_at, last_step FROM user_totp WHERE tenant_id = $1 AND user_id = $2");
    let Some(row) = db.fetch_optional(sql.bind(tenant).bind(user)).await? else { return Ok(None) };
    let sealed: Vec<u8> = row.get("sealed")?;
    let secret = sealing::open(store.control().data_key(), &sealed, &context(tenant, user))?;
    Ok(Some(Totp { secret, confirmed_at: row.maybe("confirmed_at")?, last_step: row.get("last_step")? }))
}

/// The users of a tenant whose second factor is in force.
pub async fn confirmed(db: &mut Conn, tenant: TenantId) -> Result<Vec<UserId>, StoreError> {
    let sql = Sql::new("SELECT user_id FROM user_totp WHERE tenant_id = $1 AND confirmed_at IS NOT NULL");
    db.fetch_all(sql.bind(tenant)).await?.iter().map(|row| row.get("user_id")).collect()
}

/// Puts an unconfirmed second factor in the place of an unconfirmed one.
///
/// # Errors
/// [`StoreError::Conflict`] `totp_enrolled` if one is in force.
pub async fn enrol(
    db: &mut Conn,
    store: &Store,
    tenant: TenantId,
    user: UserId,
    secret: &[u8],
) -> Result<(), StoreError> {
    let sealed = sealing::seal(store.control().data_key(), secret, &context(tenant, user), store.entropy())?;
    let sql = Sql::new(
        "INSERT INTO user_totp (user_id, tenant_id, sealed, created_at, last_step) VALUES ($1, $2, $3, $4, 0) \
         ON CONFLICT (user_id) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at, last_step = 0 \
         WHERE user_totp.confirmed_at IS NULL",
    );
    let sql = sql.bind(user).bind(tenant).bind(sealed).bind(store.now());
    if db.execute(sql).await? == 0 {
        return Err(StoreError::Conflict { what: "totp", reason: "totp_enrolled" });
    }
    Ok(())
}

/// Uses up the code of a time step; false if this step or a later one was used before. In one statement: of two that
/// bring the same code together, one succeeds.
pub async fn use_step(db: &mut Conn, tenant: TenantId, user: UserId, step: u64) -> Result<bool, StoreError> {
    let sql = Sql::new("UPDATE user_totp SET last_step = $1 WHERE tenant_id = $2 AND user_id = $3 AND last_step < $4");
    Ok(db.execute(sql.bind(step).bind(tenant).bind(user).bind(step)).await? == 1)
}

/// Puts the second factor in force.
pub async fn confirm(db: &mut Conn, tenant: TenantId, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new(
        "UPDATE user_totp SET confirmed_at = $1 WHERE tenant_id = $2 AND user_id = $3 AND confirmed_at IS NULL",
    );
    db.execute(sql.bind(now).bind(tenant).bind(user)).await.map(drop)
}

/// Takes the second factor away; whether there was one.
pub async fn remove(db: &mut Conn, tenant: TenantId, user: UserId) -> Result<bool, StoreError> {
    let sql = Sql::new("DELETE FROM user_totp WHERE tenant_id = $1 AND user_id = $2");
    Ok(db.execute(sql.bind(tenant).bind(user)).await? == 1)
}

fn context(tenant: TenantId, user: UserId) -> Vec<u8> {
    format!("aegis-totp/1\n{tenant}\n{user}").into_bytes()
}
