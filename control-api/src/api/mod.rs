//! The operations, one module per tag.

mod ops;

use crate::operation::Operation;

/// Every operation, in the order of the document.
pub(crate) fn operations() -> Vec<Operation> {
    [ops::operations()].into_iter().flatten().collect()
}
