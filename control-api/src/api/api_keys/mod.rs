//! Tag `API Keys`: long-lived credentials of programs.

mod key;

use crate::access::Level;
use crate::operation::{Failure, Operation, delete, failure, get, post, tagged};
use crate::tag::Tag;

const NO_KEY: Failure = failure(404, "not_found", "the tenant has no such key, or it is revoked");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::ApiKeys,
        vec![
            get("/api-keys", Level::Admin, key::list, "Active API keys of the tenant"),
            post("/api-keys", Level::Admin, key::create, "Create an API key").creates().fails(&[
                failure(404, "not_found", "the tenant has no such agent"),
                failure(409, "too_many", "the tenant has as many keys as it may have"),
            ]),
            post("/api-keys/validate", Level::Any, key::validate, "Check a raw key").fails(&[NO_KEY]),
            delete("/api-keys/{key_id}", Level::Admin, key::delete, "Revoke an API key").fails(&[NO_KEY]),
        ],
    )
}
