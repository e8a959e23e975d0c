//! Tag `policy`: policy files, their tests and versions.

mod activation;
mod body;
mod file;
mod upload;
mod view;

use crate::access::Level::{Read, Write};
use crate::operation::{Failure, Operation, delete, failure, get, post, tagged};
use crate::tag::Tag;

const NO_POLICY: Failure = failure(404, "not_found", "the tenant has no such policy or version");
const BROKEN: Failure = failure(
    422,
    "policy_invalid",
    "the text does not compile, alone or with the tenant's other policies: see data.file, line, column, message, hint",
);
const FAILING: Failure = failure(422, "policy_tests_failed", "a test of the file does not hold: see data.failed");
const TOO_MANY: Failure = failure(409, "too_many", "the tenant has 200 policies, or the policy 1000 versions");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Policy,
        vec![
            post("/policy/upload", Write, upload::upload, "Compile, version and activate a Rego file")
                .creates()
                .fails(&[BROKEN, FAILING, TOO_MANY]),
            get("/policy/policies", Read, file::list, "Policies with their active versions"),
            get("/policy/policies/{name}", Read, file::get, "One policy: text, versions, tests").fails(&[NO_POLICY]),
            post("/policy/policies/{name}/activate", Write, activation::activate, "Activate or roll back to a version")
                .fails(&[NO_POLICY, BROKEN, FAILING]),
            delete("/policy/policies/{name}", Write, file::retire, "Retire a tenant policy").fails(&[NO_POLICY]),
        ],
    )
}

#[cfg(test)]
mod tests;
