//! Money as integer micro-USD.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in millionths of a US dollar. Serialised as an integer; name the field `…_micro_usd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(u64);

crate::integer_schema!(MicroUsd, 0, MICRO_USD_MAX, 1_250_000);

/// The largest amount that is accepted anywhere: one billion dollars.
pub const MICRO_USD_MAX: u64 = 1_000_000_000_000_000;

/// A text that is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an amount in USD between 0 and 1000000000")]
pub struct InvalidAmount;

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From millionths of a dollar.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Millionths of a dollar.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// From a JSON number or decimal string of dollars (`1`, `0.25`, `1e-3`), rounded up to a micro-dollar.
    pub fn parse_usd(text: &str) -> Result<Self, InvalidAmount> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().map_err(|_| InvalidAmount)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: String = [whole, fraction].concat();
        if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidAmount);
        }
        let value: u128 = digits.parse().map_err(|_| InvalidAmount)?;
        let shift = 6_i32
            .checked_add(exponent)
            .and_then(|s| s.checked_sub(i32::try_from(fraction.len()).ok()?))
            .ok_or(InvalidAmount)?;
        let micros = if value == 0 {
            0
        } else if let Ok(up) = u32::try_from(shift) {
            10_u128.checked_pow(up).and_then(|p| value.checked_mul(p)).ok_or(InvalidAmount)?
        } else {
            10_u128.checked_pow(shift.unsigned_abs()).map_or(1, |p| value.div_ceil(p))
        };
        u64::try_from(micros).ok().filter(|m| *m <= MICRO_USD_MAX).map(Self).ok_or(InvalidAmount)
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, zero at least.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for MicroUsd {
    /// Dollars with six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_parse_exactly_and_round_up() {
        for (text, micros) in
            [("0", 0), ("1", 1_000_000), ("0.25", 250_000), ("1e-3", 1_000), ("0.0000001", 1), ("2.5E2", 250_000_000)]
        {
            assert_eq!(MicroUsd::parse_usd(text), Ok(MicroUsd(micros)), "{text}");
        }
        for text in ["", "-1", "x", ".", "1e400", "1000000001", "NaN"] {
            assert_eq!(MicroUsd::parse_usd(text), Err(InvalidAmount), "{text}");
        }
    }
}
