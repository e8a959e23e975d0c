//! Users: people who sign in to a tenant.

use aegis_core::id::{TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};
use crate::tx::WriteTx;
use crate::{refresh, revocation};

/// Users a tenant may have at most.
pub const USERS_MAX: u64 = 10_000;
/// Users one page lists at most.
pub const USERS_PAGE_MAX: u32 = 1_000;

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
    /// Argon2id, in PHC form; empty while there is none.
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

/// Which users to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserFilter {
    /// Of this role only.
    pub role: Option<Role>,
    /// Those that may sign in, or those that may not.
    pub is_active: Option<bool>,
}

/// A page of users, newest first, and how many there are in all.
pub async fn list(
    db: &mut Conn,
    tenant: TenantId,
    filter: UserFilter,
    limit: u32,
    offset: u64,
) -> Result<(Vec<User>, u64), StoreError> {
    let mut sql = Sql::new("SELECT COUNT(*) AS n FROM users");
    push_filter(&mut sql, tenant, filter);
    let total = db.fetch_one(sql).await?.get("n")?;
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM users");
    push_filter(&mut sql, tenant, filter);
    sql.push(" ORDER BY created_at DESC, user_id DESC LIMIT ").push_bind(limit.min(USERS_PAGE_MAX));
    sql.push(" OFFSET ").push_bind(offset);
    Ok((db.fetch_all(sql).await?.iter().map(from_row).collect::<Result<_, _>>()?, total))
}

fn push_filter(sql: &mut Sql, tenant: TenantId, filter: UserFilter) {
    sql.push(" WHERE tenant_id = ").push_bind(tenant);
    if let Some(role) = filter.role {
        sql.push(" AND role = ").push_bind(role.as_str());
    }
    if let Some(is_active) = filter.is_active {
        sql.push(" AND is_active = ").push_bind(is_active);
    }
}

/// Replaces what may change of a user: role, platform administration, activity, password. What its tokens say or
/// allow no longer holds then, so they are void; whoever is deactivated loses its sessions too.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Conflict`] `last_admin` if the tenant would have no active ADMIN left, or
/// `last_platform_admin` if it had a platform administrator and would have none.
pub async fn update(tx: &mut WriteTx, user: &User) -> Result<User, StoreError> {
    let before = get(tx, user.tenant_id, user.id).await?.ok_or(StoreError::NotFound("user"))?;
    let after = User { updated_at: tx.now(), ..user.clone() };
    let sql = Sql::new(
        "UPDATE users SET role = $1, platform_admin = $2, is_active = $3, password_hash = $4, updated_at = $5 \
         WHERE tenant_id = $6 AND user_id = $7",
    );
    let sql = sql.bind(after.role.as_str()).bind(after.platform_admin).bind(after.is_active);
    let sql = sql.bind(after.password_hash.as_str()).bind(after.updated_at).bind(after.tenant_id).bind(after.id);
    tx.execute(sql).await?;
    // The write holds the tenant's ledger: no other change of its users comes between.
    let left = Sql::new(
        "SELECT COALESCE(SUM(CASE WHEN role = 'ADMIN' THEN 1 ELSE 0 END), 0) AS admins, \
         COALESCE(SUM(CASE WHEN platform_admin THEN 1 ELSE 0 END), 0) AS platform_admins \
         FROM users WHERE tenant_id = $1 AND is_active",
    );
    let left = tx.fetch_one(left.bind(after.tenant_id)).await?;
    let was_admin = before.is_active && before.role == Role::Admin;
    if was_admin && left.get::<u64>("admins")? == 0 {
        return Err(StoreError::Conflict { what: "user", reason: "last_admin" });
    }
    if before.is_active && before.platform_admin && left.get::<u64>("platform_admins")? == 0 {
        return Err(StoreError::Conflict { what: "user", reason: "last_platform_admin" });
    }
    let is_same =
        |a: &User, b: &User| (a.role, a.platform_admin, a.is_active) == (b.role, b.platform_admin, b.is_active);
    if !is_same(&before, &after) {
        revocation::user(tx, after.id);
    }
    if !after.is_active {
        let now = tx.now();
        refresh::revoke_by_user(tx, after.tenant_id, after.id, now).await?;
    }
    Ok(after)
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
        async fn the_last_admin_stays_and_whoever_goes_loses_its_tokens(t: TestStore) {
            let tenant = t.tenant().await;
            let now = t.store.now();
            let one = User { role: Role::Admin, ..sample(tenant, "one@example.com", now) };
            let two = User { role: Role::Admin, ..sample(tenant, "two@example.com", now) };
            let mut tx = t.store.write(tenant).await.unwrap();
            create(&mut tx, &one).await.unwrap();
            create(&mut tx, &two).await.unwrap();
            tx.record(admin("user.create", "users")).await.unwrap().commit().await.unwrap();
            let mut tx = t.store.write(tenant).await.unwrap();
            update(&mut tx, &User { is_active: false, ..two.clone() }).await.unwrap();
            tx.record(admin("user.delete", "user")).await.unwrap().commit().await.unwrap();
            let mut db = t.store.read(tenant).await.unwrap();
            assert!(crate::item::get(&mut db, tenant, &format!("revocation/user/{}", two.id)).await.unwrap().is_some());
            drop(db);
            for last in [User { is_active: false, ..one.clone() }, User { role: Role::Viewer, ..one.clone() }] {
                let mut tx = t.store.write(tenant).await.unwrap();
                let refused = update(&mut tx, &last).await;
                assert!(matches!(refused, Err(StoreError::Conflict { reason: "last_admin", .. })));
            }
            let mut db = t.store.read(tenant).await.unwrap();
            let active = UserFilter { is_active: Some(true), role: None };
            assert_eq!(list(&mut db, tenant, active, 10, 0).await.unwrap(), (vec![one], 1));
        }

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
