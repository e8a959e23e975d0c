//! Waiting for something to become true, with a deadline.

use std::time::Duration;

use aegis_core::time::{Clock, SystemClock};

/// Between two looks.
pub const POLL: Duration = Duration::from_millis(10);
/// Far beyond what anything takes on a busy machine.
pub const LONG: Duration = Duration::from_mins(1);

/// Asks until the answer is `Some`; how long that took, too.
///
/// Panics with `what` after `limit`.
pub async fn until_within<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
    let clock = SystemClock::new();
    let started = clock.monotonic();
    loop {
        if let Some(found) = ask().await {
            return (found, clock.monotonic().since(started));
        }
        let waited = clock.monotonic().since(started);
        assert!(waited < limit, "still waiting after {waited:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Asks until the answer is `Some`, for [`LONG`] at most.
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(what, LONG, ask).await.0
}
