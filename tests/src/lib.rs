//! What the suites share: the deployment under test, its clients, and the repository itself.

pub mod repository;
