//! API keys: long-lived credentials of programs, kept as SHA-256 and known to every sidecar.

use aegis_core::id::{AgentId, ApiKeyId, TenantId};
use aegis_core::principal::Scope;
use aegis_core::snapshot::{ApiKeyRecord, Item};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{self, Row, Sql};
use crate::tx::WriteTx;

/// Keys in force that a tenant may have at most.
pub const API_KEYS_MAX: u64 = 1_000;

/// A key as stored: never its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The key.
    pub id: ApiKeyId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// What it is called.
    pub name: String,
    /// Its first characters, to tell it from others.
    pub prefix: String,
    /// SHA-256 of its text, hex.
    pub sha256: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The agent it is, if it may execute.
    pub agent_id: Option<AgentId>,
    /// Who made it: a principal label.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; never if absent.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, on the management API or through a sidecar.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is in force.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a key did through sidecars is in the audit rows: the later of both uses counts.
const SELECT: &str = "SELECT k.key_id, k.tenant_id, k.name, k.key_prefix, k.sha256, k.scopes, k.agent_id, k.created_by, \
     k.created_at, k.expires_at, k.last_used_at, k.revoked_at, (SELECT MAX(r.ts) FROM audit_rows r \
     WHERE r.tenant_id = k.tenant_id AND r.principal LIKE 'api_key:%' AND r.principal = 'api_key:' || k.key_id) \
     AS last_call_at FROM api_keys k WHERE k.tenant_id = ";

/// Every key that is in force, newest first.
pub async fn list(db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<Vec<ApiKey>, StoreError> {
    let mut sql = Sql::new(SELECT);
    sql.push_bind(tenant).push(" AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ").push_bind(now);
    sql.push(") ORDER BY k.created_at DESC, k.key_id DESC LIMIT ").push_bind(API_KEYS_MAX);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// The key of this digest, whether in force or not.
pub async fn find(db: &mut Conn, tenant: TenantId, sha256: &str) -> Result<Option<ApiKey>, StoreError> {
    let mut sql = Sql::new(SELECT);
    sql.push_bind(tenant).push(" AND k.sha256 = ").push_bind(sha256);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// One key, whether in force or not.
pub async fn get(db: &mut Conn, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
    let mut sql = Sql::new(SELECT);
    sql.push_bind(tenant).push(" AND k.key_id = ").push_bind(id);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// Adds a key, to the snapshot too.
///
/// # Errors
/// [`StoreError::Conflict`] `too_many` beyond [`API_KEYS_MAX`] in force; [`StoreError::NotFound`] if there is no
/// such agent.
pub async fn create(tx: &mut WriteTx, key: &ApiKey) -> Result<(), StoreError> {
    let now = tx.now();
    let count = Sql::new(
        "SELECT COUNT(*) AS n FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL \
         AND (expires_at IS NULL OR expires_at > $2)",
    );
    if tx.fetch_one(count.bind(key.tenant_id).bind(now)).await?.get::<u64>("n")? >= API_KEYS_MAX {
        return Err(StoreError::Conflict { what: "api_key", reason: "too_many" });
    }
    if let Some(agent) = key.agent_id {
        crate::agent::get_live(tx, key.tenant_id, agent).await?;
    }
    let mut sql = Sql::new(
        "INSERT INTO api_keys (tenant_id, key_id, name, key_prefix, sha256, scopes, agent_id, created_by, created_at, \
         expires_at) VALUES ",
    );
    sql.push_tuple([
        key.tenant_id.into(),
        key.id.into(),
        key.name.as_str().into(),
        key.prefix.as_str().into(),
        key.sha256.as_str().into(),
        sql::json(&key.scopes)?.into(),
        key.agent_id.into(),
        key.created_by.as_str().into(),
        key.created_at.into(),
        key.expires_at.into(),
    ]);
    tx.execute(sql).await?;
    tx.item_put(&Item::ApiKey(ApiKeyRecord {
        id: key.id,
        sha256: key.sha256.clone(),
        agent_id: key.agent_id,
        scopes: key.scopes.clone(),
        expires_at: key.expires_at,
    }));
    Ok(())
}

/// Revokes a key and takes it out of the snapshot; its last state.
///
/// # Errors
/// [`StoreError::NotFound`] if there is none, or it is revoked already.
pub async fn revoke(tx: &mut WriteTx, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey, StoreError> {
    let now = tx.now();
    let sql =
        Sql::new("UPDATE api_keys SET revoked_at = $1 WHERE tenant_id = $2 AND key_id = $3 AND revoked_at IS NULL");
    if tx.execute(sql.bind(now).bind(tenant).bind(id)).await? == 0 {
        return Err(StoreError::NotFound("api_key"));
    }
    tx.item_remove(&format!("api_key/{id}"));
    get(tx, tenant, id).await?.ok_or(StoreError::NotFound("api_key"))
}

/// Notes a use on the management API.
pub async fn note_use(db: &mut Conn, tenant: TenantId, id: ApiKeyId, at: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new(
        "UPDATE api_keys SET last_used_at = $1 WHERE tenant_id = $2 AND key_id = $3 \
         AND (last_used_at IS NULL OR last_used_at < $4)",
    );
    db.execute(sql.bind(at).bind(tenant).bind(id).bind(at)).await.map(drop)
}

fn from_row(row: &Row) -> Result<ApiKey, StoreError> {
    let (managed, called): (Option<Timestamp>, Option<Timestamp>) =
        (row.maybe("last_used_at")?, row.maybe("last_call_at")?);
    Ok(ApiKey {
        id: row.get("key_id")?,
        tenant_id: row.get("tenant_id")?,
        name: row.get("name")?,
        prefix: row.get("key_prefix")?,
        sha256: row.get("sha256")?,
        scopes: row.json("scopes")?,
        agent_id: row.maybe("agent_id")?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        expires_at: row.maybe("expires_at")?,
        last_used_at: managed.max(called),
        revoked_at: row.maybe("revoked_at")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::both;
    use crate::testing::admin;
    use aegis_core::entropy::SystemEntropy;

    both! {
        async fn a_key_is_found_in_its_tenant_and_leaves_the_snapshot_when_it_is_revoked(t: TestStore) {
            let (tenant, other, now) = (t.tenant().await, t.tenant().await, t.store.now());
            let key = ApiKey { id: ApiKeyId::generate(now, &SystemEntropy), tenant_id: tenant, name: "report".into(),
                prefix: "acp_1234".into(), sha256: "ab".repeat(32), scopes: vec![Scope::Read, Scope::Audit], agent_id: None,
                created_by: "test".into(), created_at: now, expires_at: Some(now.plus(Duration::from_mins(1))),
                last_used_at: None, revoked_at: None };
            let item = format!("api_key/{}", key.id);
            let mut tx = t.store.write(tenant).await.unwrap();
            create(&mut tx, &key).await.unwrap();
            tx.record(admin("api_key.create", "key")).await.unwrap().commit().await.unwrap();

            let mut db = t.store.read(tenant).await.unwrap();
            assert_eq!(find(&mut db, tenant, &key.sha256).await.unwrap(), Some(key.clone()));
            assert_eq!(list(&mut db, tenant, now).await.unwrap(), std::slice::from_ref(&key));
            assert!(list(&mut db, tenant, now.plus(Duration::from_mins(1))).await.unwrap().is_empty());
            assert!(crate::item::get(&mut db, tenant, &item).await.unwrap().is_some());
            drop(db);
            let mut db = t.store.read(other).await.unwrap();
            assert!(find(&mut db, other, &key.sha256).await.unwrap().is_none());
            drop(db);

            let later = now.plus(Duration::from_secs(5));
            let mut db = t.store.upkeep_of(tenant).await.unwrap();
            note_use(&mut db, tenant, key.id, later).await.unwrap();
            note_use(&mut db, tenant, key.id, now).await.unwrap();
            db.commit().await.unwrap();
            let mut tx = t.store.write(tenant).await.unwrap();
            let gone = revoke(&mut tx, tenant, key.id).await.unwrap();
            assert_eq!((gone.last_used_at, gone.revoked_at.is_some(), gone.is_active(now)), (Some(later), true, false));
            assert!(matches!(revoke(&mut tx, tenant, key.id).await, Err(StoreError::NotFound("api_key"))));
            tx.record(admin("api_key.revoke", "key")).await.unwrap().commit().await.unwrap();
            let mut db = t.store.read(tenant).await.unwrap();
            assert!(list(&mut db, tenant, now).await.unwrap().is_empty());
            assert!(crate::item::get(&mut db, tenant, &item).await.unwrap().is_none());
        }
    }
}
