//! Verifies bundles of evidence, offline, believing nothing but the trust policy that the reader brings.
//!
//! It shares with the programs that write the ledger only hashing and canonical encoding: entries, notes,
//! checkpoints, proofs and bundles are read here by code of its own, written from `control-api/ledger/FORMATS.md`.
//! No network, no clock, no randomness.

pub mod archive;
pub mod attack;
pub mod bundle;
pub mod canonical;
pub mod check;
pub mod checkpoint;
pub mod days;
pub mod id;
pub mod lines;
pub mod log;
pub mod note;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod record;
pub mod report;
pub mod rotation;
pub mod row;
pub mod schema;
pub mod sources;
#[cfg(feature = "testing")]
pub mod testing;
pub mod verdict;
