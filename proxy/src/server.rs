//! Starting and stopping: the engine behind its ports, and an end that cuts no accepted call.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp as _;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::config::{Config, millis};
use crate::connection::Deadlines;
use crate::execute::Engine;
use crate::forward::{ControlPlane, Forwarder};
use crate::gate_log;
use crate::identity::Identity;
use crate::inflight::InFlight;
use crate::listener::{self, Listener};
use crate::service::Service;

/// A sidecar that serves.
pub struct Running {
    /// Where agents reach it, if TCP.
    pub address: Option<SocketAddr>,
    /// Its admin port.
    pub admin: SocketAddr,
    engine: Arc<Engine>,
    in_flight: Arc<InFlight>,
    proxy: Arc<HttpProxy<Service>>,
    stop: watch::Sender<bool>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
    gate_log: JoinHandle<()>,
    grace: Duration,
}

/// Binds the agents' port and serves.
///
/// # Errors
/// If a port cannot be bound.
pub async fn start(
    config: &Config,
    engine: Arc<Engine>,
    identity: Arc<Identity>,
    admin: Arc<Admin>,
) -> io::Result<Running> {
    let listener = Listener::bind(&config.listen.address).await?;
    let address = listener.address();
    let in_flight = Arc::new(InFlight::new(config.limits.concurrent_calls, engine.metrics.calls_in_flight.clone()));
    let control = ControlPlane::new(config).ok_or_else(|| io::Error::other("control.url has no host"))?;
    let forwarder = Forwarder { identity, source: engine.outbox.source() };
    let service = Service::new(Arc::clone(&engine), (control, forwarder), Arc::clone(&in_flight), config);
    let ca_file = config.control.ca_file.to_str().filter(|path| !path.is_empty()).map(str::to_owned);
    let conf = Arc::new(ServerConf { threads: config.listen.threads, ca_file, ..ServerConf::default() });
    let proxy = Arc::new(http_proxy(&conf, service));
    let (stop, stopped) = watch::channel(false);
    let connections = TaskTracker::new();
    let deadlines = Deadlines { idle: millis(config.timeouts.idle_ms), header: millis(config.timeouts.header_ms) };
    let accepting = tokio::spawn(listener::serve(
        listener,
        Arc::clone(&proxy),
        (config.limits.connections, deadlines),
        engine.metrics.connections.clone(),
        connections.clone(),
        stopped,
    ));
    admin.show(Arc::clone(&engine), Arc::clone(&in_flight));
    let gate_log = tokio::spawn(write_gate_log(Arc::clone(&engine)));
    Ok(Running {
        address,
        admin: admin.address,
        engine,
        in_flight,
        proxy,
        stop,
        connections,
        accepting,
        gate_log,
        grace: Duration::from_secs(config.timeouts.grace_s),
    })
}

impl Running {
    /// Stops: readiness says no first, nobody new is let in, calls under way finish (for as long as the grace
    /// period allows), and every chain is closed. The admin port answers to the end.
    pub async fn stop(self) {
        self.in_flight.begin_draining();
        self.stop.send_replace(true);
        drop(self.accepting.await);
        // Connections that wait for a request are let go; those that read or serve one go on.
        self.proxy.http_cleanup().await;
        self.connections.close();
        if tokio::time::timeout(self.grace, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "calls were given up after the grace period");
        }
        self.engine.gate_log.flush(self.engine.snapshots.load().data().version).await;
        // Dying before this line is like a crash: the next start closes the chains and settles the intents.
        self.engine.outbox.close("stopped").await;
        self.gate_log.abort();
    }
}

async fn write_gate_log(engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(gate_log::FLUSH_INTERVAL);
    loop {
        tick.tick().await;
        engine.gate_log.flush(engine.snapshots.load().data().version).await;
    }
}
