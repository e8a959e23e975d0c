//! What the suites share: the deployment under test, its clients, and the repository itself.
//!
//! Real binaries, a real database, real sockets. Waiting is polling with a deadline, never a guess.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot be set up must fail loudly"
)]

pub mod client;
pub mod collector;
pub mod deployment;
pub mod hostile;
pub mod ports;
pub mod process;
pub mod repository;
pub mod tls;
pub mod upstream;
pub mod wait;
