//! Tells waiters what has been committed: change numbers and ledger sizes, across replicas.

use std::sync::Arc;

use aegis_core::id::TenantId;
use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, watch};

/// The PostgreSQL channel that replicas tell each other on.
pub(crate) const CHANNEL: &str = "aegis";
/// Ledger notices a slow waiter may fall behind before it must look for itself.
const LEDGER_NOTICES_MAX: usize = 1_024;

/// A tenant's ledger has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerGrew {
    /// The tenant.
    pub tenant: TenantId,
    /// Entries it has now.
    pub size: u64,
}

/// What was committed, told after the commit. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    inner: Arc<Inner>,
}

struct Inner {
    changes: watch::Sender<u64>,
    ledgers: broadcast::Sender<LedgerGrew>,
}

impl Notices {
    pub(crate) fn new(change: u64) -> Self {
        let inner = Inner { changes: watch::Sender::new(change), ledgers: broadcast::Sender::new(LEDGER_NOTICES_MAX) };
        Self { inner: Arc::new(inner) }
    }

    /// The number of the last committed change of snapshot items; changes whenever it grows.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Every growth of a ledger; the same size may be told twice. A receiver that lags must read the ledgers it waits for.
    pub fn ledgers(&self) -> broadcast::Receiver<LedgerGrew> {
        self.inner.ledgers.subscribe()
    }

    pub(crate) fn changed(&self, number: u64) {
        self.inner.changes.send_if_modified(|last| {
            let newer = number > *last;
            *last = number.max(*last);
            newer
        });
    }

    pub(crate) fn ledger_grew(&self, grew: LedgerGrew) {
        // Nobody waiting is no fault.
        drop(self.inner.ledgers.send(grew));
    }

    /// Reads another replica's notice: `c:<number>` or `l:<tenant>:<size>`.
    fn heard(&self, payload: &str) {
        let mut parts = payload.split(':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("c"), Some(number), None) => {
                if let Ok(number) = number.parse() {
                    self.changed(number);
                }
            }
            (Some("l"), Some(tenant), Some(size)) => {
                if let (Ok(tenant), Ok(size)) = (tenant.parse(), size.parse()) {
                    self.ledger_grew(LedgerGrew { tenant, size });
                }
            }
            _ => tracing::warn!(payload, "unreadable notice from another replica"),
        }
    }
}

/// Listens to the other replicas until the store is gone.
pub(crate) fn listen(mut listener: PgListener, notices: &Notices, pool: sqlx::PgPool) -> tokio::task::JoinHandle<()> {
    let notices = notices.clone();
    tokio::spawn(async move {
        loop {
            match listener.try_recv().await {
                Ok(Some(notice)) => notices.heard(notice.payload()),
                // The connection was lost and made again: what was told meanwhile is read from the table.
                Ok(None) => match sqlx::query_scalar("SELECT number FROM change_counter").fetch_one(&pool).await {
                    Ok(number) => notices.changed(i64::cast_unsigned(number)),
                    Err(error) => tracing::warn!(%error, "cannot read the change number"),
                },
                Err(error) => {
                    tracing::warn!(%error, "lost the notices of other replicas");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
            if pool.is_closed() {
                return;
            }
        }
    })
}
