//! The admin port: liveness, readiness, metrics. Not for agents, and without secrets.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aegis_pipeline::snapshot::PolicyFault;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as L4Stream;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::connection::{self, ClientStream, Deadlines};
use crate::execute::Engine;
use crate::inflight::InFlight;

/// Admin connections at once.
const CONNECTIONS_MAX: usize = 64;
/// How long an admin client may take.
const DEADLINES: Deadlines = Deadlines { idle: Duration::from_secs(10), header: Duration::from_secs(5) };
/// After so long without a word from the control plane it counts as away: three of its pings.
const AWAY_AFTER: Duration = Duration::from_secs(3 * aegis_core::sidecar::WATCH_PING_S);

/// The admin port. It answers from the first moment; what it shows comes when the sidecar is enrolled.
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    shown: OnceLock<Shown>,
}

/// What the admin port shows.
struct Shown {
    engine: Arc<Engine>,
    in_flight: Arc<InFlight>,
}

/// A small answer.
struct Page {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Admin {
    /// Binds the port and serves it for as long as the process lives.
    ///
    /// # Errors
    /// If it cannot be bound.
    pub async fn start(address: SocketAddr) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind(address).await?;
        let admin = Arc::new(Self { address: listener.local_addr()?, shown: OnceLock::new() });
        tokio::spawn(Arc::clone(&admin).serve(listener));
        Ok(admin)
    }

    /// Shows this engine from now on.
    pub fn show(&self, engine: Arc<Engine>, in_flight: Arc<InFlight>) {
        // The first engine stays: there is one per process.
        drop(self.shown.set(Shown { engine, in_flight }));
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let admin = Arc::clone(&self);
                    tokio::spawn(async move {
                        drop(admin.answer(ClientStream::new(L4Stream::from(socket), DEADLINES)).await);
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "an admin connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn answer(&self, stream: ClientStream) -> pingora::Result<()> {
        let mut session = ServerSession::new_http1(Box::new(stream));
        if !session.read_request().await? {
            return Ok(());
        }
        connection::header_done(&session);
        let page = self.page(session.req_header().uri.path());
        let mut header = ResponseHeader::build(page.status, Some(4))?;
        header.insert_header("Content-Type", page.content_type)?;
        header.insert_header("Content-Length", page.body.len())?;
        session.set_keepalive(None);
        session.write_response_header(Box::new(header)).await?;
        session.write_response_body(Bytes::from(page.body), true).await?;
        session.shutdown().await;
        Ok(())
    }

    fn page(&self, path: &str) -> Page {
        let json =
            |status, body: serde_json::Value| Page { status, content_type: "application/json", body: body.to_string() };
        match (path, self.shown.get()) {
            ("/livez", _) => json(200, json!({"status": "alive"})),
            ("/readyz" | "/metrics", None) => json(503, json!({"status": "starting"})),
            ("/readyz", Some(shown)) => {
                let (status, body) = shown.readiness();
                json(status, body)
            }
            ("/metrics", Some(shown)) => match shown.metrics() {
                Ok(body) => Page { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body },
                Err(_) => json(500, json!({"error": "internal_error"})),
            },
            _ => json(404, json!({"error": "not_found"})),
        }
    }
}

impl Shown {
    /// 503 only without any snapshot or while draining; else 200, and honest about its state.
    fn readiness(&self) -> (u16, serde_json::Value) {
        let snapshot = self.engine.snapshots.load();
        let outbox = self.engine.outbox.facts();
        let age = self.engine.clock.now().since(snapshot.data().confirmed_at);
        let version = snapshot.data().version;
        let stale = age > self.engine.settings.max_staleness;
        let control_plane_away = age > AWAY_AFTER;
        let faults: Vec<_> = snapshot.faults().iter().map(policy_fault).collect();
        let degraded = control_plane_away || outbox.alarm || !outbox.available || !faults.is_empty();
        let (code, status) = match () {
            () if self.in_flight.is_draining() => (503, "draining"),
            () if version == 0 => (503, "no_snapshot"),
            () if degraded => (200, "degraded"),
            () => (200, "ready"),
        };
        let body = json!({
            "status": status,
            "snapshot_version": version,
            "snapshot_age_s": if version == 0 { None } else { Some(age.as_secs()) },
            "snapshot_stale": version > 0 && stale,
            "control_plane": if control_plane_away { "away" } else { "connected" },
            "policy_faults": faults,
            "outbox_rows": outbox.rows,
            "outbox_bytes": outbox.bytes,
            "outbox_age_ms": outbox.oldest_age_ms,
            "outbox_alarm": outbox.alarm,
            "outbox_available": outbox.available,
        });
        (code, body)
    }

    fn metrics(&self) -> Result<String, prometheus::Error> {
        let metrics = &self.engine.metrics;
        let gauges = &metrics.gauges;
        let outbox = self.engine.outbox.facts();
        let snapshot = self.engine.snapshots.load();
        let age = self.engine.clock.now().since(snapshot.data().confirmed_at);
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (answers, bytes) = self.engine.keys.size();
        let open = self.engine.tools.iter().filter(|tool| tool.breaker.is_open()).count();
        gauges.outbox_rows.set(count(outbox.rows));
        gauges.outbox_bytes.set(count(outbox.bytes));
        gauges.outbox_age_seconds.set(Duration::from_millis(outbox.oldest_age_ms).as_secs_f64());
        gauges.outbox_alarm.set(i64::from(outbox.alarm));
        gauges.outbox_available.set(i64::from(outbox.available));
        gauges.outbox_failures.set(count(outbox.failures));
        gauges.outbox_lost.set(count(outbox.lost));
        gauges.snapshot_version.set(count(snapshot.data().version));
        gauges.snapshot_age_seconds.set(if snapshot.data().version == 0 { -1.0 } else { age.as_secs_f64() });
        gauges.policy_faults.set(i64::try_from(snapshot.faults().len()).unwrap_or(i64::MAX));
        gauges.degraded.set(i64::from(age > AWAY_AFTER));
        gauges.idempotency_answers.set(i64::try_from(answers).unwrap_or(i64::MAX));
        gauges.idempotency_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        gauges.circuits_open.set(i64::try_from(open).unwrap_or(i64::MAX));
        metrics.text()
    }
}

/// Which policy is not in force, why, and whether an older one goes on in its place; nothing of its text.
fn policy_fault(fault: &PolicyFault) -> serde_json::Value {
    json!({
        "tenant_id": fault.tenant_id,
        "revision": fault.revision,
        "file": fault.problem.file,
        "line": fault.problem.line,
        "column": fault.problem.column,
        "older_in_force": fault.older_in_force,
    })
}
