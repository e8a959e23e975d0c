//! Invites: a user that was made for somebody who has not come yet, and the token it is taken up with.

use aegis_core::id::{TenantId, UserId};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;
use crate::tx::WriteTx;
use crate::user::{self, User};

/// An invite that can be taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The user that waits for it.
    pub user_id: UserId,
    /// Its end.
    pub expires_at: Timestamp,
}

/// Invites: makes the user, inactive and without a password, or renews the invite of one that has not come yet.
///
/// # Errors
/// [`StoreError::Conflict`] `email_taken` if the address belongs to a user, `too_many`.
pub async fn put(
    tx: &mut WriteTx,
    invited: &User,
    token_hash: &str,
    invited_by: &str,
    expires_at: Timestamp,
) -> Result<User, StoreError> {
    let waiting = user::find_by_email(tx, invited.tenant_id, &invited.email).await?;
    let user = match waiting {
        None => {
            user::create(tx, invited).await?;
            invited.clone()
        }
        Some(known) if !known.is_active && known.password_hash.is_empty() => {
            user::update(tx, &User { role: invited.role, ..known }).await?
        }
        Some(_) => return Err(StoreError::Conflict { what: "user", reason: "email_taken" }),
    };
    let now = tx.now();
    let sql = Sql::new(
        "INSERT INTO user_invites (user_id, tenant_id, token_hash, invited_by, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, \
         invited_by = excluded.invited_by, created_at = excluded.created_at, expires_at = excluded.expires_at",
    );
    let sql = sql.bind(user.id).bind(user.tenant_id).bind(token_hash).bind(invited_by).bind(now).bind(expires_at);
    tx.execute(sql).await?;
    Ok(user)
}

/// Whether the user was invited and has not come yet.
pub async fn is_pending(db: &mut Conn, tenant: TenantId, user: UserId) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT user_id FROM user_invites WHERE tenant_id = $1 AND user_id = $2");
    Ok(db.fetch_optional(sql.bind(tenant).bind(user)).await?.is_some())
}

/// Users that were invited and have not come yet.
pub async fn pending(db: &mut Conn, tenant: TenantId) -> Result<Vec<UserId>, StoreError> {
    let sql = Sql::new("SELECT user_id FROM user_invites WHERE tenant_id = $1").bind(tenant);
    db.fetch_all(sql).await?.iter().map(|row| row.get("user_id")).collect()
}

/// The invite of this token, if it can still be taken up: platform-wide, for whoever comes has no tenant yet.
pub async fn find(db: &mut Conn, token_hash: &str, now: Timestamp) -> Result<Option<Invite>, StoreError> {
    let sql =
        Sql::new("SELECT tenant_id, user_id, expires_at FROM user_invites WHERE token_hash = $1 AND expires_at > $2");
    let row = db.fetch_optional(sql.bind(token_hash).bind(now)).await?;
    row.map(|row| {
        Ok(Invite {
            tenant_id: row.get("tenant_id")?,
            user_id: row.get("user_id")?,
            expires_at: row.get("expires_at")?,
        })
    })
    .transpose()
}

/// Takes the invite up: its user becomes active with this password. In one step, so a token works once.
///
/// # Errors
/// [`StoreError::NotFound`] if the invite was taken up, replaced or withdrawn meanwhile, or has ended.
pub async fn take(
    tx: &mut WriteTx,
    tenant: TenantId,
    token_hash: &str,
    password_hash: &str,
) -> Result<User, StoreError> {
    let now = tx.now();
    let sql = Sql::new(
        "DELETE FROM user_invites WHERE tenant_id = $1 AND token_hash = $2 AND expires_at > $3 RETURNING user_id",
    );
    let row = tx.fetch_optional(sql.bind(tenant).bind(token_hash).bind(now)).await?;
    let user_id: UserId = row.ok_or(StoreError::NotFound("invite"))?.get("user_id")?;
    let user = user::get(tx, tenant, user_id).await?.ok_or(StoreError::NotFound("invite"))?;
    user::update(tx, &User { is_active: true, password_hash: password_hash.to_owned(), ..user }).await
}

/// Withdraws the invite of a user, if there is one.
pub async fn withdraw(tx: &mut WriteTx, tenant: TenantId, user: UserId) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM user_invites WHERE tenant_id = $1 AND user_id = $2");
    tx.execute(sql.bind(tenant).bind(user)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::both;
    use crate::testing::admin;
    use aegis_core::entropy::SystemEntropy;
    use aegis_core::principal::Role;

    both! {
        async fn an_invite_works_once_until_it_is_replaced_or_ends(t: TestStore) {
            let (tenant, other) = (t.tenant().await, t.tenant().await);
            let (now, end) = (t.store.now(), t.store.now().plus(Duration::from_mins(1)));
            let ada = User { id: UserId::generate(now, &SystemEntropy), tenant_id: tenant, email: "ada@example.com".into(),
                full_name: None, role: Role::Viewer, platform_admin: false, is_active: false, password_hash: String::new(),
                created_at: now, updated_at: now };
            let mut tx = t.store.write(tenant).await.unwrap();
            put(&mut tx, &ada, "first", "test", end).await.unwrap();
            let again = User { id: UserId::generate(now, &SystemEntropy), role: Role::Auditor, ..ada.clone() };
            let renewed = put(&mut tx, &again, "second", "test", end).await.unwrap();
            assert_eq!((renewed.id, renewed.role), (ada.id, Role::Auditor));
            assert!(find(&mut tx, "first", now).await.unwrap().is_none());
            assert!(find(&mut tx, "second", end).await.unwrap().is_none());
            assert_eq!(pending(&mut tx, tenant).await.unwrap(), [ada.id]);
            tx.record(admin("user.invite", "user")).await.unwrap().commit().await.unwrap();

            let mut tx = t.store.write(other).await.unwrap();
            assert!(matches!(take(&mut tx, other, "second", "hash").await, Err(StoreError::NotFound("invite"))));
            drop(tx);
            let mut tx = t.store.write(tenant).await.unwrap();
            let come = take(&mut tx, tenant, "second", "hash").await.unwrap();
            assert!(come.is_active && come.password_hash == "hash" && !is_pending(&mut tx, tenant, ada.id).await.unwrap());
            assert!(matches!(take(&mut tx, tenant, "second", "hash").await, Err(StoreError::NotFound("invite"))));
            let taken = put(&mut tx, &again, "third", "test", end).await;
            assert!(matches!(taken, Err(StoreError::Conflict { reason: "email_taken", .. })));
        }
    }
}
