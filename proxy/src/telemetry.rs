//! Logs and traces: structured lines without secrets or payload, and spans to a collector when one is named.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::config::{Config, LogFormat};
use crate::trace::Trace;

/// How long the last spans may take to leave at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// Pingora's own lines may quote a client's bytes; only what it warns of is logged.
const QUIET: [&str; 4] = ["pingora=warn", "pingora_core=warn", "pingora_proxy=warn", "hyper=warn"];

/// What keeps telemetry alive.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Installs the process's log and trace output. Needs a runtime.
///
/// # Errors
/// If the level is not one, or a subscriber is there already.
pub fn install(config: &Config) -> Result<Telemetry, Box<dyn std::error::Error>> {
    let mut filter = EnvFilter::builder().parse(&config.log.level)?;
    for directive in QUIET {
        filter = filter.add_directive(directive.parse()?);
    }
    let lines = match config.log.format {
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
        LogFormat::Pretty => tracing_subscriber::fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let traces = provider(&config.otlp.endpoint)?;
    let spans = traces.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("aegis-proxy")));
    Registry::default().with(filter).with(lines).with(spans).try_init()?;
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what is left.
    pub fn flush(&self) {
        if let Some(Err(fault)) = self.traces.as_ref().map(|traces| traces.shutdown_with_timeout(FLUSH_TIMEOUT)) {
            tracing::warn!(%fault, "the last traces were not sent");
        }
    }
}

/// The span of one call. If traces are exported, the call's trace goes on from this span: as a child of the caller's,
/// and sampled as the caller says; else sampled, and in a trace of the exporter's naming unless the caller named it.
pub fn call_span(trace: &mut Trace) -> tracing::Span {
    let (id, tool) = (tracing::field::Empty, tracing::field::Empty);
    let span = tracing::info_span!("call", otel.kind = "server", trace_id = id, tool);
    if trace.is_callers {
        let parent = SpanContext::new(
            TraceId::from_bytes(trace.trace_id),
            SpanId::from_bytes(trace.parent.unwrap_or(trace.span_id)),
            TraceFlags::new(u8::from(trace.sampled || trace.parent.is_none())),
            true,
            TraceState::default(),
        );
        // Without an exporter there is no span to give a parent to.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() {
        trace.trace_id = own.trace_id().to_bytes();
        trace.span_id = own.span_id().to_bytes();
        trace.sampled = own.is_sampled();
    }
    span.record("trace_id", tracing::field::display(trace.id()));
    span
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
    let resource = Resource::builder().with_service_name("aegis-proxy").build();
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
