//! Reading a ledger for export as evidence: every leaf hash, and entries with their signatures and columns.

use std::collections::BTreeMap;

use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::hash::Hash;
use serde_json::{Value, json};

use super::projection::{self, Projection};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};

/// Entries one page holds at most.
pub const PAGE_MAX: u64 = 500;

/// One entry as evidence.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Its place.
    pub index: u64,
    /// Its leaf hash as it is stored.
    pub leaf: Hash,
    /// The signed bytes.
    pub bytes: Vec<u8>,
    /// The signature, as JSON.
    pub signature: Value,
    /// When the control plane committed it.
    pub received_at: Timestamp,
    /// The columns that are not empty, by name.
    pub row: BTreeMap<&'static str, Value>,
}

/// Entries from one index to before another, at most [`PAGE_MAX`], as the ledger stood when it had `size` entries.
///
/// What is stored is given as it is, right or wrong: to judge it is the verifier's.
pub async fn page(
    db: &mut Conn,
    tenant: TenantId,
    (from, end): (u64, u64),
    size: u64,
) -> Result<Vec<Evidence>, StoreError> {
    let mut sql = Sql::new(
        "SELECT e.idx AS e_idx, e.entry, e.leaf, e.signature, e.received_at AS e_received_at, a.outcome_idx, ",
    );
    projection::push_beside_entries(&mut sql, tenant, from..end.min(from.saturating_add(PAGE_MAX)));
    let rows = db.fetch_all(sql).await?;
    rows.iter().map(|row| evidence(row, size)).collect()
}

fn evidence(row: &Row, size: u64) -> Result<Evidence, StoreError> {
    let signature: String = row.get("signature")?;
    let bytes: Vec<u8> = row.get("entry")?;
    let mut columns = BTreeMap::new();
    if row.maybe::<String>("audit_id")?.is_some() {
        columns = named(Projection::from_row(row)?)?;
        if let Some(settled) = row.maybe::<u64>("outcome_idx")? {
            settle(&mut columns, &bytes, settled, size);
        }
    }
    Ok(Evidence {
        index: row.get("e_idx")?,
        leaf: row.get("leaf")?,
        signature: serde_json::from_str(&signature).unwrap_or(Value::Null),
        received_at: row.get("e_received_at")?,
        row: columns,
        bytes,
    })
}

/// A decision that an entry beyond the evidence settled still waits, as far as the evidence goes.
fn settle(columns: &mut BTreeMap<&'static str, Value>, bytes: &[u8], settled: u64, size: u64) {
    if settled < size {
        columns.insert("outcome_index", settled.into());
    } else if let Ok(Entry { body: Body::Decision(decision), .. }) = Entry::decode(bytes) {
        columns.insert("outcome", decision.outcome.as_str().into());
        columns.insert("cost_micro_usd", json!(decision.cost_micro_usd));
    }
}

fn named(p: Projection) -> Result<BTreeMap<&'static str, Value>, StoreError> {
    let list = |text: Option<String>| text.map(|t| serde_json::from_str::<Value>(&t)).transpose();
    let columns = [
        ("audit_id", json!(p.audit_id)),
        ("source_id", json!(p.source)),
        ("kind", json!(p.kind)),
        ("ts", json!(p.ts)),
        ("execution_id", json!(p.execution_id)),
        ("request_id", json!(p.request_id)),
        ("client_request_id", json!(p.client_request_id)),
        ("agent_id", json!(p.agent_id)),
        ("principal", json!(p.principal)),
        ("session_id", json!(p.session_id)),
        ("tool", json!(p.tool)),
        ("action", json!(p.action)),
        ("object", json!(p.object)),
        ("decision", json!(p.decision)),
        ("outcome", json!(p.outcome)),
        ("score_bp", json!(p.score_bp)),
        ("risk_score", json!(p.risk_score)),
        ("findings", json!(list(p.findings).map_err(StoreError::corrupt)?)),
        ("rule_ids", json!(list(p.rule_ids).map_err(StoreError::corrupt)?)),
        ("cost_micro_usd", json!(p.cost_micro_usd)),
        ("count", json!(p.count)),
        ("reason", json!(p.reason)),
    ];
    Ok(columns.into_iter().filter(|(_, value)| !value.is_null()).collect())
}
