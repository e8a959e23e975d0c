//! The Aegis sidecar: every tool call of an agent is decided, executed and proved here.
//!
//! One call flows one way: `service` (Pingora's hook) → `call` (bytes to a tool call) → the decision pipeline →
//! `execute` with `tools` (the tool itself) → `outbox` (the signed row) → `reply`. `sync` keeps the snapshot fresh.

pub mod admin;
pub mod boot;
pub mod cache;
pub mod call;
pub mod config;
pub mod connection;
pub mod execute;
pub mod forward;
pub mod gate_log;
pub mod idempotency;
pub mod identity;
pub mod inflight;
pub mod latency;
pub mod listener;
pub mod metrics;
pub mod outbox;
pub mod reply;
pub mod row;
pub mod server;
pub mod service;
pub mod snapshots;
pub mod sync;
pub mod telemetry;
pub mod tools;
pub mod trace;
