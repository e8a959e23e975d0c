//! Keys as a ledger knows them: which of them sign its checkpoints, and which somebody else may have.

use std::collections::HashMap;

use aegis_core::id::TenantId;
use aegis_ledger::checkpoint::{Checkpoint, CheckpointError};
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::note::{Note, NoteError, VerifierKey};
use aegis_ledger::rotation::{CHECKPOINT_PURPOSE, COMPROMISED, INTRODUCED, LogKeys};
use aegis_ledger::rows::Key;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;

/// A `key` entry of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// What it says.
    pub key: Key,
    /// Its index.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
}

/// The entries about checkpoint keys, oldest first.
async fn entries(db: &mut Conn, tenant: TenantId) -> Result<Vec<KeyEntry>, StoreError> {
    let sql = Sql::new(
        "SELECT e.idx, e.entry FROM audit_rows a JOIN ledger_entries e ON e.tenant_id = a.tenant_id AND e.idx = a.idx \
         JOIN sources s ON s.source_id = a.source_id AND s.kind = 'control' \
         WHERE a.tenant_id = $1 AND a.kind = 'key' ORDER BY a.idx",
    );
    let mut found = Vec::new();
    for row in db.fetch_all(sql.bind(tenant)).await? {
        let bytes: Vec<u8> = row.get("entry")?;
        let entry = Entry::decode(&bytes).map_err(StoreError::corrupt)?;
        if let Body::Key(key) = &entry.body
            && key.purpose == CHECKPOINT_PURPOSE
        {
            found.push(KeyEntry { key: key.clone(), index: row.get("idx")?, entry });
        }
    }
    Ok(found)
}

/// The entries that introduced checkpoint keys, oldest first.
pub async fn introduced(db: &mut Conn, tenant: TenantId) -> Result<Vec<KeyEntry>, StoreError> {
    Ok(entries(db, tenant).await?.into_iter().filter(|known| known.key.state == INTRODUCED).collect())
}

/// The checkpoint keys, each with the part of the log that it speaks for.
pub async fn keys(db: &mut Conn, tenant: TenantId) -> Result<LogKeys, StoreError> {
    keys_before(db, tenant, u64::MAX).await
}

/// The same, as they were when the ledger had this size.
pub(crate) async fn keys_before(db: &mut Conn, tenant: TenantId, size: u64) -> Result<LogKeys, StoreError> {
    let mut keys = LogKeys::default();
    for known in entries(db, tenant).await?.into_iter().filter(|known| known.index < size) {
        // What is not in order changes nothing; verification reports it.
        keys.take(known.index, &known.key);
    }
    Ok(keys)
}

/// The verifier keys of what `name` signed about trees of this size.
///
/// # Errors
/// If the name cannot stand in a key's name.
pub fn verifiers(keys: &LogKeys, name: &str, size: u64) -> Result<Vec<VerifierKey>, NoteError> {
    keys.in_force(size).map(|key| VerifierKey::new(name, key)).collect()
}

/// Reads a signed checkpoint and verifies it with the keys that speak for a tree of its size.
pub(crate) fn open(keys: &LogKeys, note: &str) -> Result<Checkpoint, CheckpointError> {
    let read = Note::parse(note)?;
    let said = Checkpoint::parse(read.text())?;
    let mut opened = Err(NoteError::Unsigned.into());
    for key in verifiers(keys, &said.origin, said.size)? {
        opened = opened.or_else(|_: CheckpointError| Checkpoint::open(note, &key));
    }
    opened
}

/// The ids of keys of any purpose that are reported compromised, with the index of the report.
pub(crate) async fn compromised(db: &mut Conn, tenant: TenantId) -> Result<HashMap<String, u64>, StoreError> {
    let sql = Sql::new(
        "SELECT a.object, MIN(a.idx) AS idx FROM audit_rows a \
         JOIN sources s ON s.source_id = a.source_id AND s.kind = 'control' \
         WHERE a.tenant_id = $1 AND a.kind = 'key' AND a.action = $2 GROUP BY a.object",
    );
    let mut found = HashMap::new();
    for row in db.fetch_all(sql.bind(tenant).bind(format!("key.{COMPROMISED}"))).await? {
        let object: String = row.get("object")?;
        found.insert(object.strip_prefix("key:").unwrap_or(&object).to_owned(), row.get("idx")?);
    }
    Ok(found)
}
