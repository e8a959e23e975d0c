//! Waiting longer after each failure, never in step with other sidecars.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::{self, Entropy};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

/// The pauses between attempts.
pub(super) struct Backoff {
    entropy: Arc<dyn Entropy>,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(entropy: &Arc<dyn Entropy>) -> Self {
        Self { entropy: Arc::clone(entropy), failures: 0 }
    }

    /// An attempt succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: waits.
    pub(super) async fn pause(&mut self) {
        let pause = self.next();
        tokio::time::sleep(pause).await;
    }

    /// Between half and all of `FIRST · 2ⁿ`, at most [`LONGEST`].
    fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let random = u32::from(u16::from_le_bytes(entropy::random(&*self.entropy)));
        full / 2 + (full / 2).saturating_mul(random) / 0x1_0000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;

    #[test]
    fn pauses_double_within_bounds_and_start_over() {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let mut backoff = Backoff::new(&entropy);
        for n in 0..40 {
            let full = FIRST.saturating_mul(1 << n.min(16)).min(LONGEST);
            let pause = backoff.next();
            assert!(pause >= full / 2 && pause <= full, "{n}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
