//! Health: what probes and heartbeats add up to. Pure, so that it can be tested.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::source::Source;
use serde::Serialize;
use utoipa::ToSchema;

use crate::sidecar::{STALE_AFTER, is_connected};

/// An outbox whose oldest row waits longer than this presses, milliseconds.
const OUTBOX_AGE_PRESSING_MS: u64 = 30_000;

words! {
    /// How a service is.
    pub(crate) enum ServiceStatus {
        /// It works.
        Healthy = "healthy",
        /// It works badly.
        Degraded = "degraded",
        /// It does not answer.
        Unreachable = "unreachable",
    }
}

words! {
    /// How a component is, for the public.
    pub(crate) enum Component {
        /// It works.
        Operational = "operational",
        /// It works badly.
        Degraded = "degraded",
        /// It does not.
        Outage = "outage",
    }
}

words! {
    /// How everything is.
    pub(crate) enum Overall {
        /// All works.
        Operational = "operational",
        /// Something works badly.
        DegradedPerformance = "degraded_performance",
        /// Something does not work.
        PartialOutage = "partial_outage",
        /// The database does not work, so nothing does.
        MajorOutage = "major_outage",
    }
}

impl From<ServiceStatus> for Component {
    fn from(status: ServiceStatus) -> Self {
        match status {
            ServiceStatus::Healthy => Self::Operational,
            ServiceStatus::Degraded => Self::Degraded,
            ServiceStatus::Unreachable => Self::Outage,
        }
    }
}

/// One service as it was probed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Probe {
    /// How it is.
    pub(crate) status: ServiceStatus,
    /// How long the probe took, milliseconds.
    latency_ms: f64,
    /// What is wrong, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples(json!(null)))]
    error: Option<&'static str>,
}

impl Probe {
    /// It answered.
    pub(crate) fn healthy(took: Duration) -> Self {
        Self { status: ServiceStatus::Healthy, latency_ms: millis(took), error: None }
    }

    /// It answered, but something is wrong.
    pub(crate) fn degraded(error: &'static str) -> Self {
        Self { status: ServiceStatus::Degraded, latency_ms: 0.0, error: Some(error) }
    }

    /// It did not answer.
    pub(crate) fn unreachable(took: Duration, error: &'static str) -> Self {
        Self { status: ServiceStatus::Unreachable, latency_ms: millis(took), error: Some(error) }
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

/// Latency of decisions over the last minute: the median weighted by calls, the others of the slowest sidecar.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Latency {
    /// `decision`: without the tool's own time.
    #[schema(examples("decision"))]
    scope: &'static str,
    /// Seconds it covers.
    #[schema(examples(60))]
    window_seconds: u32,
    /// Median, milliseconds.
    p50_ms: f64,
    /// 95th percentile, milliseconds.
    pub(crate) p95_ms: f64,
    /// 99th percentile, milliseconds.
    p99_ms: f64,
    /// Calls.
    request_count: u64,
    /// When it was computed.
    computed_at: Timestamp,
}

/// What waits. Null where the deployment has no such queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Queues {
    /// Rows that sidecars have not shipped yet.
    audit_stream_length: u64,
    /// Delivered entries that break the ledger's rules and are not settled; null in public.
    audit_dlq_length: Option<u64>,
    /// Null: billing has no queue here.
    billing_retry_queue: Option<u64>,
    /// Null: billing has no queue here.
    billing_dlq_length: Option<u64>,
    /// Rows in the sidecars' outboxes.
    outbox_pending: u64,
    /// Sidecars whose oldest row waits longer than 30 s.
    outbox_failed: u64,
}

/// Sidecars by heartbeat.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Sidecars {
    /// Heard within three heartbeats.
    connected: usize,
    /// Not heard for longer.
    stale: usize,
    /// 95th percentile of the time since the last heartbeat of connected ones, milliseconds; null if there are none.
    lag_ms_p95: Option<u64>,
}

/// Counts sidecars.
pub(crate) fn sidecars(sources: &[Source], now: Timestamp) -> Sidecars {
    let connected: Vec<_> = sources.iter().filter(|source| is_connected(source, now)).collect();
    let mut lags: Vec<Duration> = connected.iter().filter_map(|s| s.last_seen_at).map(|seen| now.since(seen)).collect();
    lags.sort_unstable();
    let rank = (lags.len() * 95).div_ceil(100).saturating_sub(1);
    let lag_ms_p95 = lags.get(rank).map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    Sidecars { connected: connected.len(), stale: sources.len() - connected.len(), lag_ms_p95 }
}

/// The sidecars as one service: without any enrolled there is nothing to be ill.
pub(crate) fn sidecar_probe(sidecars: &Sidecars) -> Probe {
    match (sidecars.connected, sidecars.stale) {
        (_, 0) => Probe::healthy(Duration::ZERO),
        (0, _) => Probe::unreachable(STALE_AFTER, "no sidecar is connected"),
        (_, _) => Probe::degraded("some sidecars are not connected"),
    }
}

/// Combines what connected sidecars measured.
pub(crate) fn latency(sources: &[Source], now: Timestamp) -> Latency {
    let summaries: Vec<_> = sources
        .iter()
        .filter(|source| is_connected(source, now))
        .filter_map(|source| source.heartbeat.as_ref().map(|beat| beat.decision_us))
        .filter(|summary| summary.count > 0)
        .collect();
    let count: u64 = summaries.iter().map(|s| s.count).sum();
    let weighted: u128 = summaries.iter().map(|s| u128::from(s.p50) * u128::from(s.count)).sum();
    let median = weighted.checked_div(u128::from(count)).and_then(|us| u64::try_from(us).ok()).unwrap_or(0);
    let most = |of: fn(&aegis_core::sidecar::LatencySummary) -> u64| summaries.iter().map(of).max().unwrap_or(0);
    Latency {
        scope: "decision",
        window_seconds: 60,
        p50_ms: millis(Duration::from_micros(median)),
        p95_ms: millis(Duration::from_micros(most(|s| s.p95))),
        p99_ms: millis(Duration::from_micros(most(|s| s.p99))),
        request_count: count,
        computed_at: now,
    }
}

/// Adds up what waits.
pub(crate) fn queues(sources: &[Source], violations: Option<u64>) -> Queues {
    let rows = beats(sources).map(|beat| beat.outbox_rows).sum();
    let stuck = beats(sources).filter(|beat| beat.outbox_age_ms > OUTBOX_AGE_PRESSING_MS).count();
    Queues {
        audit_stream_length: rows,
        audit_dlq_length: violations,
        billing_retry_queue: None,
        billing_dlq_length: None,
        outbox_pending: rows,
        outbox_failed: stuck as u64,
    }
}

/// Whether some outbox presses.
pub(crate) fn queue_pressure(sources: &[Source]) -> bool {
    beats(sources).any(|beat| beat.outbox_age_ms > OUTBOX_AGE_PRESSING_MS)
}

fn beats(sources: &[Source]) -> impl Iterator<Item = &aegis_core::sidecar::Heartbeat> {
    sources.iter().filter_map(|source| source.heartbeat.as_ref())
}

/// All in one word.
pub(crate) fn overall(services: &BTreeMap<&'static str, Probe>) -> Overall {
    let is = |name, status| services.get(name).is_some_and(|probe: &Probe| probe.status == status);
    let any = |status| services.values().any(|probe| probe.status == status);
    if is("database", ServiceStatus::Unreachable) {
        Overall::MajorOutage
    } else if any(ServiceStatus::Unreachable) {
        Overall::PartialOutage
    } else if any(ServiceStatus::Degraded) {
        Overall::DegradedPerformance
    } else {
        Overall::Operational
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(database: Probe, sidecars: Probe) -> BTreeMap<&'static str, Probe> {
        BTreeMap::from([("database", database), ("sidecars", sidecars)])
    }

    #[test]
    fn the_worst_service_decides() {
        let (well, ill, gone) =
            (Probe::healthy(Duration::ZERO), Probe::degraded("slow"), Probe::unreachable(Duration::ZERO, "gone"));
        assert_eq!(overall(&services(well.clone(), well.clone())), Overall::Operational);
        assert_eq!(overall(&services(well.clone(), ill)), Overall::DegradedPerformance);
        assert_eq!(overall(&services(well.clone(), gone.clone())), Overall::PartialOutage);
        assert_eq!(overall(&services(gone, well)), Overall::MajorOutage);
    }
}
