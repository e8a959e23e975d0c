//! The sidecars' counterpart: enrolment, the watch stream, heartbeats, ingest. Nothing of it wears the envelope but
//! the list and the errors.

mod credential;
mod enrolment;
mod entries;
mod heartbeat;
mod list;
mod watch;

use crate::access::Level;
use crate::operation::{Failure, Operation, failure, get, post, tagged};
use crate::tag::Tag;

pub(crate) use list::{STALE_AFTER, is_connected};
pub(crate) use watch::WATCHES_MAX;

const INVALID_TOKEN: Failure =
    failure(401, "invalid_token", "the join token or the proof is not valid; one answer for every reason");

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(
        Tag::Internal,
        vec![
            post("/internal/sidecar/enroll", Level::Public, enrolment::enroll, "Enrol a sidecar with a join token")
                .fails(&[INVALID_TOKEN, failure(409, "key_taken", "the identity key is enrolled already")]),
            post(
                "/internal/sidecar/renew",
                Level::Public,
                enrolment::renew,
                "Renew a credential with the identity key",
            )
            .fails(&[INVALID_TOKEN]),
            get(
                "/internal/sidecar/watch",
                Level::Service,
                watch::watch,
                "A snapshot, then every change, as it happens",
            )
            .plain("application/x-ndjson", "Watch frames, one a line; the stream ends with the credential")
            .tenant_optional(),
            post(
                "/internal/sidecar/heartbeat",
                Level::Service,
                heartbeat::heartbeat,
                "What a sidecar has in force and counts",
            )
            .tenant_optional(),
            post("/internal/audit/entries", Level::Service, entries::ingest, "Take signed ledger entries")
                .tenant_optional()
                .fails(&[
                    failure(400, "malformed_body", "the batch is not what its Content-Encoding says"),
                    failure(413, "payload_too_large", "the batch is longer than 16 MiB"),
                    failure(415, "unsupported_media_type", "the batch is not application/x-ndjson"),
                ]),
            get("/internal/sidecars", Level::ServiceOrAdmin, list::list, "Sidecars that speak for the tenant")
                .tenant_optional(),
        ],
    )
}
