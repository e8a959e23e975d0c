//! The operations, one module per tag.

mod agents;
mod audit;
mod auth;
mod claim;
mod decision;
mod events;
mod execution;
mod ops;
mod policy;
mod receipts;
mod registry;
mod tenant;
mod transparency;

pub(crate) use auth::check_account;
pub(crate) use events::STREAMS_MAX;

use crate::operation::Operation;

/// Every operation, in the order of the document.
pub(crate) fn operations() -> Vec<Operation> {
    [
        auth::operations(),
        tenant::operations(),
        agents::operations(),
        registry::operations(),
        audit::operations(),
        receipts::operations(),
        transparency::operations(),
        decision::operations(),
        policy::operations(),
        execution::operations(),
        events::operations(),
        ops::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
