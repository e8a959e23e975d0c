//! Lock-out: wrong attempts are counted by name, and who fails too often waits, longer each time.

use std::hash::Hash;
use std::time::Duration;

use aegis_core::time::Timestamp;
use moka::ops::compute::Op;
use moka::sync::Cache;

/// Names that are remembered at once; the least used are forgotten beyond.
const NAMES_MAX: u64 = 100_000;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// After this long without a failure all is forgotten.
const MEMORY: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// Failures by name.
pub(crate) struct Lockout<K> {
    names: Cache<K, Failures>,
    free: u32,
    first_wait: Duration,
}

impl<K: Hash + Eq + Send + Sync + Clone + 'static> Lockout<K> {
    /// `free` failures cost nothing; the next ones `first_wait`, twice that, and so on.
    pub(crate) fn new(free: u32, first_wait: Duration) -> Self {
        Self { names: Cache::new(NAMES_MAX), free, first_wait }
    }

    /// How long the name must still wait, if it must.
    pub(crate) fn check(&self, name: &K, now: Timestamp) -> Result<(), Duration> {
        let known = self.names.get(name).unwrap_or_default();
        let until = known.last.plus(self.penalty(known.count));
        if known.count > 0 && now < until { Err(until.since(now)) } else { Ok(()) }
    }

    /// Counts an attempt before its outcome is known, so that many at once cannot slip through; if the name must wait,
    /// how long.
    pub(crate) fn attempt(&self, name: &K, now: Timestamp) -> Result<(), Duration> {
        let mut waiting = None;
        self.names.entry_by_ref(name).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value).unwrap_or_default();
            let until = known.last.plus(self.penalty(known.count));
            if known.count > 0 && now < until {
                waiting = Some(until.since(now));
                return Op::Nop;
            }
            let count = if now.since(known.last) > MEMORY { 0 } else { known.count };
            Op::Put(Failures { count: count.saturating_add(1), last: now })
        });
        waiting.map_or(Ok(()), Err)
    }

    /// The attempt was right: all is forgotten.
    pub(crate) fn clear(&self, name: &K) {
        self.names.invalidate(name);
    }

    /// The attempt was right, but others under this name may not have been: one failure less.
    pub(crate) fn forgive(&self, name: &K) {
        self.names.entry_by_ref(name).and_compute_with(|entry| match entry.map(moka::Entry::into_value) {
            Some(known) if known.count > 1 => Op::Put(Failures { count: known.count - 1, ..known }),
            Some(_) => Op::Remove,
            None => Op::Nop,
        });
    }

    fn penalty(&self, count: u32) -> Duration {
        match count.checked_sub(self.free) {
            None | Some(0) => Duration::ZERO,
            Some(over) => self.first_wait.saturating_mul(2_u32.saturating_pow(over - 1)).min(WAIT_MAX),
        }
    }
}

/// Failures by name in a fixed window: so many are answered, the rest is told when the window ends.
pub(crate) struct FailureWindow<K> {
    names: Cache<K, Failures>,
    free: u32,
    window: Duration,
}

impl<K: Hash + Eq + Send + Sync + Clone + 'static> FailureWindow<K> {
    /// `free` failures a `window`.
    pub(crate) fn new(free: u32, window: Duration) -> Self {
        Self { names: Cache::new(NAMES_MAX), free, window }
    }

    /// Counts a failure; beyond the free ones, how long until the window ends.
    pub(crate) fn fail(&self, name: &K, now: Timestamp) -> Result<(), Duration> {
        let mut left = None;
        self.names.entry_by_ref(name).and_compute_with(|entry| {
            // Here `last` is the window's begin.
            let known = entry.map(moka::Entry::into_value).unwrap_or_default();
            let end = known.last.plus(self.window);
            if known.count == 0 || now >= end {
                return Op::Put(Failures { count: 1, last: now });
            }
            if known.count >= self.free {
                left = Some(end.since(now));
                return Op::Nop;
            }
            Op::Put(Failures { count: known.count + 1, ..known })
        });
        left.map_or(Ok(()), Err)
    }

    /// Forgets a name.
    #[cfg(test)]
    pub(crate) fn clear(&self, name: &K) {
        self.names.invalidate(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_and_success_clears() {
        let lockout = Lockout::new(2, Duration::from_secs(10));
        let mut now = Timestamp::from_seconds(1_000_000);
        let name = "ada".to_owned();
        for _ in 0..3 {
            assert_eq!(lockout.attempt(&name, now), Ok(()));
        }
        assert_eq!(lockout.attempt(&name, now), Err(Duration::from_secs(10)));
        assert_eq!(lockout.attempt(&"bob".to_owned(), now), Ok(()));
        now = now.plus(Duration::from_secs(10));
        assert_eq!(lockout.attempt(&name, now), Ok(()));
        assert_eq!(lockout.attempt(&name, now), Err(Duration::from_secs(20)));
        lockout.clear(&name);
        assert_eq!(lockout.attempt(&name, now), Ok(()));
    }

    #[test]
    fn a_window_forgets_at_its_end() {
        let window = FailureWindow::new(2, Duration::from_mins(1));
        let now = Timestamp::from_seconds(1_000_000);
        assert_eq!((window.fail(&1, now), window.fail(&1, now)), (Ok(()), Ok(())));
        assert_eq!(window.fail(&1, now.plus(Duration::from_secs(20))), Err(Duration::from_secs(40)));
        assert_eq!(window.fail(&1, now.plus(Duration::from_mins(1))), Ok(()));
    }

    #[test]
    fn an_hour_without_failure_forgets() {
        let lockout = Lockout::new(1, Duration::from_secs(10));
        let now = Timestamp::from_seconds(1_000_000);
        assert_eq!((lockout.attempt(&1, now), lockout.attempt(&1, now)), (Ok(()), Ok(())));
        let later = now.plus(MEMORY + Duration::from_secs(1));
        assert_eq!((lockout.attempt(&1, later), lockout.attempt(&1, later)), (Ok(()), Ok(())));
    }
}
