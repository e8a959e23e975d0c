//! From a configuration to a sidecar that serves, and back: identity, cache, enrolment, outbox, engine, line.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::{Entropy, SystemEntropy};
use aegis_core::id::{BootId, TenantId};
use aegis_core::sidecar::{LatencySummary, ToolAnnouncement};
use aegis_core::snapshot::Snapshot;
use aegis_core::time::{Clock, SystemClock};
use aegis_pipeline::counters::{CountersState, MemoryCounters, TenantUsage};
use aegis_pipeline::pipeline::{Memory, Settings};
use aegis_pipeline::policy::{PlatformBundle, PolicyProblem};
use aegis_pipeline::snapshot::DecisionSnapshot;
use aegis_pipeline::stages::behavior::{BehaviorMemory, KeptAgent, PARTS};
use aegis_pipeline::stages::output_filter::OutputFilter;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::cache::{self, Cache, CacheError, SledCache};
use crate::config::{Config, Environment, millis};
use crate::execute::Engine;
use crate::gate_log::GateLog;
use crate::idempotency::ring::KeyRing;
use crate::idempotency::{self, IdempotencyKeys, Key};
use crate::identity::{Enrolment, Identity, IdentityError};
use crate::latency::DecisionLatency;
use crate::metrics::Metrics;
use crate::outbox::disk::Folder;
use crate::outbox::{Author, OpenError, Options, Outbox, UnknownCall};
use crate::server;
use crate::snapshots::Snapshots;
use crate::sync::{self, Applier, Checkpoints, Report, Session, Sync, SyncError};
use crate::tools::{RoutesError, Tools, routes};

/// The name under which counters are kept.
const COUNTERS: &str = "counters";
/// What the names under which stage 5's memory is kept begin with.
const BEHAVIOR: &str = "behavior";
/// The ring of keyed calls.
const KEYS_FILE: &str = "keys";
/// How long the last rows may take to be shipped at the end; what remains waits on disk.
const LAST_ROWS: Duration = Duration::from_secs(5);
/// Characters of a sidecar's name at most.
const NAME_MAX: usize = 64;

/// Why the sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The tool routes.
    #[error("{file}: {error}")]
    Routes {
        /// The file.
        file: String,
        /// What is wrong with it.
        error: RoutesError,
    },
    /// A file or port.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The identity.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
    /// The cache.
    #[error("cache: {0}")]
    Cache(#[from] CacheError),
    /// The line to the control plane.
    #[error("control plane: {0}")]
    Sync(#[from] SyncError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OpenError),
    /// The platform's policies do not compile: a broken build.
    #[error("platform policies: {0:?}")]
    Policy(Box<PolicyProblem>),
    /// The metrics contradict each other: a broken build.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Reads the tool routes, with the secrets they name.
///
/// # Errors
/// If the file cannot be read, or a route cannot be.
pub fn load_tools(config: &Config, environment: &Environment) -> Result<Vec<routes::Route>, BootError> {
    let file = config.tools_file.display().to_string();
    let text =
        std::fs::read_to_string(&config.tools_file).map_err(|error| BootError::Io { what: file.clone(), error })?;
    routes::parse(&text, environment, config.limits.response_bytes).map_err(|error| BootError::Routes { file, error })
}

/// Runs the sidecar until `stop` is cancelled, then ends it in order.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, environment: Environment, stop: CancellationToken) -> Result<(), BootError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let tools = load_tools(&config, &environment)?;
    let tools = Tools::new(tools, &clock, millis(config.timeouts.connect_ms))
        .map_err(|error| BootError::Routes { file: config.tools_file.display().to_string(), error })?;
    let admin = Admin::start(config.listen.admin).await.map_err(|error| io_at("listen.admin", error))?;
    let folder = &config.data.dir;
    let identity = Arc::new(Identity::open(folder, &*entropy)?);
    let kept: Arc<dyn Cache> = Arc::new(SledCache::open(&folder.join("cache"))?);
    let session =
        Session::new(line_settings(&config, &environment), Arc::clone(&identity), clock.clone(), entropy.clone())?;
    let session = Arc::new(session);
    let enrolment = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        enrolment = session.enrolled() => enrolment?,
    };
    tracing::info!(source = %enrolment.source, deployment = enrolment.deployment, "enrolled");

    let platform = Arc::new(PlatformBundle::embedded().map_err(|problem| BootError::Policy(Box::new(problem)))?);
    let first = DecisionSnapshot::build(Snapshot::default(), enrolment.deployment.clone(), None, &platform);
    let snapshots = Arc::new(Snapshots::new(first));
    // A sidecar that starts while the control plane is away decides on what it knew.
    let applier = Arc::new(Applier::restore(Arc::clone(&snapshots), Arc::clone(&kept), Arc::clone(&clock))?);
    let counters = restore_counters(&*kept, &*clock);
    let memory = restore_memory(&*kept, &*clock);
    let outbox = open_outbox(&config, Arc::clone(&identity), &enrolment, &clock, &entropy)?;
    let (outbox, unknown) = (Arc::new(outbox.0), outbox.1);
    let version = applier.applied().version;
    tracing::info!(version, unknown = unknown.len(), boot = %outbox.boot(), "state restored");

    let parts = Parts { clock, entropy, tools, snapshots, memory, counters: Arc::clone(&counters), outbox };
    let engine = Arc::new(engine(&config, parts, unknown)?);
    let report = Arc::new(Reporting { engine: Arc::clone(&engine), counters: Arc::clone(&counters) });
    let checkpoints = Arc::new(Checkpoints::restore(Arc::clone(&kept)));
    let (outbox, entropy) = (Arc::clone(&engine.outbox), Arc::clone(&engine.entropy));
    let sync = Sync { session, applier, outbox, checkpoints, report, entropy };
    let line_stop = CancellationToken::new();
    let (line, line_ends) = (sync.clone(), line_stop.clone());
    let line = tokio::spawn(async move { line.run(line_ends).await });
    let state_stop = CancellationToken::new();
    let state = tokio::spawn(cache::keep_state(kept, export(&engine, counters), state_stop.clone()));
    let running = server::start(&config, Arc::clone(&engine), identity, admin).await;
    let running = running.map_err(|e| io_at("listen.address", e))?;
    tracing::info!(address = config.listen.address, admin = %running.admin, "serving");

    stop.cancelled().await;
    tracing::info!("stopping");
    // The line stays up while calls finish, so that the kill switch still reaches them.
    running.stop().await;
    line_stop.cancel();
    drop(line.await);
    drop(tokio::time::timeout(LAST_ROWS, sync.ship_rest()).await);
    state_stop.cancel();
    drop(state.await);
    tracing::info!("stopped");
    Ok(())
}

struct Parts {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tools: Tools,
    snapshots: Arc<Snapshots>,
    memory: Memory,
    counters: Arc<MemoryCounters>,
    outbox: Arc<Outbox>,
}

fn engine(config: &Config, parts: Parts, unknown: Vec<UnknownCall>) -> Result<Engine, BootError> {
    let Parts { clock, entropy, tools, snapshots, memory, counters, outbox } = parts;
    let metrics = Arc::new(Metrics::new()?);
    let limits = idempotency::Limits {
        ttl: Duration::from_secs(config.idempotency.ttl_s),
        answers_max: config.idempotency.answers_max,
        bytes_max: config.idempotency.bytes_max,
    };
    let path = config.data.dir.join("idempotency");
    let opened = Folder::open(&path)
        .and_then(|folder| KeyRing::open(&folder, KEYS_FILE, limits.answers_max, clock.now(), limits.ttl));
    let (ring, known) = opened.map_err(|e| io_at(&path.display().to_string(), e))?;
    let keys = IdempotencyKeys::kept(Arc::clone(&clock), limits, ring, known);
    // A crash hid the answers of these calls: their keys say so instead of running the tool again.
    for call in unknown {
        if let Some(digest) = call.idempotency {
            let key = Key { tenant_id: call.tenant_id, agent_id: call.agent_id, tool: call.tool, digest };
            keys.remember_unknown(&key, call.execution_id);
        }
    }
    let gate_log = GateLog::new(Arc::clone(&outbox), Arc::clone(&metrics), Arc::clone(&clock), Arc::clone(&entropy));
    Ok(Engine {
        snapshots,
        memory,
        counters,
        settings: Settings { max_staleness: Duration::from_secs(config.timeouts.max_staleness_s) },
        tools: Arc::new(tools),
        filter: OutputFilter::new(),
        outbox,
        gate_log: Arc::new(gate_log),
        keys,
        latency: DecisionLatency::new(Arc::clone(&clock)),
        metrics,
        clock,
        entropy,
    })
}

fn open_outbox(
    config: &Config,
    identity: Arc<Identity>,
    enrolment: &Enrolment,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Outbox, Vec<UnknownCall>), BootError> {
    let path = config.data.dir.join("outbox");
    let disk = Folder::open(&path).map_err(|e| io_at(&path.display().to_string(), e))?;
    let options = Options {
        segment_bytes: config.outbox.segment_bytes,
        max_bytes: config.outbox.bytes_max,
        in_flight_max: u32::try_from(config.limits.concurrent_calls).unwrap_or(u32::MAX),
    };
    let author = Author {
        identity,
        source: enrolment.source,
        boot: BootId::generate(clock.now(), &**entropy),
        software: concat!("aegis-proxy/", env!("CARGO_PKG_VERSION")).into(),
    };
    let (outbox, recovery) = Outbox::open(Arc::new(disk), options, author, Arc::clone(clock), Arc::clone(entropy))?;
    if recovery.torn > 0 {
        tracing::warn!(segments = recovery.torn, "the outbox had torn records at its end");
    }
    Ok((outbox, recovery.unknown))
}

fn restore_counters(kept: &dyn Cache, clock: &dyn Clock) -> Arc<MemoryCounters> {
    let state: Option<HashMap<TenantId, CountersState>> = cache::state(kept, COUNTERS);
    Arc::new(MemoryCounters::restored(state.unwrap_or_default(), clock.now()))
}

fn restore_memory(kept: &dyn Cache, clock: &dyn Clock) -> Memory {
    let agents = (0..PARTS).filter_map(|part| cache::state::<Vec<KeptAgent>>(kept, &behavior_part(part)));
    Memory::with_behavior(BehaviorMemory::restored(agents.flatten(), clock.now()))
}

fn behavior_part(part: usize) -> String {
    format!("{BEHAVIOR}-{part}")
}

fn export(engine: &Arc<Engine>, counters: Arc<MemoryCounters>) -> Export {
    let engine = Arc::clone(engine);
    Arc::new(move |kept: &dyn Cache| {
        cache::set_state(kept, COUNTERS, &counters.export(engine.clock.now()));
        for (part, agents) in engine.memory.behavior().export() {
            cache::set_state(kept, &behavior_part(part), &agents);
        }
    })
}

/// Writes what is to be kept between starts.
type Export = Arc<dyn Fn(&dyn Cache) + Send + std::marker::Sync>;

/// What heartbeats tell.
struct Reporting {
    engine: Arc<Engine>,
    counters: Arc<MemoryCounters>,
}

impl Report for Reporting {
    fn usage(&self) -> Vec<TenantUsage> {
        self.counters.usage(self.engine.clock.now())
    }

    fn decision_latency(&self) -> LatencySummary {
        self.engine.latency.summary()
    }

    fn tools(&self) -> Vec<ToolAnnouncement> {
        self.engine.tools.announcements()
    }
}

fn line_settings(config: &Config, environment: &Environment) -> sync::Settings {
    let named = |path: &std::path::Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    sync::Settings {
        url: config.control.url.clone(),
        ca_file: named(&config.control.ca_file),
        join_token_file: named(&config.control.join_token_file),
        name: name(config, environment),
        public_url: config.public_url.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        connect_timeout: millis(config.timeouts.connect_ms),
    }
}

/// The configured name, else the machine's, in the characters that names have.
fn name(config: &Config, environment: &Environment) -> String {
    let host = environment.get("HOSTNAME").map_or("", String::as_str);
    let wanted = if config.name.is_empty() { host } else { &config.name };
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = wanted.chars().map(plain).take(NAME_MAX).collect();
    if name.is_empty() { "sidecar".into() } else { name }
}

fn io_at(what: &str, error: io::Error) -> BootError {
    BootError::Io { what: what.to_owned(), error }
}
