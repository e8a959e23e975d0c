//! A token bucket in whole micro-tokens: exact, without rounding drift.

use std::time::Duration;

use aegis_core::time::Timestamp;

const MICRO: u64 = 1_000_000;

/// What a bucket allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Tokens a second.
    pub(crate) per_second: u32,
    /// Tokens it holds at most.
    pub(crate) burst: u32,
}

impl Rate {
    fn capacity(self) -> u64 {
        u64::from(self.burst) * MICRO
    }

    /// Time until this many micro-tokens have come in; an hour if none ever will.
    fn time_for(self, micro_tokens: u64) -> Duration {
        let micros = micro_tokens.div_ceil(u64::from(self.per_second).max(1));
        if self.per_second == 0 { Duration::from_hours(1) } else { Duration::from_micros(micros) }
    }
}

/// A bucket. A new one is full; one that is full is no different from a new one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// Micro-tokens that are missing: so a bucket whose rate is raised is not suddenly empty.
    missing: u64,
    at: Timestamp,
}

impl Bucket {
    pub(crate) fn full(now: Timestamp) -> Self {
        Self { missing: 0, at: now }
    }

    pub(crate) fn restored(missing: u64, at: Timestamp) -> Self {
        Self { missing, at }
    }

    /// Micro-tokens missing, to be kept over a restart.
    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }

    /// Lets time pass. A clock set back brings nothing in and takes nothing away.
    fn refill(&mut self, rate: Rate, now: Timestamp) {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.missing =
            self.missing.saturating_sub(micros.saturating_mul(u64::from(rate.per_second))).min(rate.capacity());
        self.at = now.max(self.at);
    }

    /// Whether a token is there; if not, how long until one is.
    pub(crate) fn check(&mut self, rate: Rate, now: Timestamp) -> Result<(), Duration> {
        self.refill(rate, now);
        let left = rate.capacity() - self.missing;
        if left >= MICRO { Ok(()) } else { Err(rate.time_for(MICRO - left)) }
    }

    /// Takes a token after a successful [`Self::check`].
    pub(crate) fn take(&mut self) {
        self.missing = self.missing.saturating_add(MICRO);
    }

    /// Whole tokens left.
    pub(crate) fn remaining(&self, rate: Rate) -> u64 {
        rate.capacity().saturating_sub(self.missing) / MICRO
    }

    /// Time until it is full.
    pub(crate) fn full_after(&self, rate: Rate) -> Duration {
        if self.missing == 0 { Duration::ZERO } else { rate.time_for(self.missing) }
    }

    /// Whether nothing would be lost by forgetting it.
    pub(crate) fn is_full(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.refill(rate, now);
        self.missing == 0
    }
}
