//! Tag `ops`: liveness, health, public status. Every figure comes from a probe or a heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_store::ledger::{Head, violation};
use aegis_store::source::{self, Source, SourceStatus};
use aegis_store::{StoreError, item};
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Level;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::health::{self, Component, Latency, Overall, Probe, Queues, ServiceStatus, Sidecars};
use crate::operation::{Operation, get, tagged};
use crate::state::{App, AppState};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let metrics = get("/metrics", Level::Public, metrics, "Prometheus metrics")
        .plain("text/plain", "The Prometheus text format; 404 where a private listener serves it");
    let mut operations = tagged(
        Tag::Ops,
        vec![
            get("/health", Level::Public, liveness, "Liveness"),
            get("/system/health", Level::Read, system_health, "Probe of every service and queue"),
            get("/status", Level::Public, status, "Public status summary"),
        ],
    );
    operations.push(metrics);
    operations
}

/// `GET /metrics`.
async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    if app.config.metrics_address().is_some() {
        return Err(ApiError::RouteNotFound);
    }
    crate::metrics::answer(&app.metrics)
}

/// The process is up.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`: a process that is not does not answer.
    #[schema(examples("ok"))]
    status: &'static str,
    /// The binary.
    #[schema(examples("aegis-control-api"))]
    service: &'static str,
    /// Its version.
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// Seconds since its start.
    uptime_s: u64,
}

async fn liveness(State(app): State<App>) -> Result<Answer<Health>, ApiError> {
    Ok(Answer::ok(Health {
        status: "ok",
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: uptime_s(&app),
    }))
}

fn uptime_s(app: &AppState) -> u64 {
    app.clock.monotonic().since(app.started).as_secs()
}

/// Everything that was probed.
#[derive(Debug, Serialize, ToSchema)]
struct SystemHealth {
    /// All in one word.
    status: Overall,
    /// Services that are healthy.
    healthy: usize,
    /// Services that were probed.
    total: usize,
    /// What presses.
    summary: HealthSummary,
    /// Decision latency, as sidecars measure it.
    latency: Latency,
    /// Each service.
    services: BTreeMap<&'static str, Probe>,
    /// The tenant's sidecars.
    sidecars: Sidecars,
    /// What waits.
    queues: Queues,
    /// Seconds since the epoch.
    ts: i64,
}

/// What presses.
#[derive(Debug, Serialize, ToSchema)]
struct HealthSummary {
    /// Services that do not answer.
    #[schema(examples(json!([])))]
    down_services: Vec<&'static str>,
    /// Whether rows wait longer than 30 s in some outbox.
    #[schema(examples(false))]
    queue_pressure: bool,
    /// Whether the slowest sidecar's 95th percentile is above 50 ms.
    #[schema(examples(false))]
    latency_pressure: bool,
    /// That percentile, milliseconds.
    p95_latency_ms: f64,
}

/// `GET /system/health`.
async fn system_health(State(app): State<App>, caller: Caller) -> Result<Answer<SystemHealth>, ApiError> {
    let tenant = caller.tenant_id();
    let now = app.clock.now();
    let mut services = probes(&app).await;
    let (ledger, violations) = probe_ledger(&app, tenant).await;
    services.insert("ledger", ledger);
    let sources = sources(&app, Some(tenant)).await.unwrap_or_default();
    let sidecars = health::sidecars(&sources, now);
    services.insert("sidecars", health::sidecar_probe(&sidecars));
    let latency = health::latency(&sources, now);
    let queues = health::queues(&sources, violations);
    let summary = HealthSummary {
        down_services: services
            .iter()
            .filter(|(_, p)| p.status == ServiceStatus::Unreachable)
            .map(|(n, _)| *n)
            .collect(),
        queue_pressure: health::queue_pressure(&sources),
        latency_pressure: latency.p95_ms > 50.0,
        p95_latency_ms: latency.p95_ms,
    };
    let healthy = services.values().filter(|p| p.status == ServiceStatus::Healthy).count();
    Ok(Answer::ok(SystemHealth {
        status: health::overall(&services),
        healthy,
        total: services.len(),
        summary,
        latency,
        services,
        sidecars,
        queues,
        ts: now.as_seconds(),
    }))
}

/// Health without internals.
#[derive(Debug, Serialize, ToSchema)]
struct PublicStatus {
    /// All in one word.
    status: Overall,
    /// Each part.
    components: BTreeMap<&'static str, Component>,
    /// Seconds since the start.
    uptime_seconds: Option<u64>,
    /// Decision latency, as sidecars measure it.
    latency: Latency,
    /// Its 95th percentile, milliseconds, rounded up; use `latency`.
    #[schema(deprecated)]
    p95_latency_ms: u64,
    /// Null: kill switches belong to tenants, and this answer is public.
    #[schema(value_type = Option<Object>)]
    kill_switch: Option<()>,
    /// How the parts are.
    services: ServiceCounts,
    /// What waits.
    queues: Queues,
    /// The binary's version.
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// When this was computed.
    as_of: Timestamp,
    /// Public incidents: none are announced here.
    #[schema(examples(json!([])))]
    incidents: Vec<String>,
    /// Announced maintenance: none is announced here.
    #[schema(examples(json!([])))]
    maintenance: Vec<String>,
    /// Where to read more.
    links: Links,
}

/// How the parts are.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceCounts {
    /// All.
    total: usize,
    /// Those that work.
    healthy: usize,
    /// Those that work badly.
    degraded: usize,
    /// Those that do not answer.
    unreachable: usize,
}

/// Where to read more; null where the deployment names nothing.
#[derive(Debug, Serialize, ToSchema)]
struct Links {
    /// Service levels.
    sla: Option<String>,
    /// Security.
    security: Option<String>,
    /// Operation.
    runbook: Option<String>,
}

/// `GET /status`.
async fn status(State(app): State<App>) -> Result<Answer<PublicStatus>, ApiError> {
    let now = app.clock.now();
    let mut services = probes(&app).await;
    let sources = sources(&app, None).await.unwrap_or_default();
    services.insert("sidecars", health::sidecar_probe(&health::sidecars(&sources, now)));
    let latency = health::latency(&sources, now);
    let count = |status| services.values().filter(|p| p.status == status).count();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency in ms, not negative")]
    let p95_latency_ms = latency.p95_ms.ceil() as u64;
    Ok(Answer::ok(PublicStatus {
        status: health::overall(&services),
        components: services.iter().map(|(name, probe)| (*name, probe.status.into())).collect(),
        uptime_seconds: Some(uptime_s(&app)),
        p95_latency_ms,
        latency,
        kill_switch: None,
        services: ServiceCounts {
            total: services.len(),
            healthy: count(ServiceStatus::Healthy),
            degraded: count(ServiceStatus::Degraded),
            unreachable: count(ServiceStatus::Unreachable),
        },
        queues: health::queues(&sources, None),
        version: env!("CARGO_PKG_VERSION"),
        as_of: now,
        incidents: Vec::new(),
        maintenance: Vec::new(),
        links: Links { sla: None, security: None, runbook: None },
    }))
}

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

async fn probes(app: &AppState) -> BTreeMap<&'static str, Probe> {
    let mut probes = BTreeMap::new();
    probes.insert("control_api", Probe::healthy(Duration::ZERO));
    probes.insert(
        "database",
        timed(app, async { item::change_number(&mut *app.store.read_platform().await?).await }).await.0,
    );
    let started = app.clock.monotonic();
    let settled = app.directory.settle().await;
    let took = app.clock.monotonic().since(started);
    probes.insert("directory", if settled.is_ok() { Probe::healthy(took) } else { Probe::unreachable(took, "lags") });
    let knows_own_key = app.directory.token_keys().contains_key(&app.signer.key().kid);
    let keys =
        if knows_own_key { Probe::healthy(Duration::ZERO) } else { Probe::degraded("no tenant knows the key yet") };
    probes.insert("token_keys", keys);
    probes
}

async fn probe_ledger(app: &AppState, tenant: TenantId) -> (Probe, Option<u64>) {
    let (probe, open) = timed(app, async {
        let mut db = app.store.read(tenant).await?;
        Head::read(&mut db, tenant).await?;
        violation::count_open(&mut db, tenant).await
    })
    .await;
    match open {
        Some(open) if open > 0 => (Probe::degraded("entries that break the ledger's rules were delivered"), Some(open)),
        open => (probe, open),
    }
}

/// Runs a probe; what went wrong is for the log, not for the answer.
async fn timed<T>(app: &AppState, probe: impl Future<Output = Result<T, StoreError>>) -> (Probe, Option<T>) {
    let started = app.clock.monotonic();
    let outcome = tokio::time::timeout(PROBE_TIMEOUT, probe).await;
    let took = app.clock.monotonic().since(started);
    match outcome {
        Ok(Ok(value)) => (Probe::healthy(took), Some(value)),
        Ok(Err(fault)) => {
            tracing::warn!(%fault, "a probe failed");
            (Probe::unreachable(took, "error"), None)
        }
        Err(_) => (Probe::unreachable(took, "timeout"), None),
    }
}

async fn sources(app: &AppState, tenant: Option<TenantId>) -> Result<Vec<Source>, StoreError> {
    let mut db = app.store.read_platform().await?;
    let mut sources = match tenant {
        Some(tenant) => source::list(&mut db, tenant).await?,
        None => source::list_all(&mut db).await?,
    };
    sources.retain(|source| source.status == SourceStatus::Active);
    Ok(sources)
}
