//! Users: people who sign in to a tenant.

use aegis_core::id::{TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};
use crate::tx::WriteTx;

/// Users a tenant may have at most.
pub const USERS_MAX: u64 = 10_000;

/// A user as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Its address, in lower case; unique in the tenant.
    pub email: String,
    /// Its name.
    pub full_name: Option<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it administers the platform.
    pub platform_admin: bool,
    /// Whether it may sign in.
    pub is_active: bool,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("tenant_id", &self.tenant_id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The spelling under which an address is stored and looked up.
pub fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

const COLUMNS: &str =
    "user_id, tenant_id, email, full_name, role, platform_admin, is_active, password_hash, created_at, updated_at";

/// One user.
pub async fn get(db: &mut Conn, tenant: TenantId, user: UserId) -> Result<Option<User>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM users WHERE tenant_id = ").push_bind(tenant).push(" AND user_id = ").push_bind(user);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// The user with this address.
pub async fn find_by_email(db: &mut Conn, tenant: TenantId, email: &str) -> Result<Option<User>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM users WHERE tenant_id = ").push_bind(tenant);
    sql.push(" AND email = ").push_bind(email_key(email));
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// Adds a user.
///
/// # Errors
/// [`StoreError::Conflict`] `email_taken`, or `too_many` beyond [`USERS_MAX`].
pub async fn create(tx: &mut WriteTx, user: &User) -> Result<(), StoreError> {
    let count = Sql::new("SELECT COUNT(*) AS n FROM users WHERE tenant_id = $1").bind(user.tenant_id);
    if tx.fetch_one(count).await?.get::<u64>("n")? >= USERS_MAX {
        return Err(StoreError::Conflict { what: "user", reason: "too_many" });
    }
    let mut sql = Sql::new("INSERT INTO users (");
    sql.push(COLUMNS).push(") VALUES ").push_tuple([
        user.id.into(),
        user.tenant_id.into(),
        email_key(&user.email).into(),
        user.full_name.as_deref().into(),
        user.role.as_str().into(),
        user.platform_admin.into(),
        user.is_active.into(),
        user.password_hash.as_str().into(),
        user.created_at.into(),
        user.updated_at.into(),
    ]);
    tx.execute(sql).await.map_err(|e| e.unique_as("user", "email_taken")).map(drop)
}

fn from_row(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("user_id")?,
        tenant_id: row.get("tenant_id")?,
        email: row.get("email")?,
        full_name: row.maybe("full_name")?,
        role: row.word("role", Role::parse)?,
        platform_admin: row.get("platform_admin")?,
        is_active: row.get("is_active")?,
        password_hash: row.get("password_hash")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both;
    use crate::testing::admin;
    use aegis_core::entropy::SystemEntropy;

    pub(crate) fn sample(tenant: TenantId, email: &str, now: Timestamp) -> User {
        User {
            id: UserId::generate(now, &SystemEntropy),
            tenant_id: tenant,
            email: email.into(),
            full_name: None,
            role: Role::Viewer,
            platform_admin: false,
            is_active: true,
            password_hash: "$argon2id$".into(),
            created_at: now,
            updated_at: now,
        }
    }

    both! {
        async fn an_address_is_unique_in_its_tenant_whatever_its_case(t: TestStore) {
            let (one, other) = (t.tenant().await, t.tenant().await);
            for (tenant, email, fits) in [(one, "Ada@Example.com", true), (one, "ada@example.COM", false), (other, "ada@example.com", true)] {
                let mut tx = t.store.write(tenant).await.unwrap();
                let made = create(&mut tx, &sample(tenant, email, t.store.now())).await;
                assert_eq!(made.is_ok(), fits, "{email}");
                if made.is_ok() {
                    tx.record(admin("user.create", "user")).await.unwrap().commit().await.unwrap();
                }
            }
            let mut db = t.store.read(one).await.unwrap();
            let found = find_by_email(&mut db, one, " ADA@example.com").await.unwrap().unwrap();
            assert_eq!(get(&mut db, one, found.id).await.unwrap(), Some(found.clone()));
            assert_eq!(get(&mut db, other, found.id).await.unwrap(), None);
        }
    }
}
