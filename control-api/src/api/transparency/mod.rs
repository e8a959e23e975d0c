//! Tag `transparency`: checkpoints, tiles, proofs and daily roots, for readers who trust nobody here.

mod key;
mod log;
pub(super) mod proof;
mod root;
pub(super) mod statement;
#[cfg(test)]
mod tests;

use crate::access::Level::{Audit, Public, Write};
use crate::operation::{Operation, failure, get, post, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let no_day = failure(404, "not_found", "no root of that day is sealed");
    let no_call = failure(404, "not_found", "the ledger has no such call, or not yet");
    let no_log = failure(404, "not_found", "there is no such log, or it has no such tile yet");
    let too_early = failure(409, "day_not_complete", "the day is not over");
    let not_covered = failure(409, "not_yet_published", "no checkpoint covers it yet; try again in a second");
    tagged(
        Tag::Transparency,
        vec![
            get("/transparency/key", Public, key::get, "Root signing public key"),
            get("/transparency/keys", Public, key::list, "Active and retired root keys"),
            get("/transparency/roots", Audit, root::list, "Daily roots, newest first"),
            get("/transparency/roots/{root_date}", Audit, root::get, "Root of one UTC day").fails(&[no_day]),
            post("/transparency/compute", Write, root::compute, "Compute and store a day's root")
                .fails(&[no_day, too_early]),
            get("/transparency/inclusion/{execution_id}", Audit, proof::inclusion, "Merkle proof for one audit row")
                .fails(&[no_call, not_covered]),
            get("/transparency/consistency", Audit, proof::consistency, "Consistency between two days or sizes")
                .fails(&[no_day, not_covered]),
            post("/transparency/verify-root", Public, statement::verify, "Verify a signed daily root"),
            get("/transparency/log/{tenant_id}/checkpoint", Public, log::checkpoint, "The newest checkpoint of a log")
                .plain("text/plain", "a signed note (C2SP tlog-checkpoint)")
                .fails(&[no_log]),
            get("/transparency/log/{tenant_id}/tile/entries/{*path}", Audit, log::entries, "A bundle of entries")
                .plain("application/octet-stream", "entries, each behind its length in two bytes (C2SP tlog-tiles)")
                .tenant_optional()
                .fails(&[no_log]),
            get("/transparency/log/{tenant_id}/tile/{level}/{*path}", Public, log::hashes, "A tile of hashes")
                .plain("application/octet-stream", "hashes of 32 bytes (C2SP tlog-tiles)")
                .fails(&[no_log]),
        ],
    )
}
