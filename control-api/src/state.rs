//! What handlers share: built once in `main`, passed everywhere.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::Entropy;
use aegis_core::id::{ApiKeyId, SourceId, TenantId};
use aegis_core::time::{Clock, Monotonic};
use aegis_ledger::signing::PublicKey;
use aegis_pipeline::credential::TokenCache;
use aegis_pipeline::policy::PlatformBundle;
use aegis_store::publish::Publisher;
use aegis_store::{Store, token_key};
use moka::sync::Cache;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::api::STREAMS_MAX;
use crate::config::Config;
use crate::directory::Directory;
use crate::lockout::{FailureWindow, Lockout};
use crate::mail::Mail;
use crate::metrics::Metrics;
use crate::password::Passwords;
use crate::presence::{PRESENCES_MAX, Presence};
use crate::sidecar::{STALE_AFTER, WATCHES_MAX};
use crate::throttle::{AddressLimit, TenantLimit};
use crate::token::TokenSigner;

/// Failed logins of one account before it must wait.
const ACCOUNT_FAILURES_FREE: u32 = 5;
/// Failed logins from one address before it must wait.
const ADDRESS_FAILURES_FREE: u32 = 25;
/// Wrong credentials from one address in one window before further ones are told to wait.
const WRONG_CREDENTIALS_FREE: u32 = 25;
/// That window.
const WRONG_CREDENTIALS_WINDOW: Duration = Duration::from_mins(1);
/// Exports that run at once.
const EXPORTS_MAX: usize = 8;
/// The folder below the data folder that records what was signed.
const RECORDS: &str = "checkpoints";
/// Sidecars whose keys are at hand at once.
const SIDECAR_KEYS_MAX: u64 = 10_000;
/// API keys whose use is remembered at once.
const KEYS_NOTED_MAX: u64 = 100_000;
/// How often the use of an API key is written down at most.
const NOTED_EVERY: Duration = Duration::from_mins(1);
/// The first wait; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// The shared state.
pub(crate) type App = Arc<AppState>;

/// The state itself.
pub(crate) struct AppState {
    /// The configuration.
    pub(crate) config: Config,
    /// Everything that is kept.
    pub(crate) store: Store,
    /// Signs and publishes checkpoints and daily roots.
    pub(crate) publisher: Publisher,
    /// The policies that ship with the product.
    pub(crate) platform: Arc<PlatformBundle>,
    /// The clocks.
    pub(crate) clock: Arc<dyn Clock>,
    /// The randomness.
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Tenants, revocations and keys, in memory.
    pub(crate) directory: Arc<Directory>,
    /// Tokens verified lately.
    pub(crate) token_cache: TokenCache,
    /// Issues tokens.
    pub(crate) signer: TokenSigner,
    /// Sends mail, if configured.
    pub(crate) mail: Option<Mail>,
    /// API keys whose use was noted lately.
    pub(crate) keys_noted: Cache<ApiKeyId, ()>,
    /// Checks passwords.
    pub(crate) passwords: Passwords,
    /// Failed logins by account.
    pub(crate) account_lockout: Lockout<(TenantId, String)>,
    /// Failed logins by address.
    pub(crate) address_lockout: Lockout<IpAddr>,
    /// Wrong credentials by address.
    pub(crate) wrong_credentials: FailureWindow<IpAddr>,
    /// Comings and goings of sidecars.
    pub(crate) presence: broadcast::Sender<Presence>,
    /// Turns for watch streams.
    pub(crate) watches: Arc<Semaphore>,
    /// Turns for exports.
    pub(crate) exports: Arc<Semaphore>,
    /// Turns for event streams.
    pub(crate) event_streams: Arc<Semaphore>,
    /// Identity keys of the sidecars that are connected.
    pub(crate) sidecar_keys: Cache<SourceId, PublicKey>,
    /// The metrics.
    pub(crate) metrics: Metrics,
    /// Requests to public operations by address.
    pub(crate) public_limit: AddressLimit,
    /// Requests by tenant.
    pub(crate) tenant_limit: TenantLimit,
    /// Ends when the process is asked to stop.
    pub(crate) stopping: CancellationToken,
    /// When the process started.
    pub(crate) started: Monotonic,
}

impl AppState {
    /// Builds the state on an open store.
    pub(crate) async fn new(
        config: Config,
        store: Store,
        signer: TokenSigner,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        token_key::publish(&store, signer.key(), "introduced").await?;
        Ok(Self {
            directory: Arc::new(Directory::load(store.clone()).await?),
            publisher: Publisher::new(store.clone(), &config.deployment, &config.data.dir.join(RECORDS))?,
            store,
            platform: Arc::new(PlatformBundle::embedded()?),
            token_cache: TokenCache::default(),
            signer,
            mail: Mail::new(&config.smtp)?,
            keys_noted: Cache::builder().max_capacity(KEYS_NOTED_MAX).time_to_live(NOTED_EVERY).build(),
            passwords: Passwords::new(Arc::clone(&entropy))?,
            account_lockout: Lockout::new(ACCOUNT_FAILURES_FREE, FIRST_WAIT),
            address_lockout: Lockout::new(ADDRESS_FAILURES_FREE, FIRST_WAIT),
            wrong_credentials: FailureWindow::new(WRONG_CREDENTIALS_FREE, WRONG_CREDENTIALS_WINDOW),
            presence: broadcast::Sender::new(PRESENCES_MAX),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            event_streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            sidecar_keys: Cache::builder().max_capacity(SIDECAR_KEYS_MAX).time_to_live(STALE_AFTER).build(),
            metrics: Metrics::new()?,
            public_limit: AddressLimit::new(config.limits.public_requests_per_second),
            tenant_limit: TenantLimit::default(),
            stopping: CancellationToken::new(),
            started: clock.monotonic(),
            config,
            clock,
            entropy,
        })
    }

    /// Whether this neighbour's `X-Forwarded-For` is believed without a proof.
    pub(crate) fn trusts_proxy(&self, peer: IpAddr) -> bool {
        self.config.listen.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}
