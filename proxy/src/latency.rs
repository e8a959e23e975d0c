//! How long decisions take: the samples of the last minute, for heartbeats.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::sidecar::LatencySummary;
use aegis_core::time::{Clock, Monotonic};
use parking_lot::Mutex;

/// Samples kept at most; under more load the oldest of the minute go first.
const SAMPLES_MAX: usize = 4_096;
/// How long a sample counts.
const WINDOW: Duration = Duration::from_mins(1);

/// The samples.
pub struct DecisionLatency {
    clock: Arc<dyn Clock>,
    samples: Mutex<VecDeque<(Monotonic, u64)>>,
}

impl DecisionLatency {
    /// No samples.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, samples: Mutex::default() }
    }

    /// One decision took so many microseconds.
    pub fn record(&self, micros: u64) {
        let now = self.clock.monotonic();
        let mut samples = self.samples.lock();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((now, micros));
    }

    /// Quantiles of the last minute.
    pub fn summary(&self) -> LatencySummary {
        let now = self.clock.monotonic();
        let mut values: Vec<u64> = {
            let mut samples = self.samples.lock();
            while samples.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
                samples.pop_front();
            }
            samples.iter().map(|(_, micros)| *micros).collect()
        };
        values.sort_unstable();
        let at =
            |percent: usize| values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied();
        LatencySummary {
            p50: at(50).unwrap_or(0),
            p95: at(95).unwrap_or(0),
            p99: at(99).unwrap_or(0),
            count: u64::try_from(values.len()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::time::{ManualClock, Timestamp};

    #[test]
    fn quantiles_are_of_the_last_minute() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1)));
        let latency = DecisionLatency::new(clock.clone());
        latency.record(9_999);
        clock.advance(WINDOW + Duration::from_secs(1));
        for micros in 1..=100 {
            latency.record(micros);
        }
        assert_eq!(latency.summary(), LatencySummary { p50: 51, p95: 96, p99: 100, count: 100 });
        clock.advance(WINDOW + Duration::from_secs(1));
        assert_eq!(latency.summary(), LatencySummary::default());
    }
}
