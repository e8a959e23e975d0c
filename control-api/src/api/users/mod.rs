//! Tag `users`: people of the tenant, invites, roles.

mod invite;
mod user;

use crate::access::Level;
use crate::operation::{Failure, Operation, delete, failure, get, patch, post, tagged};
use crate::tag::Tag;

const NO_USER: Failure = failure(404, "not_found", "the tenant has no such user");
const LAST_ADMIN: Failure = failure(409, "last_admin", "the tenant would have no active ADMIN left");
const LAST_PLATFORM_ADMIN: Failure =
    failure(409, "last_platform_admin", "the tenant would have no active platform administrator left");
const PENDING: Failure = failure(409, "invite_pending", "the user has not taken up the invite yet");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Users,
        vec![
            get("/users", Level::Audit, user::list, "List the tenant's users"),
            post("/users/invite", Level::Admin, invite::create, "Send an invite").creates().fails(&[failure(
                409,
                "email_taken",
                "the tenant has a user with this address",
            )]),
            post("/users/invite/accept", Level::Public, invite::accept, "Accept an invite with its one-time token")
                .fails(&[
                    failure(404, "not_found", "the token is unknown, used, replaced or expired"),
                    failure(403, "tenant_suspended", "the tenant is suspended"),
                ]),
            patch("/users/{user_id}", Level::Admin, user::update, "Change a user's role or active flag").fails(&[
                NO_USER,
                LAST_ADMIN,
                LAST_PLATFORM_ADMIN,
                PENDING,
            ]),
            delete("/users/{user_id}/totp", Level::Admin, user::reset_totp, "Remove a user's second factor")
                .fails(&[failure(404, "not_found", "the tenant has no such user, or it has no second factor")]),
            delete("/users/{user_id}", Level::Admin, user::delete, "Deactivate a user").fails(&[
                NO_USER,
                LAST_ADMIN,
                LAST_PLATFORM_ADMIN,
            ]),
        ],
    )
}
