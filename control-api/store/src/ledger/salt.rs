//! Salts of commitments, sealed: under a key per agent and month, itself sealed under the data key.
//!
//! Erasing a month of an agent is deleting one row of `salt_keys`: what it sealed can never be opened again.

use std::collections::HashMap;

use aegis_core::entropy;
use aegis_core::id::{AgentId, AuditId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::commitment::Salt;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sealing::{open_32, seal};
use crate::sql::{PLACEHOLDERS_MAX, Sql, Value};
use crate::store::Store;

/// A salt on its way into the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewSalt {
    pub(crate) audit_id: AuditId,
    pub(crate) agent: AgentId,
    pub(crate) ts: Timestamp,
    pub(crate) salt: Salt,
}

/// The salt of a row's commitments; absent if it has none or was erased.
pub async fn get(
    db: &mut Conn,
    store: &Store,
    tenant: TenantId,
    audit_id: AuditId,
) -> Result<Option<Salt>, StoreError> {
    let sql = Sql::new(
        "SELECT s.agent_id, s.month, s.sealed, k.sealed AS key_sealed FROM ledger_salts s \
         JOIN salt_keys k ON k.tenant_id = s.tenant_id AND k.agent_id = s.agent_id AND k.month = s.month \
         WHERE s.tenant_id = $1 AND s.audit_id = $2",
    );
    let Some(row) = db.fetch_optional(sql.bind(tenant).bind(audit_id)).await? else { return Ok(None) };
    let agent: AgentId = row.get("agent_id")?;
    let month: Timestamp = row.get("month")?;
    let sealed_key: Vec<u8> = row.get("key_sealed")?;
    let sealed: Vec<u8> = row.get("sealed")?;
    let key = open_32(store.control().data_key(), &sealed_key, &key_context(tenant, agent, month))?;
    open_32(&key, &sealed, &salt_context(tenant, audit_id)).map(Some)
}

/// Seals and stores salts of a tenant whose ledger is locked.
pub(crate) async fn put_all(
    db: &mut Conn,
    store: &Store,
    tenant: TenantId,
    salts: &[NewSalt],
) -> Result<(), StoreError> {
    let mut keys: HashMap<(AgentId, Timestamp), [u8; 32]> = HashMap::new();
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(salts.len());
    for new in salts {
        let month = new.ts.month_start();
        let key = if let Some(key) = keys.get(&(new.agent, month)) {
            *key
        } else {
            let key = month_key(db, store, tenant, new.agent, month).await?;
            keys.insert((new.agent, month), key);
            key
        };
        let sealed = seal(&key, &new.salt, &salt_context(tenant, new.audit_id), store.entropy())?;
        rows.push(vec![tenant.into(), new.audit_id.into(), new.agent.into(), month.into(), sealed.into()]);
    }
    for chunk in rows.chunks(PLACEHOLDERS_MAX / 5) {
        let mut sql = Sql::new("INSERT INTO ledger_salts (tenant_id, audit_id, agent_id, month, sealed) VALUES ");
        sql.push_rows(chunk.iter().cloned());
        db.execute(sql).await?;
    }
    Ok(())
}

async fn month_key(
    db: &mut Conn,
    store: &Store,
    tenant: TenantId,
    agent: AgentId,
    month: Timestamp,
) -> Result<[u8; 32], StoreError> {
    let context = key_context(tenant, agent, month);
    let sql = Sql::new("SELECT sealed FROM salt_keys WHERE tenant_id = $1 AND agent_id = $2 AND month = $3");
    if let Some(row) = db.fetch_optional(sql.bind(tenant).bind(agent).bind(month)).await? {
        let sealed: Vec<u8> = row.get("sealed")?;
        return open_32(store.control().data_key(), &sealed, &context);
    }
    let key = entropy::random::<32>(store.entropy());
    let sealed = seal(store.control().data_key(), &key, &context, store.entropy())?;
    let sql = Sql::new("INSERT INTO salt_keys (tenant_id, agent_id, month, sealed) VALUES ($1, $2, $3, $4)");
    db.execute(sql.bind(tenant).bind(agent).bind(month).bind(sealed)).await?;
    Ok(key)
}

fn key_context(tenant: TenantId, agent: AgentId, month: Timestamp) -> Vec<u8> {
    format!("aegis-salt-key/1\n{tenant}\n{agent}\n{month}").into_bytes()
}

fn salt_context(tenant: TenantId, audit_id: AuditId) -> Vec<u8> {
    format!("aegis-salt/1\n{tenant}\n{audit_id}").into_bytes()
}
