//! Tag `audit`: the audit log, its summary, explanation, verification, notes and export.

mod body;
mod explain;
mod export;
mod log;
mod note;
mod summary;
#[cfg(test)]
mod tests;
mod verify;
mod view;

use crate::access::Level::{Audit, Read, Write};
use crate::operation::{Operation, failure, get, post, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let no_row = failure(404, "not_found", "the tenant has no such decision");
    let busy = failure(503, "unavailable", "as many exports run as may at once");
    let no_checkpoint = failure(409, "no_checkpoint", "no checkpoint covers the ledger yet");
    tagged(
        Tag::Audit,
        vec![
            get("/audit/logs", Audit, log::list, "Paged audit rows"),
            post("/audit/logs/search", Audit, log::search, "Filtered audit search"),
            get("/audit/logs/summary", Read, summary::get, "Totals, risk distribution, top agents, trend"),
            get("/audit/logs/verify", Audit, verify::get, "Verify the tenant's chain, signatures and tree"),
            get("/audit/logs/{audit_id}/notes", Audit, note::list, "Analyst notes, oldest first").fails(&[no_row]),
            post("/audit/logs/{audit_id}/notes", Write, note::create, "Append an analyst note")
                .creates()
                .fails(&[no_row]),
            get("/audit/export", Audit, export::stream, "Stream the chain as NDJSON")
                .plain("application/x-ndjson", "One row a line, oldest first; `X-Row-Count` says how many")
                .fails(&[busy]),
            post("/audit/export", Audit, export::download, "Download audit rows as CSV, JSON, NDJSON or evidence")
                .plain("application/octet-stream", "The file in the format asked for; `X-Row-Count` says how many rows")
                .fails(&[busy, no_checkpoint]),
            get("/audit/logs/{audit_id}/explain", Audit, explain::get, "Why a decision was made").fails(&[no_row]),
        ],
    )
}
