//! What the benchmarks share: realistic calls, a snapshot to decide them on, latencies.

pub mod latency;
pub mod world;
