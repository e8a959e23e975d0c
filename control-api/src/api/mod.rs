//! The operations, one module per tag.

mod agents;
mod decision;
mod ops;
mod policy;
mod registry;

use crate::operation::Operation;

/// Every operation, in the order of the document.
pub(crate) fn operations() -> Vec<Operation> {
    [agents::operations(), registry::operations(), decision::operations(), policy::operations(), ops::operations()]
        .into_iter()
        .flatten()
        .collect()
}
