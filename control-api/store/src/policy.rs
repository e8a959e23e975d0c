//! Policy files of a tenant: every version is kept, at most one of a name is active.

use std::collections::BTreeMap;

use aegis_core::id::TenantId;
use aegis_core::policy::{PolicyFile, SHADOWS_MAX};
use aegis_core::snapshot::Item;
use aegis_core::time::Timestamp;
use aegis_core::words;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{self, Row, Sql};
use crate::tx::WriteTx;

/// Policies a tenant may have at most, retired ones included.
pub const POLICIES_MAX: u64 = 200;
/// Changes of policies that are gone through for an old revision at most.
pub const CHANGES_MAX: u32 = 2_000;
/// Versions of one policy at most.
pub const VERSIONS_MAX: u32 = 1_000;

words! {
    /// What a version is for.
    pub enum PolicyMode {
        /// In force.
        Active = "active",
        /// Judged beside the active one and recorded, not in force.
        Shadow = "shadow",
        /// Kept, not in force.
        Draft = "draft",
        /// Was in force.
        Retired = "retired",
    }
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// The policy's name.
    pub name: String,
    /// The version, from 1.
    pub version: u32,
    /// What it is for.
    pub mode: PolicyMode,
    /// SHA-256 of the text, hex.
    pub revision: String,
    /// The Rego text.
    pub rego: String,
    /// What it is about.
    pub description: String,
    /// The rules it defines.
    pub rules: Vec<String>,
    /// Its `test_*` rules that hold.
    pub tests_passed: u32,
    /// Its `test_*` rules that do not.
    pub tests_failed: u32,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// By whom: a principal label.
    pub created_by: String,
}

/// A policy with the version that counts: the active one, else the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySummary {
    /// That version.
    pub current: PolicyVersion,
    /// The version that is judged beside it.
    pub shadow_version: Option<u32>,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
    /// By whom: a principal label.
    pub updated_by: String,
}

const COLUMNS: &str = "name, version, mode, revision, rego, description, rules, tests_passed, tests_failed, \
     created_at, created_by";

/// The policies that are not retired, by name.
pub async fn list(db: &mut Conn, tenant: TenantId) -> Result<Vec<PolicySummary>, StoreError> {
    let sql = Sql::new(
        "SELECT v.name, v.version, v.mode, v.revision, v.rego, v.description, v.rules, v.tests_passed, v.tests_failed, \
         v.created_at, v.created_by, p.updated_at, p.updated_by, (SELECT s.version FROM policy_versions s \
         WHERE s.tenant_id = p.tenant_id AND s.name = p.name AND s.mode = 'shadow') AS shadow_version FROM policies p \
         JOIN policy_versions v ON v.tenant_id = p.tenant_id AND v.name = p.name AND v.version = COALESCE( \
         (SELECT a.version FROM policy_versions a WHERE a.tenant_id = p.tenant_id AND a.name = p.name AND a.mode = 'active'), \
         (SELECT MAX(n.version) FROM policy_versions n WHERE n.tenant_id = p.tenant_id AND n.name = p.name)) \
         WHERE p.tenant_id = $1 AND p.retired_at IS NULL ORDER BY p.name",
    );
    db.fetch_all(sql.bind(tenant)).await?.iter().map(summary).collect()
}

/// One policy that is not retired.
pub async fn get(db: &mut Conn, tenant: TenantId, name: &str) -> Result<Option<PolicySummary>, StoreError> {
    Ok(list(db, tenant).await?.into_iter().find(|p| p.current.name == name))
}

/// One version of a policy, retired or not.
pub async fn version(
    db: &mut Conn,
    tenant: TenantId,
    name: &str,
    version: u32,
) -> Result<Option<PolicyVersion>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM policy_versions WHERE tenant_id = ").push_bind(tenant);
    sql.push(" AND name = ").push_bind(name).push(" AND version = ").push_bind(version);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// Every version of a policy, newest first.
pub async fn versions(db: &mut Conn, tenant: TenantId, name: &str) -> Result<Vec<PolicyVersion>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM policy_versions WHERE tenant_id = ").push_bind(tenant);
    sql.push(" AND name = ").push_bind(name).push(" ORDER BY version DESC LIMIT ").push_bind(VERSIONS_MAX);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// The files in force, by name: what the tenant's sidecars hold.
pub async fn active(db: &mut Conn, tenant: TenantId) -> Result<Vec<PolicyFile>, StoreError> {
    let sql = Sql::new(
        "SELECT name, version, revision, rego FROM policy_versions WHERE tenant_id = $1 AND mode = 'active' ORDER BY name",
    );
    let rows = db.fetch_all(sql.bind(tenant)).await?;
    rows.iter()
        .map(|row| {
            Ok(PolicyFile {
                name: row.get("name")?,
                version: row.get("version")?,
                revision: row.get("revision")?,
                rego: row.get("rego")?,
            })
        })
        .collect()
}

/// The files that were in force under this overlay revision, by name: today's, or found again by going through what
/// the ledger says came into force and left. `None` if no state of the tenant's policies had it, or if it lies more
/// than [`CHANGES_MAX`] changes after the first.
pub async fn in_force_at(
    db: &mut Conn,
    tenant: TenantId,
    revision: &str,
    revision_of: impl Fn(&[PolicyFile]) -> String,
) -> Result<Option<Vec<PolicyFile>>, StoreError> {
    let present = active(db, tenant).await?;
    if revision_of(&present) == revision {
        return Ok(Some(present));
    }
    let sql = Sql::new(
        "SELECT action, object FROM audit_rows WHERE tenant_id = $1 AND kind = 'policy' ORDER BY idx LIMIT $2",
    );
    let changes = db.fetch_all(sql.bind(tenant).bind(CHANGES_MAX)).await?;
    let mut files: BTreeMap<String, PolicyFile> = BTreeMap::new();
    for change in &changes {
        let (action, object): (String, String) = (change.get("action")?, change.get("object")?);
        let named = object.strip_prefix("policy:").and_then(|object| object.rsplit_once('@'));
        let Some((name, number)) = named.and_then(|(name, n)| Some((name, n.parse::<u32>().ok()?))) else { continue };
        if action == "policy.active" {
            let Some(version) = version(db, tenant, name, number).await? else { continue };
            files.insert(name.to_owned(), version.file());
        } else if action == "policy.retired" && files.get(name).is_some_and(|file| file.version == number) {
            files.remove(name);
        } else {
            continue;
        }
        let state: Vec<PolicyFile> = files.values().cloned().collect();
        if revision_of(&state) == revision {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Keeps a new version as a draft, under the next number; its number and time are the store's. A retired policy comes
/// back with it.
///
/// # Errors
/// [`StoreError::Conflict`] `too_many`, of policies or of versions.
pub async fn add(tx: &mut WriteTx, tenant: TenantId, draft: PolicyVersion) -> Result<PolicyVersion, StoreError> {
    let now = tx.now();
    touch(tx, tenant, &draft.name, &draft.created_by).await?;
    let count = Sql::new("SELECT COUNT(*) AS n FROM policies WHERE tenant_id = $1").bind(tenant);
    let sql = Sql::new("SELECT COALESCE(MAX(version), 0) AS n FROM policy_versions WHERE tenant_id = $1 AND name = $2");
    let last: u32 = tx.fetch_one(sql.bind(tenant).bind(draft.name.as_str())).await?.get("n")?;
    if tx.fetch_one(count).await?.get::<u64>("n")? > POLICIES_MAX || last >= VERSIONS_MAX {
        return Err(StoreError::Conflict { what: "policy", reason: "too_many" });
    }
    let added = PolicyVersion { version: last + 1, mode: PolicyMode::Draft, created_at: now, ..draft };
    let mut sql = Sql::new("INSERT INTO policy_versions (tenant_id, ");
    sql.push(COLUMNS).push(") VALUES ").push_tuple([
        tenant.into(),
        added.name.as_str().into(),
        added.version.into(),
        added.mode.as_str().into(),
        added.revision.as_str().into(),
        added.rego.as_str().into(),
        added.description.as_str().into(),
        sql::json(&added.rules)?.into(),
        added.tests_passed.into(),
        added.tests_failed.into(),
        added.created_at.into(),
        added.created_by.as_str().into(),
    ]);
    tx.execute(sql).await?;
    Ok(added)
}

/// Puts a version in force, in the snapshot too; the one before it retires in the same moment.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such version.
pub async fn activate(
    tx: &mut WriteTx,
    tenant: TenantId,
    name: &str,
    number: u32,
    by: &str,
) -> Result<PolicyVersion, StoreError> {
    let chosen = version(tx, tenant, name, number).await?.ok_or(StoreError::NotFound("policy version"))?;
    retire_active(tx, tenant, name).await?;
    let sql =
        Sql::new("UPDATE policy_versions SET mode = 'active' WHERE tenant_id = $1 AND name = $2 AND version = $3");
    tx.execute(sql.bind(tenant).bind(name).bind(number)).await?;
    touch(tx, tenant, name, by).await?;
    tx.item_put(&Item::Policy(chosen.file()));
    if chosen.mode == PolicyMode::Shadow {
        tx.item_remove(&shadow_key(name));
    }
    Ok(PolicyVersion { mode: PolicyMode::Active, ..chosen })
}

/// Has a version judged beside the active one of its name, in the snapshot too; the shadow before it ends.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such version, [`StoreError::Conflict`] `already_active` if it is in force,
/// `too_many_shadows` if [`SHADOWS_MAX`] other policies have a shadow.
pub async fn shadow(
    tx: &mut WriteTx,
    tenant: TenantId,
    name: &str,
    number: u32,
    by: &str,
) -> Result<PolicyVersion, StoreError> {
    let chosen = version(tx, tenant, name, number).await?.ok_or(StoreError::NotFound("policy version"))?;
    if chosen.mode == PolicyMode::Active {
        return Err(StoreError::Conflict { what: "policy version", reason: "already_active" });
    }
    let sql =
        Sql::new("SELECT COUNT(*) AS n FROM policy_versions WHERE tenant_id = $1 AND mode = 'shadow' AND name <> $2");
    if tx.fetch_one(sql.bind(tenant).bind(name)).await?.get::<u64>("n")? >= SHADOWS_MAX as u64 {
        return Err(StoreError::Conflict { what: "policy", reason: "too_many_shadows" });
    }
    end_shadow(tx, tenant, name).await?;
    let sql =
        Sql::new("UPDATE policy_versions SET mode = 'shadow' WHERE tenant_id = $1 AND name = $2 AND version = $3");
    tx.execute(sql.bind(tenant).bind(name).bind(number)).await?;
    touch(tx, tenant, name, by).await?;
    tx.item_put(&Item::ShadowPolicy(chosen.file()));
    Ok(PolicyVersion { mode: PolicyMode::Shadow, ..chosen })
}

/// Ends the shadow of a policy: its version is a draft again. The version, if there was one.
pub async fn shadow_end(
    tx: &mut WriteTx,
    tenant: TenantId,
    name: &str,
    by: &str,
) -> Result<Option<PolicyVersion>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM policy_versions WHERE mode = 'shadow' AND tenant_id = ").push_bind(tenant);
    sql.push(" AND name = ").push_bind(name);
    let Some(row) = tx.fetch_optional(sql).await? else { return Ok(None) };
    end_shadow(tx, tenant, name).await?;
    touch(tx, tenant, name, by).await?;
    Ok(Some(PolicyVersion { mode: PolicyMode::Draft, ..from_row(&row)? }))
}

async fn end_shadow(tx: &mut WriteTx, tenant: TenantId, name: &str) -> Result<(), StoreError> {
    let sql =
        Sql::new("UPDATE policy_versions SET mode = 'draft' WHERE tenant_id = $1 AND name = $2 AND mode = 'shadow'");
    if tx.execute(sql.bind(tenant).bind(name)).await? > 0 {
        tx.item_remove(&shadow_key(name));
    }
    Ok(())
}

/// The snapshot key of a policy's shadow version.
pub fn shadow_key(name: &str) -> String {
    format!("shadow_policy/{name}")
}

impl PolicyVersion {
    /// The version as sidecars hold it.
    pub fn file(&self) -> PolicyFile {
        PolicyFile {
            name: self.name.clone(),
            version: self.version,
            revision: self.revision.clone(),
            rego: self.rego.clone(),
        }
    }
}

/// Takes a policy out of force and out of the lists; its last state.
///
/// # Errors
/// [`StoreError::NotFound`] if there is none, or it is retired already.
pub async fn retire(tx: &mut WriteTx, tenant: TenantId, name: &str, by: &str) -> Result<PolicySummary, StoreError> {
    let before = get(tx, tenant, name).await?.ok_or(StoreError::NotFound("policy"))?;
    retire_active(tx, tenant, name).await?;
    end_shadow(tx, tenant, name).await?;
    let now = tx.now();
    let sql = Sql::new(
        "UPDATE policies SET retired_at = $1, updated_at = $1, updated_by = $2 WHERE tenant_id = $3 AND name = $4",
    );
    tx.execute(sql.bind(now).bind(by).bind(tenant).bind(name)).await?;
    tx.item_remove(&format!("policy/{name}"));
    let mode = match before.current.mode {
        PolicyMode::Active | PolicyMode::Retired => PolicyMode::Retired,
        PolicyMode::Draft | PolicyMode::Shadow => PolicyMode::Draft,
    };
    let current = PolicyVersion { mode, ..before.current };
    Ok(PolicySummary { current, shadow_version: None, updated_at: now, updated_by: by.to_owned() })
}

async fn retire_active(tx: &mut WriteTx, tenant: TenantId, name: &str) -> Result<(), StoreError> {
    let sql =
        Sql::new("UPDATE policy_versions SET mode = 'retired' WHERE tenant_id = $1 AND name = $2 AND mode = 'active'");
    tx.execute(sql.bind(tenant).bind(name)).await.map(drop)
}

async fn touch(tx: &mut WriteTx, tenant: TenantId, name: &str, by: &str) -> Result<(), StoreError> {
    let now = tx.now();
    let sql = Sql::new(
        "INSERT INTO policies (tenant_id, name, created_at, updated_at, updated_by) VALUES ($1, $2, $3, $3, $4) \
         ON CONFLICT (tenant_id, name) DO UPDATE \
         SET updated_at = excluded.updated_at, updated_by = excluded.updated_by, retired_at = NULL",
    );
    tx.execute(sql.bind(tenant).bind(name).bind(now).bind(by)).await.map(drop)
}

fn summary(row: &Row) -> Result<PolicySummary, StoreError> {
    Ok(PolicySummary {
        current: from_row(row)?,
        shadow_version: row.maybe("shadow_version")?,
        updated_at: row.get("updated_at")?,
        updated_by: row.get("updated_by")?,
    })
}

fn from_row(row: &Row) -> Result<PolicyVersion, StoreError> {
    Ok(PolicyVersion {
        name: row.get("name")?,
        version: row.get("version")?,
        mode: row.word("mode", PolicyMode::parse)?,
        revision: row.get("revision")?,
        rego: row.get("rego")?,
        description: row.get("description")?,
        rules: row.json("rules")?,
        tests_passed: row.get("tests_passed")?,
        tests_failed: row.get("tests_failed")?,
        created_at: row.get("created_at")?,
        created_by: row.get("created_by")?,
    })
}

#[cfg(test)]
mod tests;
