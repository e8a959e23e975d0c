//! Sums and maxima over the recent past, in whole buckets of time.

use std::collections::VecDeque;

use aegis_core::score::BasisPoints;
use aegis_core::time::{MICROS_PER_HOUR, MICROS_PER_SECOND, Timestamp};

use crate::stages::behavior::kept::Buckets;

/// The last of them, as many as a window has.
fn newest<T>(mut kept: Buckets<T>, span: i64) -> VecDeque<(i64, T)> {
    let surplus = kept.len().saturating_sub(usize::try_from(span).unwrap_or(0));
    kept.drain(..surplus);
    kept.into()
}

/// Counts over the last `span` buckets of `width` microseconds.
#[derive(Debug)]
pub(crate) struct WindowSum {
    width: i64,
    span: i64,
    /// Bucket number and its sum, oldest first; at most `span` of them.
    buckets: VecDeque<(i64, u64)>,
}

impl WindowSum {
    pub(crate) fn seconds(span: i64) -> Self {
        Self { width: MICROS_PER_SECOND, span, buckets: VecDeque::new() }
    }

    pub(crate) fn hours(span: i64) -> Self {
        Self { width: MICROS_PER_HOUR, span, buckets: VecDeque::new() }
    }

    /// With buckets as they were kept.
    #[must_use]
    pub(crate) fn with(mut self, kept: Buckets<u64>) -> Self {
        self.buckets = newest(kept, self.span);
        self
    }

    /// The buckets, to be kept.
    pub(crate) fn buckets(&self) -> Buckets<u64> {
        self.buckets.iter().copied().collect()
    }

    pub(crate) fn add(&mut self, amount: u64, now: Timestamp) {
        let bucket = now.as_micros().div_euclid(self.width);
        match self.buckets.back_mut() {
            // A clock set back adds to the newest bucket: nothing is forgotten for it.
            Some((last, sum)) if *last >= bucket => *sum = sum.saturating_add(amount),
            _ => self.buckets.push_back((bucket, amount)),
        }
        while self.buckets.front().is_some_and(|(first, _)| *first <= bucket - self.span) {
            self.buckets.pop_front();
        }
    }

    pub(crate) fn sum(&self, now: Timestamp) -> u64 {
        let newest = now.as_micros().div_euclid(self.width);
        let recent = self.buckets.iter().filter(|(bucket, _)| *bucket > newest - self.span);
        recent.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    /// The bucket of this moment.
    pub(crate) fn this_hour(&self, now: Timestamp) -> u64 {
        let newest = now.as_micros().div_euclid(self.width);
        self.buckets.back().filter(|(bucket, _)| *bucket >= newest).map_or(0, |(_, sum)| *sum)
    }

    /// Mean of the buckets before this one, over those since the first one seen; none if there are fewer than two.
    pub(crate) fn mean_before(&self, now: Timestamp) -> Option<u64> {
        let newest = now.as_micros().div_euclid(self.width);
        let before = || self.buckets.iter().filter(|(bucket, _)| *bucket < newest && *bucket > newest - self.span);
        let since = newest - before().next()?.0;
        let sum = before().fold(0_u64, |sum, (_, amount)| sum.saturating_add(*amount));
        u64::try_from(since).ok().filter(|hours| *hours >= 2).map(|hours| sum / hours)
    }
}

/// The maximum over the last `span` buckets of `width` microseconds.
#[derive(Debug)]
pub(crate) struct WindowMax {
    width: i64,
    span: i64,
    /// Bucket number and its maximum, oldest first, falling: what a later one exceeds is dropped.
    buckets: VecDeque<(i64, BasisPoints)>,
}

impl WindowMax {
    pub(crate) fn minutes(span: i64) -> Self {
        Self { width: 60 * MICROS_PER_SECOND, span, buckets: VecDeque::new() }
    }

    pub(crate) fn hours(span: i64) -> Self {
        Self { width: MICROS_PER_HOUR, span, buckets: VecDeque::new() }
    }

    /// With buckets as they were kept.
    #[must_use]
    pub(crate) fn with(mut self, kept: Buckets<BasisPoints>) -> Self {
        self.buckets = newest(kept, self.span);
        self
    }

    /// The buckets, to be kept.
    pub(crate) fn buckets(&self) -> Buckets<BasisPoints> {
        self.buckets.iter().copied().collect()
    }

    pub(crate) fn add(&mut self, value: BasisPoints, now: Timestamp) {
        let bucket =
            now.as_micros().div_euclid(self.width).max(self.buckets.back().map_or(i64::MIN, |(last, _)| *last));
        while self.buckets.back().is_some_and(|(_, smaller)| *smaller <= value) {
            self.buckets.pop_back();
        }
        // Of one bucket the greater value stands already.
        if self.buckets.back().is_none_or(|(last, _)| *last != bucket) {
            self.buckets.push_back((bucket, value));
        }
        while self.buckets.front().is_some_and(|(first, _)| *first <= bucket - self.span) {
            self.buckets.pop_front();
        }
    }

    pub(crate) fn max(&self, now: Timestamp) -> BasisPoints {
        let newest = now.as_micros().div_euclid(self.width);
        self.buckets
            .iter()
            .find(|(bucket, _)| *bucket > newest - self.span)
            .map_or(BasisPoints::ZERO, |(_, value)| *value)
    }
}
