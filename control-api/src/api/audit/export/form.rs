//! Rows as CSV, JSON and NDJSON.

use aegis_core::decision::Outcome;
use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_store::StoreError;
use aegis_store::audit::{self, AuditRow, PAGE_MAX, RowKind};
use serde_json::{Value, json};

use super::{Broken, Export, Send};
use crate::api::audit::view;

/// The columns of the CSV form.
const CSV_HEADER: &str = "id,timestamp,tenant_id,agent_id,action,tool,decision,reason,request_id,event_hash,\
     billing_status,risk_score\r\n";

/// How rows look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Comma-separated values.
    Csv,
    /// One object.
    Json,
    /// One object a row.
    Ndjson,
}

/// What stands before the rows.
pub(super) struct Head {
    /// Whose.
    pub(super) tenant: TenantId,
    /// When.
    pub(super) exported_at: Timestamp,
    /// How many.
    pub(super) count: u64,
}

impl Form {
    /// The media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn begin(self, head: &Head) -> String {
        match self {
            Self::Csv => CSV_HEADER.to_owned(),
            Self::Json => format!(
                r#"{{"tenant_id":"{}","exported_at":"{}","count":{},"rows":["#,
                head.tenant, head.exported_at, head.count
            ),
            Self::Ndjson => String::new(),
        }
    }

    fn row(self, tenant: TenantId, row: &AuditRow, is_first: bool) -> Result<String, StoreError> {
        Ok(match self {
            Self::Csv => csv(tenant, row),
            Self::Json => format!("{}{}", if is_first { "" } else { "," }, object(tenant, row, "metadata_json")?),
            Self::Ndjson => format!("{}\n", object(tenant, row, "metadata")?),
        })
    }

    const fn end(self) -> &'static str {
        match self {
            Self::Csv | Self::Ndjson => "",
            Self::Json => "]}",
        }
    }
}

/// Streams the rows below an index.
pub(super) async fn run(export: Export, form: Form, head: Head, end: u64) -> Result<(), (Broken, Send)> {
    match rows(&export, form, &head, end).await {
        Ok(()) => Ok(()),
        Err(broken) => Err((broken, export.send)),
    }
}

async fn rows(export: &Export, form: Form, head: &Head, end: u64) -> Result<(), Broken> {
    let Export { app, tenant, filter, rows: count, send, .. } = export;
    send.piece(form.begin(head).into_bytes()).await?;
    let (mut from, mut left) = (0, *count);
    while left > 0 {
        // A transaction a page: the ledger only grows, so the pages agree, and none is held open for long.
        let mut tx = app.store.read(*tenant).await?;
        let page = u32::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let rows = audit::through(&mut tx, *tenant, filter, (from, end), page).await?;
        drop(tx);
        let Some(last) = rows.last() else { break };
        from = last.index + 1;
        let mut text = String::new();
        for (at, row) in rows.iter().enumerate() {
            text.push_str(&form.row(*tenant, row, left == *count && at == 0)?);
        }
        left -= rows.len() as u64;
        send.piece(text.into_bytes()).await?;
    }
    send.piece(form.end().as_bytes().to_vec()).await
}

fn object(tenant: TenantId, row: &AuditRow, metadata: &str) -> Result<Value, StoreError> {
    Ok(json!({
        "id": row.audit_id,
        "tenant_id": tenant,
        "agent_id": row.agent_id,
        "timestamp": row.ts,
        "action": row.action,
        "tool": row.tool,
        "decision": row.decision,
        "reason": row.reason,
        "request_id": row.request_id,
        "event_hash": row.chain.to_hex(),
        "prev_hash": row.chain_before.to_hex(),
        "billing_status": billing_status(row),
        metadata: view::metadata(row)?,
    }))
}

/// A governed call is billable if its tool was called.
fn billing_status(row: &AuditRow) -> &'static str {
    match (row.kind, row.outcome) {
        (RowKind::Decision, Some(Outcome::Executed | Outcome::Failed | Outcome::Unknown)) => "billable",
        (RowKind::Decision, Some(Outcome::Pending)) => "pending",
        _ => "not_billable",
    }
}

fn csv(tenant: TenantId, row: &AuditRow) -> String {
    let text = |value: Option<String>| value.unwrap_or_default();
    let fields = [
        row.audit_id.to_string(),
        row.ts.to_string(),
        tenant.to_string(),
        text(row.agent_id.map(|a| a.to_string())),
        row.action.clone(),
        text(row.tool.clone()),
        text(row.decision.map(|d| d.to_string())),
        text(row.reason.clone()),
        text(row.request_id.clone()),
        row.chain.to_hex(),
        billing_status(row).to_owned(),
        text(row.risk_score.map(|r| r.to_string())),
    ];
    let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    fields.join(",") + "\r\n"
}

/// A field by RFC 4180. A text that spreadsheets would take for a formula gets an apostrophe, because agents choose
/// tool names and reasons.
fn quoted(field: &str) -> String {
    let field =
        if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{field}") } else { field.to_owned() };
    if field.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_neither_break_lines_nor_become_formulas() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a \"b\", c\n"), "\"a \"\"b\"\", c\n\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "'=HYPERLINK(1)");
    }
}
