//! The operations, one module per tag.

mod admin;
mod agents;
mod api_keys;
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
mod risk;
mod tenant;
mod transparency;
mod users;

pub(crate) use auth::{check_account, check_email};
pub(crate) use events::STREAMS_MAX;

use crate::operation::Operation;

/// Every operation, in the order of the document.
pub(crate) fn operations() -> Vec<Operation> {
    [
        auth::operations(),
        users::operations(),
        api_keys::operations(),
        tenant::operations(),
        admin::operations(),
        agents::operations(),
        registry::operations(),
        audit::operations(),
        receipts::operations(),
        transparency::operations(),
        decision::operations(),
        risk::operations(),
        policy::operations(),
        execution::operations(),
        events::operations(),
        ops::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
