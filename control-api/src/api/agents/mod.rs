//! Tag `agents`: agents and the tools they may use.

mod agent;
mod body;
mod permission;
mod profile;
mod view;

use crate::access::Level::{Read, Write};
use crate::operation::{Failure, Operation, delete, failure, get, patch, post, tagged};
use crate::tag::Tag;

const NO_AGENT: Failure = failure(404, "not_found", "the tenant has no such agent");
const NAME_TAKEN: Failure = failure(409, "name_taken", "another agent of the tenant has this name");
const TERMINATED: Failure = failure(409, "terminated", "the agent is terminated, which is final");
const TOO_MANY: Failure = failure(409, "too_many", "the tenant or the agent has as many as it may have");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let permissions = "/agents/{agent_id}/permissions";
    tagged(
        Tag::Agents,
        vec![
            get("/agents", Read, agent::list, "Paged list of agents"),
            get("/agents/summary", Read, agent::summary, "Fleet counts by status and risk"),
            post("/agents", Write, agent::create, "Register an agent").creates().etag().fails(&[NAME_TAKEN, TOO_MANY]),
            get("/agents/{agent_id}", Read, agent::get, "One agent with its permissions").etag().fails(&[NO_AGENT]),
            get("/agents/{agent_id}/profile", Read, profile::get, "Combined detail and 7-day aggregates")
                .fails(&[NO_AGENT]),
            patch("/agents/{agent_id}", Write, agent::update, "Change what an agent is, may cost and how it stands")
                .etag()
                .fails(&[NO_AGENT, NAME_TAKEN, TERMINATED]),
            delete("/agents/{agent_id}", Write, agent::delete, "Soft-delete an agent").etag().fails(&[NO_AGENT]),
            get(permissions, Read, permission::list, "Unexpired tool grants of an agent").fails(&[NO_AGENT]),
            post(permissions, Write, permission::create, "Grant or deny a tool")
                .creates()
                .fails(&[NO_AGENT, TERMINATED, TOO_MANY]),
            delete("/agents/{agent_id}/permissions/{permission_id}", Write, permission::delete, "Remove a tool grant")
                .fails(&[failure(404, "not_found", "the tenant has no such agent, or the agent no such permission")]),
        ],
    )
}

#[cfg(test)]
mod tests;
