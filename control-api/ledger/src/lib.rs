//! The ledger's formats: entries, signatures, chains, the hashing of the Merkle tree. Pure: no I/O, no clock.
//!
//! Written by sidecars and the control plane, read by anyone. The formats are described in `control-api/ledger/`.

pub mod chain;
pub mod commitment;
pub mod entry;
pub mod hash;
pub mod rows;
pub mod signing;
pub mod tree;
pub mod verify;
pub mod wire;
