//! The words every part of Aegis shares: ids, time, scores, money, calls, findings, decisions,
//! principals and the snapshot. Nothing here does I/O.

pub mod agent;
pub mod config;
pub mod day;
pub mod decision;
pub mod entropy;
pub mod finding;
pub mod id;
pub mod json;
pub mod money;
pub mod openapi;
pub mod pattern;
pub mod policy;
pub mod principal;
pub mod score;
pub mod secret;
pub mod sidecar;
pub mod snapshot;
pub mod tenant;
pub mod time;
pub mod tool_call;
