//! Tag `receipts`: signed receipts of decisions, and the keys that verify them.

mod claim;
pub(super) mod key;
mod receipt;
mod verify;

use crate::access::Level::{Any, Public};
use crate::operation::{Operation, failure, get, post, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let no_key = failure(404, "not_found", "no ledger of this deployment has introduced such a key");
    let no_row = failure(404, "not_found", "the ledger has no such call that the caller may see, or not yet");
    tagged(
        Tag::Receipts,
        vec![
            get("/receipts/key", Public, key::get, "Receipt signing public key").fails(&[no_key]),
            get("/receipts/{execution_id}", Any, receipt::get, "Signed receipt for one audit row").fails(&[no_row]),
            post("/receipts/verify", Public, verify::post, "Verify an archived receipt"),
        ],
    )
}
