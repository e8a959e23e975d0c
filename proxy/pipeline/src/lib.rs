//! The decision pipeline: pure functions over a snapshot, counters and a clock. No I/O.
//!
//! `pipeline` holds the order of the stages, written once; each stage is one file in `stages`; `detect` is
//! stage 3's eyes; `policy` is the only place that knows regorus.

pub mod counters;
pub mod credential;
pub mod delegation;
pub mod detect;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod pipeline;
pub mod policy;
pub mod record;
pub mod refusal;
pub mod replay;
pub mod snapshot;
pub mod stages;
pub mod timeline;
