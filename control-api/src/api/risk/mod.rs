//! Tag `risk`: risk over time, threats, the weights of the decision, and what is worth a look.

mod insight;
mod overview;
#[cfg(test)]
mod tests;
mod weights;

pub(crate) use overview::{DayRisk, daily};

use crate::access::Level::{Read, Write};
use crate::operation::{Operation, failure, get, put, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let weights = "/risk/signal-weights";
    tagged(
        Tag::Risk,
        vec![
            get("/risk/summary", Read, overview::summary, "Totals, risk distribution, top agents, trend"),
            get("/risk/timeline", Read, overview::timeline, "Daily risk series"),
            get("/risk/top-threats", Read, overview::top_threats, "Agents ranked by threat count"),
            get(weights, Read, weights::get, "Decision signal weights"),
            put(weights, Write, weights::set, "Override the tenant's decision signal weights"),
            get("/insights/recent", Read, insight::recent, "Computed statements about what is unusual")
                .fails(&[failure(404, "not_found", "the tenant is not the caller's")]),
        ],
    )
}
