//! Days: UTC, counted from 1970-01-01, written `YYYY-MM-DD`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::{MICROS_PER_DAY, Timestamp};

/// A day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

/// A text that is not a date `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a date YYYY-MM-DD")]
pub struct InvalidDay;

/// The day that everything counts from.
const EPOCH: jiff::civil::Date = jiff::civil::Date::constant(1970, 1, 1);

impl Day {
    /// The day an instant lies in.
    pub const fn of(instant: Timestamp) -> Self {
        Self(instant.day())
    }

    /// From whole days since 1970-01-01.
    pub const fn from_number(days: i64) -> Self {
        Self(days)
    }

    /// Whole days since 1970-01-01.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Its first instant.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(MICROS_PER_DAY))
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The day before.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    fn date(self) -> jiff::civil::Date {
        EPOCH.saturating_add(jiff::Span::new().try_days(self.0).unwrap_or_default())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let date: jiff::civil::Date = text.parse().map_err(|_| InvalidDay)?;
        let midnight = jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()));
        let day = Self::of(Timestamp::from_micros(midnight.map_err(|_| InvalidDay)?.as_microsecond()));
        // Other spellings of the same day are refused.
        if day.to_string() == text { Ok(day) } else { Err(InvalidDay) }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

crate::text_schema!(Day, "date", "2026-01-15");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip_and_have_one_spelling() {
        for text in ["1970-01-01", "1969-12-31", "2024-02-29", "2026-01-15"] {
            assert_eq!(text.parse::<Day>().unwrap().to_string(), text);
        }
        let day: Day = "2024-02-29".parse().unwrap();
        assert_eq!(day.next().to_string(), "2024-03-01");
        assert_eq!(day.start().to_string(), "2024-02-29T00:00:00.000000Z");
        assert_eq!(Day::of(Timestamp::from_micros(day.next().start().as_micros() - 1)), day);
        for text in ["2024-02-30", "20240229", "2024-2-9", "2024-02-29T00:00:00Z", " 2024-02-29", "+002024-02-29", ""] {
            assert_eq!(text.parse::<Day>(), Err(InvalidDay), "{text}");
        }
    }
}
