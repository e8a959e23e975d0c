//! Means, shares and percentiles as answers show them. Nothing decides on them.

use aegis_store::tally::Tally;

/// Mean score of the calls, 0–100 with two decimals; 0 without calls.
pub(crate) fn mean_risk(tally: &Tally) -> f64 {
    mean(tally.risk_sum, tally.calls)
}

/// A mean with two decimals; 0 of nothing.
pub(crate) fn mean(sum: u64, count: u64) -> f64 {
    ratio(sum, count, 100.0).unwrap_or(0.0)
}

/// A part of a whole, 0–1 with four decimals; 0 of nothing.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    rate(part, whole).unwrap_or(0.0)
}

/// A part of a whole, 0–1 with four decimals; absent where there is no whole.
pub(crate) fn rate(part: u64, whole: u64) -> Option<f64> {
    ratio(part, whole, 10_000.0)
}

/// A part of a whole, 0–100 with two decimals; 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    ratio(part.saturating_mul(100), whole, 100.0).unwrap_or(0.0)
}

/// Rounds to four decimals.
pub(crate) fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn ratio(part: u64, whole: u64, precision: f64) -> Option<f64> {
    if whole == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let ratio = part as f64 / whole as f64;
    Some((ratio * precision).round() / precision)
}

/// The nearest-rank percentile of values with their counts, both rising by value; absent without values.
pub(crate) fn percentile<T: Copy>(counted: &[(T, u64)], percent: u64) -> Option<T> {
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    let rank = total.saturating_mul(percent).div_ceil(100).max(1);
    let mut seen = 0;
    counted.iter().find_map(|(value, count)| {
        seen += count;
        (seen >= rank).then_some(*value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let counted = [(3_u8, 1), (5, 2), (9, 7)];
        assert_eq!([0, 10, 11, 30, 31, 100].map(|p| percentile(&counted, p)), [3, 3, 5, 5, 9, 9].map(Some));
        assert_eq!(percentile::<u8>(&[], 50), None);
    }

    #[test]
    fn nothing_of_nothing_is_nothing() {
        assert_eq!((mean(0, 0), share(0, 0), percent(0, 0), rate(0, 0)), (0.0, 0.0, 0.0, None));
        assert_eq!((mean(10, 4), share(1, 3), percent(1, 3)), (2.5, 0.3333, 33.33));
    }
}
