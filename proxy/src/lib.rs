//! The Aegis sidecar: every tool call of an agent is decided, executed and proved here.
//!
//! One call flows one way: `service` (Pingora's hook) → `call` (bytes to a tool call) → the decision pipeline →
//! `execute` with `tools` (the tool itself) → `outbox` (the signed row) → `reply`. `sync` keeps the snapshot fresh.

pub mod config;
pub mod identity;
pub mod outbox;
pub mod tools;
