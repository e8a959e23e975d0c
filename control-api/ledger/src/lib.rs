//! The ledger's formats: entries, signatures, chains, the hashing of the Merkle tree. Pure: no I/O, no clock.
//!
//! Written by sidecars and the control plane, read by anyone. The formats are described in `control-api/ledger/`.

mod canonical;
pub mod chain;
pub mod checkpoint;
pub mod commitment;
pub mod entry;
pub mod hash;
pub mod loss;
pub mod note;
pub mod proof;
pub mod rotation;
pub mod rows;
pub mod signing;
pub mod statement;
pub mod tile;
pub mod tree;
pub mod verify;
pub mod wire;
