//! The operations, one module per tag.

mod agents;
mod auth;
mod decision;
mod ops;
mod policy;
mod registry;

pub(crate) use auth::check_account;

use crate::operation::Operation;

/// Every operation, in the order of the document.
pub(crate) fn operations() -> Vec<Operation> {
    [
        auth::operations(),
        agents::operations(),
        registry::operations(),
        decision::operations(),
        policy::operations(),
        ops::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
