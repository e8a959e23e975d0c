//! The operations, one module per tag.

mod agents;
mod audit;
mod auth;
mod decision;
mod ops;
mod policy;
mod receipts;
mod registry;

pub(crate) use auth::check_account;

use crate::operation::Operation;

/// Every operation, in the order of the document.
pub(crate) fn operations() -> Vec<Operation> {
    [
        auth::operations(),
        agents::operations(),
        registry::operations(),
        audit::operations(),
        receipts::operations(),
        decision::operations(),
        policy::operations(),
        ops::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
