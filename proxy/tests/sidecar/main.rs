//! The sidecar in one process: a hand-made snapshot, a real outbox in a temporary folder, hostile tools and clients.

mod answers;
mod clients;
mod control_plane;
mod harness;
mod idempotency;
mod kill_switch;
mod policies;
mod refusals;
mod stopping;
mod streams;
mod tool_failures;
mod upstream;
