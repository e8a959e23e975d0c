//! The sidecar's line to the control plane: who it is, what it may allow, what it has done.
//!
//! The watch stream brings changes, which are put in force at once and then kept; heartbeats say so; rows are
//! shipped in order. When the control plane is away everything waits except decisions.

mod applier;
mod backoff;
mod checkpoints;
mod client;
mod heartbeat;
mod session;
mod shipper;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::Entropy;
use tokio_util::sync::CancellationToken;

pub use self::applier::{Applied, Applier};
pub use self::checkpoints::Checkpoints;
pub use self::client::SyncError;
pub use self::heartbeat::Report;
pub use self::session::Session;

use crate::outbox::Outbox;

/// How the control plane is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its base URL: `https://…`, `http://` on loopback only, or `unix:/path`.
    pub url: String,
    /// The only certificate authority that is accepted (PEM); the system's if absent.
    pub ca_file: Option<PathBuf>,
    /// The file that holds the join token; read until the sidecar is enrolled.
    pub join_token_file: Option<PathBuf>,
    /// This sidecar's name for people, `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    /// The address clients reach this sidecar at.
    pub public_url: String,
    /// The binary's version.
    pub version: String,
    /// Until a connection stands.
    pub connect_timeout: Duration,
}

/// Everything the line works with.
#[derive(Clone)]
pub struct Sync {
    /// Who this sidecar is.
    pub session: Arc<Session>,
    /// What puts changes in force.
    pub applier: Arc<Applier>,
    /// Rows to ship.
    pub outbox: Arc<Outbox>,
    /// Checkpoints of the rows that were shipped.
    pub checkpoints: Arc<Checkpoints>,
    /// What heartbeats tell.
    pub report: Arc<dyn Report>,
    /// Randomness, for jitter.
    pub entropy: Arc<dyn Entropy>,
}

impl Sync {
    /// Keeps the line until told to stop; returns only then. Rows not yet shipped stay in the outbox.
    pub async fn run(&self, stop: CancellationToken) {
        let line = async { tokio::join!(watch::run(self), heartbeat::run(self), shipper::run(self)) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ended = line => {}
        }
    }

    /// Ships what waits, until nothing does or the first failure; for an orderly end, after [`Outbox::close`].
    pub async fn ship_rest(&self) {
        shipper::ship_rest(self).await;
    }
}

impl std::fmt::Debug for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sync")
    }
}
