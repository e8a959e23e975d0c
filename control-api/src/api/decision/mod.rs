//! Tag `decision`: what was decided, and the kill switch.

mod history;
mod switch;
#[cfg(test)]
mod tests;

use crate::access::Level::{Audit, Read, Write};
use crate::operation::{Operation, delete, failure, get, post, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let path = "/decision/kill-switch/{tenant_id}";
    let no_tenant = failure(404, "not_found", "the tenant is not the caller's");
    tagged(
        Tag::Decision,
        vec![
            get("/decision/summary", Read, history::summary, "Counters plus today's risk metric"),
            get("/decision/history", Audit, history::list, "Recent governed calls"),
            get(path, Read, switch::read, "Read kill-switch state").fails(&[no_tenant]),
            post(path, Write, switch::set, "Engage or disengage the kill switch").fails(&[no_tenant]),
            delete(path, Write, switch::lift, "Disengage the kill switch").fails(&[no_tenant]),
        ],
    )
}
