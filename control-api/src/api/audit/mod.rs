//! Tag `audit`: the audit log, its summary, explanation and verification.

mod body;
mod explain;
mod log;
mod summary;
#[cfg(test)]
mod tests;
mod verify;
mod view;

use crate::access::Level::{Audit, Read};
use crate::operation::{Operation, failure, get, post, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let no_row = failure(404, "not_found", "the tenant has no such decision");
    tagged(
        Tag::Audit,
        vec![
            get("/audit/logs", Audit, log::list, "Paged audit rows"),
            post("/audit/logs/search", Audit, log::search, "Filtered audit search"),
            get("/audit/logs/summary", Read, summary::get, "Totals, risk distribution, top agents, trend"),
            get("/audit/logs/verify", Audit, verify::get, "Verify the tenant's chain, signatures and tree"),
            get("/audit/logs/{audit_id}/explain", Audit, explain::get, "Why a decision was made").fails(&[no_row]),
        ],
    )
}
