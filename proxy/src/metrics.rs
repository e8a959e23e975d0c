//! The sidecar's Prometheus metrics: one registry, handles in one struct, labels that clients cannot make.

use std::time::Duration;

use aegis_core::decision::{Decision, Stage};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Upper bounds of latency buckets, seconds: from 5 µs, for stages, to 30 s, for tools.
const BUCKETS_S: [f64; 20] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Every metric of the sidecar.
pub struct Metrics {
    registry: Registry,
    stages: Vec<Histogram>,
    /// Whole calls, from the header to the last byte of the answer.
    pub call_seconds: Histogram,
    /// Refusals by stable identifier.
    pub refusals: IntCounterVec,
    /// Verdicts.
    pub decisions: IntCounterVec,
    /// Tool calls by route.
    pub tool_seconds: HistogramVec,
    /// Failed tool calls by route and kind.
    pub tool_errors: IntCounterVec,
    /// Calls answered from an earlier answer.
    pub replays: IntCounter,
    /// Wrong or missing credentials.
    pub auth_failures: IntCounter,
    /// Redactions by kind.
    pub redactions: IntCounterVec,
    /// Calls under way.
    pub calls_in_flight: IntGauge,
    /// Connections of clients.
    pub connections: IntGauge,
    /// Calls that ended in a caught panic.
    pub bugs: IntCounter,
    /// Gate refusals that could not be counted into a row, for want of room.
    pub refusals_unrecorded: IntCounter,
    /// Caps that are nearly used up, by limit.
    pub quota_warnings: IntCounterVec,
    /// Read at scrape time.
    pub gauges: Gauges,
}

/// What is read when someone asks.
pub struct Gauges {
    /// Rows that wait to be shipped.
    pub outbox_rows: IntGauge,
    /// Bytes of them.
    pub outbox_bytes: IntGauge,
    /// Age of the oldest, seconds.
    pub outbox_age_seconds: Gauge,
    /// 1 if rows fill 80 % of their bound.
    pub outbox_alarm: IntGauge,
    /// 1 if rows can be written.
    pub outbox_available: IntGauge,
    /// Rows found lost on the disk.
    pub outbox_lost: IntGauge,
    /// Failures of the outbox's disk.
    pub outbox_failures: IntGauge,
    /// Age of the snapshot, seconds.
    pub snapshot_age_seconds: Gauge,
    /// Its version.
    pub snapshot_version: IntGauge,
    /// Policies that do not compile: an older one goes on, or every call of the tenant is refused.
    pub policy_faults: IntGauge,
    /// 1 if the snapshot is older than allowed or the control plane is away.
    pub degraded: IntGauge,
    /// Answers kept for idempotency keys.
    pub idempotency_answers: IntGauge,
    /// Bytes of them.
    pub idempotency_bytes: IntGauge,
    /// Open circuits.
    pub circuits_open: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// If a metric is described wrongly: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("aegis_proxy".into()), None)?;
        let r = &registry;
        let by_stage = histograms(r, "stage_seconds", "Time spent in a stage", &["stage"])?;
        Ok(Self {
            stages: Stage::ALL.iter().map(|s| by_stage.with_label_values(&[s.as_str()])).collect(),
            call_seconds: histograms(r, "call_seconds", "Whole calls", &[])?.with_label_values::<&str>(&[]),
            refusals: counters(r, "refusals_total", "Refused calls", &["reason"])?,
            decisions: counters(r, "decisions_total", "Verdicts", &["action"])?,
            tool_seconds: histograms(r, "tool_seconds", "Tool calls", &["tool"])?,
            tool_errors: counters(r, "tool_errors_total", "Failed tool calls", &["tool", "kind"])?,
            replays: counter(r, "idempotent_replays_total", "Calls answered from an earlier answer")?,
            auth_failures: counter(r, "auth_failures_total", "Missing or wrong credentials")?,
            redactions: counters(r, "redactions_total", "Redactions in tools' answers", &["kind"])?,
            calls_in_flight: gauge(r, "calls_in_flight", "Calls under way")?,
            connections: gauge(r, "connections", "Connections of clients")?,
            bugs: counter(r, "bugs_total", "Calls that ended in an internal error")?,
            refusals_unrecorded: counter(
                r,
                "refusals_unrecorded_total",
                "Refusals of stages 0 and 2 that were counted and for which no row had room; they are written once a \
                 second, so a kill loses those of its last second, which this counter cannot tell",
            )?,
            quota_warnings: counters(
                r,
                "quota_warnings_total",
                "Caps of which 80 % are used, once a period",
                &["limit"],
            )?,
            gauges: Gauges::new(r)?,
            registry,
        })
    }

    /// One stage took so long.
    pub fn stage(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.stages.get(usize::from(stage.number())) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// One verdict.
    pub fn decision(&self, decision: Decision) {
        self.decisions.with_label_values(&[decision.as_str()]).inc();
    }

    /// The Prometheus text format.
    ///
    /// # Errors
    /// If a metric cannot be written as text.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Gauges {
    fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            outbox_rows: gauge(r, "outbox_rows", "Rows that wait to be shipped")?,
            outbox_bytes: gauge(r, "outbox_bytes", "Bytes of rows that wait to be shipped")?,
            outbox_age_seconds: float(r, "outbox_age_seconds", "Age of the oldest waiting row")?,
            outbox_alarm: gauge(r, "outbox_alarm", "1 if waiting rows fill 80 % of their bound")?,
            outbox_available: gauge(r, "outbox_available", "1 if rows can be written")?,
            outbox_lost: gauge(
                r,
                "outbox_rows_lost",
                "Rows found lost on the disk since the start; each loss is declared",
            )?,
            outbox_failures: gauge(r, "outbox_disk_failures", "Failures of the outbox's disk since the start")?,
            snapshot_age_seconds: float(
                r,
                "snapshot_age_seconds",
                "Time since the control plane confirmed the snapshot",
            )?,
            snapshot_version: gauge(r, "snapshot_version", "Version of the snapshot in force")?,
            policy_faults: gauge(r, "policy_faults", "Policies that could not be put in force")?,
            degraded: gauge(r, "degraded", "1 if the snapshot is older than allowed")?,
            idempotency_answers: gauge(r, "idempotency_answers", "Answers kept for idempotency keys")?,
            idempotency_bytes: gauge(r, "idempotency_bytes", "Bytes of answers kept for idempotency keys")?,
            circuits_open: gauge(r, "circuits_open", "Tools whose circuit is not closed")?,
        })
    }
}

fn histograms(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
    let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS_S.to_vec()), labels)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let made = IntCounterVec::new(Opts::new(name, help), labels)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let made = IntCounter::new(name, help)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let made = IntGauge::new(name, help)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn float(r: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let made = Gauge::new(name, help)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_histogram() {
        let metrics = Metrics::new().unwrap();
        for stage in Stage::ALL {
            metrics.stage(*stage, Duration::from_micros(7));
        }
        let text = metrics.text().unwrap();
        for stage in Stage::ALL {
            assert!(text.contains(&format!("aegis_proxy_stage_seconds_count{{stage=\"{stage}\"}} 1")), "{text}");
        }
    }
}
