//! Tools: where each one lives, and how it is reached without letting one bad tool hurt the others.

pub mod answer;
pub mod breaker;
pub mod bulkhead;
pub mod client;
pub mod decode;
pub mod path;
pub mod registry;
pub mod routes;

pub use registry::{Tool, Tools};
pub use routes::RoutesError;
