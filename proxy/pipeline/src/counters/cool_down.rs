//! The cool-down that follows a THROTTLE verdict.

use std::time::Duration;

use aegis_core::time::Timestamp;

use crate::refusal::{LimitReached, LimitType};

/// The first cool-down.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_mins(1);
/// Quiet after the end of a cool-down that lets the next begin at [`FIRST`] again.
const FORGIVEN_AFTER: Duration = Duration::from_mins(1);

/// An agent's cool-down: how long the last one was and when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoolDown {
    pub(crate) length: Duration,
    pub(crate) until: Timestamp,
}

impl CoolDown {
    /// The one that follows `last`.
    pub(crate) fn after(last: Option<Self>, now: Timestamp) -> Self {
        let length =
            last.filter(|last| !last.is_forgiven(now)).map_or(FIRST, |last| (last.length * 2).clamp(FIRST, LONGEST));
        Self { length, until: now.plus(length) }
    }

    /// Whether it no longer counts.
    pub(crate) fn is_forgiven(&self, now: Timestamp) -> bool {
        now.since(self.until) >= FORGIVEN_AFTER
    }

    /// Refuses while it lasts.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), LimitReached> {
        if now >= self.until { Ok(()) } else { Err(self.refusal(now)) }
    }

    pub(crate) fn refusal(&self, now: Timestamp) -> LimitReached {
        LimitReached {
            limit_type: LimitType::Throttled,
            limit: 0,
            reset_at: self.until,
            retry_after: self.until.since(now).min(self.length),
        }
    }
}
