//! Refresh tokens: each is used once; a family descends from one login and dies as a whole.

use aegis_core::id::{RefreshFamilyId, TenantId, TokenId, UserId};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};

/// Expired families removed at once at most.
const PRUNED_MAX: u64 = 1_000;

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshFamily {
    /// The family.
    pub id: RefreshFamilyId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Whose it is.
    pub user_id: UserId,
    /// The access token last issued with it.
    pub access_id: TokenId,
    /// That token's end.
    pub access_expires_at: Timestamp,
    /// When it ends, however often it is used.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What a presented refresh token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// Valid; it is used up now.
    Fresh(RefreshFamily),
    /// It was used before: somebody else has it too.
    Reused(RefreshFamily),
    /// Unknown, expired, or of a revoked family.
    Void,
}

/// Opens a family with its first token.
pub async fn open(
    db: &mut Conn,
    family: &RefreshFamily,
    token_hash: &str,
    token_expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "INSERT INTO refresh_families (family_id, tenant_id, user_id, access_id, access_expires_at, created_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    );
    let sql = sql.bind(family.id).bind(family.tenant_id).bind(family.user_id).bind(family.access_id);
    db.execute(sql.bind(family.access_expires_at).bind(now).bind(family.expires_at)).await?;
    add(db, family.id, token_hash, token_expires_at, now).await
}

/// Uses a token up, in one step: of two that come together, one is fresh and the other reused.
pub async fn present(db: &mut Conn, token_hash: &str, now: Timestamp) -> Result<Presented, StoreError> {
    let used = Sql::new(
        "UPDATE refresh_tokens SET used_at = $1 WHERE token_hash = $2 AND used_at IS NULL AND expires_at > $1",
    );
    let fresh = db.execute(used.bind(now).bind(token_hash)).await? == 1;
    let sql = Sql::new(
        "SELECT f.family_id, f.tenant_id, f.user_id, f.access_id, f.access_expires_at, f.expires_at, f.revoked_at, \
         t.used_at FROM refresh_tokens t JOIN refresh_families f ON f.family_id = t.family_id WHERE t.token_hash = $1",
    );
    let Some(row) = db.fetch_optional(sql.bind(token_hash)).await? else { return Ok(Presented::Void) };
    let family = from_row(&row)?;
    let was_used = row.maybe::<Timestamp>("used_at")?.is_some();
    Ok(if family.revoked_at.is_some() || family.expires_at <= now {
        Presented::Void
    } else if fresh {
        Presented::Fresh(family)
    } else if was_used {
        Presented::Reused(family)
    } else {
        Presented::Void
    })
}

/// Adds the next token of a family, with the access token issued beside it.
pub async fn rotate(
    db: &mut Conn,
    family: &RefreshFamily,
    token_hash: &str,
    token_expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new("UPDATE refresh_families SET access_id = $1, access_expires_at = $2 WHERE family_id = $3");
    db.execute(sql.bind(family.access_id).bind(family.access_expires_at).bind(family.id)).await?;
    add(db, family.id, token_hash, token_expires_at, now).await
}

async fn add(
    db: &mut Conn,
    family: RefreshFamilyId,
    token_hash: &str,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        Sql::new("INSERT INTO refresh_tokens (token_hash, family_id, issued_at, expires_at) VALUES ($1, $2, $3, $4)");
    db.execute(sql.bind(token_hash).bind(family).bind(now).bind(expires_at)).await.map(drop)
}

/// Revokes a family.
pub async fn revoke(db: &mut Conn, family: RefreshFamilyId, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new("UPDATE refresh_families SET revoked_at = $1 WHERE family_id = $2 AND revoked_at IS NULL");
    db.execute(sql.bind(now).bind(family)).await.map(drop)
}

/// Revokes the family whose latest access token this is: logout.
pub async fn revoke_by_access(
    db: &mut Conn,
    tenant: TenantId,
    access: TokenId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new(
        "UPDATE refresh_families SET revoked_at = $1 WHERE tenant_id = $2 AND access_id = $3 AND revoked_at IS NULL",
    );
    db.execute(sql.bind(now).bind(tenant).bind(access)).await.map(drop)
}

/// Revokes every family of a user.
pub async fn revoke_by_user(db: &mut Conn, tenant: TenantId, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new(
        "UPDATE refresh_families SET revoked_at = $1 WHERE tenant_id = $2 AND user_id = $3 AND revoked_at IS NULL",
    );
    db.execute(sql.bind(now).bind(tenant).bind(user)).await.map(drop)
}

/// Forgets families that have ended, with their tokens; how many.
pub async fn prune(db: &mut Conn, now: Timestamp) -> Result<u64, StoreError> {
    let sql = Sql::new(
        "DELETE FROM refresh_families WHERE family_id IN \
         (SELECT family_id FROM refresh_families WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    );
    db.execute(sql.bind(now).bind(PRUNED_MAX)).await
}

fn from_row(row: &Row) -> Result<RefreshFamily, StoreError> {
    Ok(RefreshFamily {
        id: row.get("family_id")?,
        tenant_id: row.get("tenant_id")?,
        user_id: row.get("user_id")?,
        access_id: row.get("access_id")?,
        access_expires_at: row.get("access_expires_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.maybe("revoked_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both;
    use crate::testing::admin;
    use crate::user;
    use aegis_core::entropy::SystemEntropy;
    use aegis_core::principal::Role;
    use std::time::Duration;

    both! {
        async fn a_token_is_fresh_once_and_reused_after_and_void_when_its_family_ends(t: TestStore) {
            let (tenant, now) = (t.tenant().await, t.store.now());
            let user_id = UserId::generate(now, &SystemEntropy);
            let mut tx = t.store.write(tenant).await.unwrap();
            let person = user::User { id: user_id, tenant_id: tenant, email: "a@b.c".into(), full_name: None, role: Role::Admin,
                platform_admin: false, is_active: true, password_hash: "h".into(), created_at: now, updated_at: now };
            user::create(&mut tx, &person).await.unwrap();
            tx.record(admin("user.create", "user")).await.unwrap().commit().await.unwrap();
            let end = now.plus(Duration::from_secs(100));
            let family = RefreshFamily { id: RefreshFamilyId::generate(now, &SystemEntropy), tenant_id: tenant, user_id,
                access_id: TokenId::generate(now, &SystemEntropy), access_expires_at: end, expires_at: end, revoked_at: None };

            let mut db = t.store.upkeep().await.unwrap();
            open(&mut db, &family, "first", end, now).await.unwrap();
            assert_eq!(present(&mut db, "first", now).await.unwrap(), Presented::Fresh(family.clone()));
            rotate(&mut db, &family, "second", end, now).await.unwrap();
            assert_eq!(present(&mut db, "first", now).await.unwrap(), Presented::Reused(family.clone()));
            assert_eq!(present(&mut db, "none", now).await.unwrap(), Presented::Void);
            revoke_by_user(&mut db, tenant, user_id, now).await.unwrap();
            assert_eq!(present(&mut db, "second", now).await.unwrap(), Presented::Void);
            assert_eq!(prune(&mut db, now).await.unwrap(), 0);
            assert_eq!(prune(&mut db, end).await.unwrap(), 1);
            assert_eq!(present(&mut db, "first", now).await.unwrap(), Presented::Void);
            db.commit().await.unwrap();
        }
    }
}
