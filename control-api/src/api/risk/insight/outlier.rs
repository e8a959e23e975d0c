//! Hours that lie far above an agent's own week: more than three standard deviations over the mean.

use std::time::Duration;

use aegis_core::id::AgentId;
use aegis_core::time::{MICROS_PER_HOUR, Timestamp};
use aegis_store::insight::AgentHour;

use super::Classification;

/// What recent hours are measured against.
pub(super) const HISTORY: Duration = Duration::from_hours(7 * 24);
/// Hours of history below which nothing is said.
const SAMPLES_MIN: u64 = 20;
/// Calls an hour that are never a spike.
const CALLS_CALM: u64 = 20;
/// Micro-USD an hour that are never an outlier: one cent.
const COST_CALM: u64 = 10_000;

/// An hour far above the usual.
pub(super) struct Outlier {
    pub(super) classification: Classification,
    pub(super) agent: AgentId,
    pub(super) hour: Timestamp,
    pub(super) value: f64,
    pub(super) mean: f64,
    pub(super) sigma: f64,
    /// Hours of history, those without calls included.
    pub(super) samples: u64,
}

/// The outliers from `recent` on. The hours are sorted by agent and time.
pub(super) fn find(hours: &[AgentHour], recent: Timestamp) -> Vec<Outlier> {
    let calls: fn(&AgentHour) -> u64 = |hour| hour.calls;
    let cost: fn(&AgentHour) -> u64 = |hour| hour.cost_micro_usd;
    let measures = [(Classification::Spike, calls, CALLS_CALM), (Classification::CostOutlier, cost, COST_CALM)];
    let mut found = Vec::new();
    for agent in hours.chunk_by(|a, b| a.agent == b.agent) {
        let split = agent.partition_point(|hour| hour.hour < recent);
        let Some((before, after)) = agent.split_at_checked(split) else { continue };
        let Some(first) = before.first() else { continue };
        // From its first call on, hours without calls count as zero.
        let samples = u64::try_from((recent.as_micros() - first.hour.as_micros()) / MICROS_PER_HOUR).unwrap_or(0);
        if samples < SAMPLES_MIN {
            continue;
        }
        for (classification, measure, calm) in measures {
            let (mean, sigma) = spread(before.iter().map(measure), samples);
            let above =
                after.iter().filter(|hour| measure(hour) > calm && float(measure(hour)) > 3.0_f64.mul_add(sigma, mean));
            found.extend(above.map(|hour| Outlier {
                classification,
                agent: hour.agent,
                hour: hour.hour,
                value: float(measure(hour)),
                mean,
                sigma,
                samples,
            }));
        }
    }
    found
}

/// Mean and standard deviation of these values and as many zeros as are missing to `samples`.
fn spread(values: impl Iterator<Item = u64>, samples: u64) -> (f64, f64) {
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in values.map(float) {
        sum += value;
        squares += value * value;
    }
    let count = float(samples);
    let mean = sum / count;
    (mean, (squares / count - mean * mean).max(0.0).sqrt())
}

#[expect(clippy::cast_precision_loss, reason = "statistics, not decisions")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const HOUR: Duration = Duration::from_hours(1);

    fn hour(n: i64, calls: u64, cost: u64) -> AgentHour {
        let agent = AgentId::from_uuid(Uuid::nil());
        AgentHour { agent, hour: Timestamp::from_micros(n * MICROS_PER_HOUR), calls, cost_micro_usd: cost }
    }

    fn found(last: AgentHour, history: i64) -> Vec<Classification> {
        let mut hours: Vec<AgentHour> = (0..history).map(|n| hour(n, 20 + n.unsigned_abs() % 2 * 10, 100)).collect();
        hours.push(last);
        find(&hours, Timestamp::from_micros(history * MICROS_PER_HOUR)).iter().map(|o| o.classification).collect()
    }

    #[test]
    fn only_what_lies_beyond_three_deviations_is_told() {
        // Mean 25, deviation 5: the bound is 40.
        assert_eq!(found(hour(40, 40, 0), 40), []);
        assert_eq!(found(hour(40, 41, 0), 40), [Classification::Spike]);
        assert_eq!(found(hour(40, 0, 10_001), 40), [Classification::CostOutlier]);
        assert_eq!(found(hour(40, 0, 10_000), 40), [], "a cent is never an outlier");
        assert_eq!(found(hour(19, 4_000, 0), 19), [], "too little is known");
    }

    #[test]
    fn hours_without_calls_count() {
        let hours = [hour(0, 10, 0), hour(99, 30, 0)];
        let recent = Timestamp::from_micros(90 * MICROS_PER_HOUR);
        let found = find(&hours, recent);
        assert_eq!((found.len(), found[0].samples, found[0].hour), (1, 90, recent.plus(9 * HOUR)));
        assert!((found[0].mean - 10.0 / 90.0).abs() < 1e-9);
    }
}
