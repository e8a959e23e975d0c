//! The control plane's metrics, in one registry that is handed around.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, header};
use prometheus::core::Collector;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::error::ApiError;

/// Handles of all metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    /// Ledger entries by what became of them: `accepted`, `duplicate`, `violation`.
    pub(crate) ingest_entries: IntCounterVec,
    /// Batches that were refused whole.
    pub(crate) ingest_refused: IntCounter,
    /// Age of the newest committed entry when it was committed, milliseconds.
    pub(crate) ingest_lag_ms: IntGauge,
    /// Sidecars with an open watch stream.
    pub(crate) sidecars_watching: IntGauge,
    /// Database errors.
    pub(crate) database_errors: IntCounter,
    /// Credentials that were refused, by reason.
    pub(crate) credentials_refused: IntCounterVec,
    /// Open event streams.
    pub(crate) event_streams: IntGauge,
    /// Checkpoints that were signed.
    pub(crate) checkpoints_signed: IntCounter,
    /// Logs that were sealed because the database did not hold what had been signed.
    pub(crate) logs_sealed: IntCounter,
    /// Checkpoints and daily roots that could not be published.
    pub(crate) publishing_failed: IntCounter,
    /// Checkpoints that sidecars kept and the ledger contradicts.
    pub(crate) split_views: IntCounter,
}

/// Upper bounds of the latency buckets, seconds.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Metrics {
    /// Registers everything.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let latency = HistogramOpts::new("aegis_control_request_seconds", "Latency of requests by route and status.");
        Ok(Self {
            requests: register(
                &registry,
                HistogramVec::new(latency.buckets(LATENCY_BUCKETS.to_vec()), &["method", "route", "status"])?,
            )?,
            ingest_entries: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("aegis_control_ingest_entries_total", "Ledger entries received."),
                    &["result"],
                )?,
            )?,
            ingest_refused: register(
                &registry,
                IntCounter::new("aegis_control_ingest_refused_total", "Batches refused whole.")?,
            )?,
            ingest_lag_ms: register(
                &registry,
                IntGauge::new("aegis_control_ingest_lag_ms", "Age of the newest entry at commit.")?,
            )?,
            sidecars_watching: register(
                &registry,
                IntGauge::new("aegis_control_sidecars_watching", "Sidecars with an open watch stream.")?,
            )?,
            database_errors: register(
                &registry,
                IntCounter::new("aegis_control_database_errors_total", "Database errors.")?,
            )?,
            credentials_refused: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("aegis_control_credentials_refused_total", "Credentials refused."),
                    &["reason"],
                )?,
            )?,
            event_streams: register(&registry, IntGauge::new("aegis_control_event_streams", "Open event streams.")?)?,
            checkpoints_signed: counter(&registry, "aegis_control_checkpoints_total", "Checkpoints signed.")?,
            logs_sealed: counter(
                &registry,
                "aegis_control_logs_sealed_total",
                "Logs sealed after a restored database.",
            )?,
            publishing_failed: counter(&registry, "aegis_control_publishing_failed_total", "Failed publications.")?,
            split_views: counter(&registry, "aegis_control_split_views_total", "Checkpoints the ledger contradicts.")?,
            registry,
        })
    }

    /// Counts a served request.
    pub(crate) fn request(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        // Methods and unmatched paths are the client's own words: only known ones become labels.
        let method = match method.as_str() {
            known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
            _ => "other",
        };
        self.requests.with_label_values(&[method, route, status.as_str()]).observe(took.as_secs_f64());
    }

    /// The Prometheus text format.
    fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The metrics as an answer.
pub(crate) fn answer(metrics: &Metrics) -> Result<Response, ApiError> {
    let text = metrics.render().map_err(|fault| ApiError::bug("metrics", &fault))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(name, help)?)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
