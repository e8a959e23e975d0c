//! Scores as integers: basis points (0–10 000) inside, 0–100 and 0–1 only in answers.

use serde::{Deserialize, Serialize};

/// A score in basis points: 0 is nothing, 10 000 is certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct BasisPoints(u16);

crate::integer_schema!(BasisPoints, 0, 10_000, 4_200);

/// A score above 10 000 basis points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a score is at most 10000 basis points")]
pub struct ScoreTooLarge;

impl BasisPoints {
    /// No risk.
    pub const ZERO: Self = Self(0);
    /// The highest score.
    pub const MAX: Self = Self(10_000);

    /// Clamps to the valid range.
    pub const fn clamp(value: i64) -> Self {
        if value <= 0 {
            Self::ZERO
        } else if value >= 10_000 {
            Self::MAX
        } else {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above and below")]
            Self(value as u16)
        }
    }

    /// From a 0–100 score.
    pub const fn from_percent(percent: u8) -> Self {
        Self::clamp(percent as i64 * 100)
    }

    /// The value, 0–10 000.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Rounded to 0–100, for answers.
    pub const fn as_percent(self) -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 100")]
        let percent = ((self.0 + 50) / 100) as u8;
        percent
    }

    /// `self × other`, both as fractions of one, rounded down.
    #[must_use]
    pub const fn times(self, other: Self) -> Self {
        Self::clamp(self.0 as i64 * other.0 as i64 / 10_000)
    }

    /// As a fraction of one, for answers only: nothing decides on it.
    pub fn as_fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for BasisPoints {
    type Error = ScoreTooLarge;

    fn try_from(value: u16) -> Result<Self, ScoreTooLarge> {
        if value <= 10_000 { Ok(Self(value)) } else { Err(ScoreTooLarge) }
    }
}

impl From<BasisPoints> for u16 {
    fn from(score: BasisPoints) -> Self {
        score.0
    }
}
