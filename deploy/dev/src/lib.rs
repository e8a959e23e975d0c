//! The one-command local deployment: the sample tools, and the supervisor of everything that runs.

pub mod api;
pub mod credentials;
pub mod demo;
pub mod fault;
pub mod launch;
pub mod layout;
pub mod provision;
pub mod supervisor;
pub mod tools;
