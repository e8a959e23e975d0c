//! The receipt of a call, once its row is in the ledger.

use aegis_core::decision::Level;
use aegis_core::id::{AuditId, ExecutionId, TenantId};
use aegis_ledger::wire::{Receipt, SignedEntry};
use aegis_store::audit::{self, AuditRow};
use aegis_store::ledger::salt;
use aegis_store::{Conn, StoreError};
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::claim::Inclusion;
use crate::access;
use crate::api::transparency::proof::{covered, texts};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Path;
use crate::state::App;

/// A receipt with the row's place in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReceiptView {
    /// The signed row: `entry`, `signature`, `key_id`, `algorithm`, `level`, and `batch` where rows share a signature.
    #[schema(value_type = Object)]
    receipt: Value,
    /// The row that settled the call, if the decision had to be durable before its end was known.
    #[schema(value_type = Option<Object>)]
    outcome_receipt: Option<Value>,
    audit_id: AuditId,
    /// The row's place in the tenant's ledger.
    index: u64,
    /// SHA-256 of `0x00` and the entry's bytes (RFC 9162), base64.
    leaf_hash: String,
    /// The proof (RFC 9162) that the row is in the checkpoint's tree; absent until a checkpoint covers it.
    inclusion: Option<Inclusion>,
    /// The newest checkpoint, a signed note (C2SP tlog-checkpoint).
    checkpoint: Option<String>,
    /// Why `inclusion` and `checkpoint` are absent.
    #[schema(examples("not_yet_published"))]
    inclusion_reason: Option<&'static str>,
    /// The tenant's chain hash up to and with this row (SHA-256, hex).
    event_hash: String,
    /// The tenant's chain hash before this row (SHA-256, hex).
    prev_hash: String,
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ExecutionId>,
) -> Result<Answer<ReceiptView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let row = audit::by_execution(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("receipt"))?;
    if caller.only_agent().is_some_and(|own| row.agent_id != Some(own)) {
        return Err(ApiError::NotFound("receipt"));
    }
    // Who holds the salt can test guesses of the input: the agent itself and auditors.
    let may_open = caller.only_agent().is_some() || access::Level::Audit.admits(caller.principal());
    let salt = if may_open { salt::get(&mut tx, &app.store, tenant, row.audit_id).await? } else { None };
    let outcome = match row.outcome_index {
        Some(index) => settled_by(&mut tx, tenant, index).await?,
        None => None,
    };
    let covered = covered(&mut tx, tenant, row.index).await?;
    let level = if covered.is_some() { Level::Published } else { Level::Sequenced };
    Ok(Answer::ok(ReceiptView {
        receipt: receipt(&row, salt.as_ref(), level)?,
        outcome_receipt: outcome.map(|row| receipt(&row, None, Level::Sequenced)).transpose()?,
        audit_id: row.audit_id,
        index: row.index,
        leaf_hash: row.leaf.to_string(),
        inclusion_reason: covered.is_none().then_some("not_yet_published"),
        inclusion: covered.as_ref().map(|c| Inclusion { tree_size: c.checkpoint.size, hashes: texts(&c.hashes) }),
        checkpoint: covered.map(|c| c.checkpoint.note),
        event_hash: row.chain.to_hex(),
        prev_hash: row.chain_before.to_hex(),
    }))
}

async fn settled_by(tx: &mut Conn, tenant: TenantId, index: u64) -> Result<Option<AuditRow>, StoreError> {
    let rows = audit::since(tx, tenant, index, 1).await?;
    Ok(rows.into_iter().find(|row| row.index == index))
}

/// The row as its source signed it, with the durability it has reached.
fn receipt(row: &AuditRow, salt: Option<&[u8; 32]>, level: Level) -> Result<Value, ApiError> {
    let fault = |e: &dyn std::fmt::Display| ApiError::bug("a stored entry is not JSON", e);
    let text = String::from_utf8(row.bytes.clone()).map_err(|e| fault(&e))?;
    let signed = SignedEntry::new(text, row.signature.clone(), salt).map_err(|e| fault(&e))?;
    serde_json::to_value(Receipt::of(&signed, level)).map_err(|e| fault(&e))
}
