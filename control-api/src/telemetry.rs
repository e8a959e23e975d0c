//! Logs and traces: structured lines, and spans to a collector when one is named.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::config::{Config, LogFormat};

/// How long the last spans may take to leave at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// What keeps telemetry alive.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Installs the process's log and trace output. Tokens and secrets never reach it: types that hold them print nothing.
pub(crate) fn install(config: &Config) -> Result<Telemetry, Box<dyn std::error::Error>> {
    let filter = EnvFilter::builder().parse(&config.log.level)?;
    let lines = match config.log.format {
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
        LogFormat::Pretty => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
    };
    let traces = provider(&config.otlp.endpoint)?;
    let spans = traces.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("aegis-control-api")));
    Registry::default().with(filter).with(lines).with(spans).try_init()?;
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what is left.
    pub(crate) fn flush(&self) {
        if let Some(Err(fault)) = self.traces.as_ref().map(|traces| traces.shutdown_with_timeout(FLUSH_TIMEOUT)) {
            tracing::warn!(%fault, "the last traces were not sent");
        }
    }
}

fn provider(endpoint: &str) -> Result<Option<SdkTracerProvider>, Box<dyn std::error::Error>> {
    if endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_http_client(reqwest::Client::builder().build()?)
        .build()?;
    let exporter = OnRuntime { inner: Arc::new(exporter), runtime: tokio::runtime::Handle::current() };
    let resource = Resource::builder().with_service_name("aegis-control-api").build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

/// Lets the exporter's own thread send through an HTTP client that needs the runtime.
#[derive(Debug)]
struct OnRuntime<E> {
    inner: Arc<E>,
    runtime: tokio::runtime::Handle,
}

impl<E: SpanExporter + 'static> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = Arc::clone(&self.inner);
        let sent = self.runtime.spawn(async move { inner.export(batch).await });
        sent.await.map_err(|e| OTelSdkError::InternalFailure(e.to_string()))?
    }
}
