//! Quantiles of a set of measured times.

use std::time::Duration;

/// Measured times, sorted.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of these.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that `permille` of 1 000 stay below.
    pub fn at(&self, permille: usize) -> Duration {
        let index = self.0.len() * permille / 1_000;
        self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
