//! What handlers share: built once in `main`, passed everywhere.

use std::net::IpAddr;
use std::sync::Arc;

use aegis_core::entropy::Entropy;
use aegis_core::time::{Clock, Monotonic};
use aegis_pipeline::policy::PlatformBundle;
use aegis_store::Store;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::throttle::AddressLimit;

/// The shared state.
pub(crate) type App = Arc<AppState>;

/// The state itself.
pub(crate) struct AppState {
    /// The configuration.
    pub(crate) config: Config,
    /// Everything that is kept.
    pub(crate) store: Store,
    /// The policies that ship with the product.
    pub(crate) platform: Arc<PlatformBundle>,
    /// The clocks.
    pub(crate) clock: Arc<dyn Clock>,
    /// The randomness.
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The metrics.
    pub(crate) metrics: Metrics,
    /// Requests to public operations by address.
    pub(crate) public_limit: AddressLimit,
    /// When the process started.
    pub(crate) started: Monotonic,
}

impl AppState {
    /// Builds the state.
    pub(crate) fn new(
        config: Config,
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            store,
            platform: Arc::new(PlatformBundle::embedded()?),
            public_limit: AddressLimit::new(config.limits.public_requests_per_second),
            metrics: Metrics::new()?,
            started: clock.monotonic(),
            config,
            clock,
            entropy,
        })
    }

    /// Whether this neighbour's `X-Forwarded-For` is believed.
    pub(crate) fn trusts_proxy(&self, peer: IpAddr) -> bool {
        self.config.listen.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}
