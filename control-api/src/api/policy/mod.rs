//! Tag `policy`: policy files, their tests and versions.

mod activation;
mod body;
mod conditions;
mod file;
mod replay;
mod shadow;
mod simulation;
mod trial;
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
const TOO_MANY_SHADOWS: Failure = failure(409, "too_many_shadows", "three other policies have a shadow version");
const IN_FORCE: Failure = failure(409, "already_active", "the version that shall be a shadow is in force");
const NO_SHADOW: Failure = failure(409, "not_a_shadow", "the version whose shadow shall end has none");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Policy,
        vec![
            post("/policy/upload", Write, upload::upload, "Compile, version and activate a Rego file")
                .creates()
                .fails(&[BROKEN, FAILING, TOO_MANY, TOO_MANY_SHADOWS]),
            get("/policy/policies", Read, file::list, "Policies with their active versions"),
            get("/policy/policies/{name}", Read, file::get, "One policy: text, versions, tests").fails(&[NO_POLICY]),
            post(
                "/policy/policies/{name}/activate",
                Write,
                activation::activate,
                "Activate, shadow or roll back to a version",
            )
            .fails(&[NO_POLICY, BROKEN, FAILING, TOO_MANY_SHADOWS, IN_FORCE, NO_SHADOW]),
            get(
                "/policy/policies/{name}/shadow-report",
                Read,
                shadow::report,
                "What the shadow version would have changed",
            )
            .fails(&[NO_POLICY]),
            post(
                "/policy/test",
                Write,
                trial::run,
                "Run Rego test rules and cases against a draft or the active bundle",
            )
            .fails(&[BROKEN]),
            post("/policy/simulate", Write, simulation::run, "Re-decide stored calls with a draft policy")
                .fails(&[BROKEN]),
            delete("/policy/policies/{name}", Write, file::retire, "Retire a tenant policy").fails(&[NO_POLICY]),
        ],
    )
}

#[cfg(test)]
mod decided_tests;
#[cfg(test)]
mod tests;
