//! Statements, values and rows that are the same on both databases.
//!
//! A statement is text with `$1` placeholders, built of literals only, so nothing from outside can become SQL.
//! Times are µs (`BIGINT`), ids hyphenated text, hashes bytes, words and JSON text.

use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;
use aegis_core::{id, tenant};
use aegis_ledger::hash::Hash;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Postgres, Row as _, Sqlite};

use crate::error::StoreError;

/// Placeholders one statement may have at most: SQLite's limit.
pub(crate) const PLACEHOLDERS_MAX: usize = 32_766;

/// A value to bind. `None` keeps its type, which PostgreSQL wants to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Bool(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A type that can stand in a column.
pub(crate) trait Column: Sized {
    fn into_value(value: Option<Self>) -> Value;
    fn read(row: &Row, name: &str) -> Result<Option<Self>, StoreError>;
}

impl<T: Column> From<T> for Value {
    fn from(value: T) -> Self {
        T::into_value(Some(value))
    }
}

impl<T: Column> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        T::into_value(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

/// A value's JSON text.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::corrupt)
}

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The column, which must not be NULL.
    pub(crate) fn get<T: Column>(&self, name: &str) -> Result<T, StoreError> {
        T::read(self, name)?.ok_or_else(|| StoreError::corrupt(format!("{name} is NULL")))
    }

    /// The column, if it is not NULL.
    pub(crate) fn maybe<T: Column>(&self, name: &str) -> Result<Option<T>, StoreError> {
        T::read(self, name)
    }

    /// A word of one of our enums: `row.word("status", AgentStatus::parse)`.
    pub(crate) fn word<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let text: String = self.get(name)?;
        parse(&text).ok_or_else(|| StoreError::corrupt(format!("{name}: unknown word {text}")))
    }

    /// A value kept as JSON text.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        let text: String = self.get(name)?;
        serde_json::from_str(&text).map_err(|e| StoreError::corrupt(format!("{name}: {e}")))
    }
}

macro_rules! raw_columns {
    ($($type:ty => $variant:ident),+ $(,)?) => {$(
        impl Column for $type {
            fn into_value(value: Option<Self>) -> Value {
                Value::$variant(value)
            }
            fn read(row: &Row, name: &str) -> Result<Option<Self>, StoreError> {
                Ok(match row {
                    Row::Sqlite(row) => row.try_get(name)?,
                    Row::Postgres(row) => row.try_get(name)?,
                })
            }
        }
    )+};
}

raw_columns! { i64 => Int, bool => Bool, String => Text, Vec<u8> => Bytes }

macro_rules! columns {
    ($($type:ty as $raw:ty : $into:expr, $from:expr;)+) => {$(
        impl Column for $type {
            fn into_value(value: Option<Self>) -> Value {
                let into: fn(Self) -> $raw = $into;
                <$raw>::into_value(value.map(into))
            }
            fn read(row: &Row, name: &str) -> Result<Option<Self>, StoreError> {
                let from: fn($raw) -> Option<Self> = $from;
                match <$raw>::read(row, name)? {
                    None => Ok(None),
                    Some(raw) => from(raw).map(Some).ok_or_else(|| StoreError::corrupt(format!("{name} is out of range"))),
                }
            }
        }
    )+};
}

columns! {
    Timestamp as i64: Timestamp::as_micros, |raw| Some(Self::from_micros(raw));
    // Nothing that is counted comes near 2^63; a larger number is kept as the largest.
    u64 as i64: |v| i64::try_from(v).unwrap_or(i64::MAX), |raw| Self::try_from(raw).ok();
    u32 as i64: i64::from, |raw| Self::try_from(raw).ok();
    u16 as i64: i64::from, |raw| Self::try_from(raw).ok();
    u8 as i64: i64::from, |raw| Self::try_from(raw).ok();
    MicroUsd as u64: MicroUsd::as_micros, |raw| Some(Self::from_micros(raw));
    Hash as Vec<u8>: |v| v.as_bytes().to_vec(), |raw| Self::try_from(raw.as_slice()).ok();
    tenant::Tier as String: |v| v.as_str().to_owned(), |raw| Self::parse(&raw);
    tenant::TenantStatus as String: |v| v.as_str().to_owned(), |raw| Self::parse(&raw);
}

macro_rules! id_columns {
    ($($name:ident)+) => {
        columns! { $(id::$name as String: |v| v.to_string(), |raw| raw.parse().ok();)+ }
    };
}

id_columns! {
    TenantId OrgId AgentId UserId ApiKeyId GrantId ExecutionId AuditId SourceId BootId TokenId RefreshFamilyId
    CredentialId JoinTokenId PolicyVersionId ApprovalId ContractId RestrictionId IncidentId ViolationId EventId
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// A statement; values follow by [`Sql::bind`], the first being `$1`.
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// Binds the next placeholder.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Appends text.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends names of columns, comma-separated, each behind `of`: `""`, or a table's alias with its dot.
    pub(crate) fn push_columns(&mut self, of: &'static str, names: &[&'static str]) -> &mut Self {
        for (n, name) in names.iter().enumerate() {
            self.push(if n == 0 { "" } else { ", " }).push(of).push(name);
        }
        self
    }

    /// Appends the next placeholder with its value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Appends `(…)` with placeholders for every value, comma-separated.
    pub(crate) fn push_tuple(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        self.text.push('(');
        let mut first = true;
        for value in values {
            if !first {
                self.text.push_str(", ");
            }
            first = false;
            self.push_bind(value);
        }
        self.text.push(')');
        self
    }

    /// Appends `(…), (…), …`, one tuple a row.
    pub(crate) fn push_rows(&mut self, rows: impl IntoIterator<Item = Vec<Value>>) -> &mut Self {
        let mut first = true;
        for row in rows {
            if !first {
                self.text.push_str(", ");
            }
            first = false;
            self.push_tuple(row);
        }
        self
    }

    pub(crate) fn for_sqlite<'q>(self) -> Query<'q, Sqlite, SqliteArguments> {
        let mut query = sqlx::query(AssertSqlSafe(unnumbered(&self.text).unwrap_or(self.text)));
        for value in self.values {
            query = match value {
                Value::Int(v) => query.bind(v),
                Value::Bool(v) => query.bind(v),
                Value::Text(v) => query.bind(v),
                Value::Bytes(v) => query.bind(v),
            };
        }
        query
    }

    pub(crate) fn for_postgres<'q>(self) -> Query<'q, Postgres, PgArguments> {
        let mut query = sqlx::query(AssertSqlSafe(self.text));
        for value in self.values {
            query = match value {
                Value::Int(v) => query.bind(v),
                Value::Bool(v) => query.bind(v),
                Value::Text(v) => query.bind(v),
                Value::Bytes(v) => query.bind(v),
            };
        }
        query
    }
}

/// The text with `?` for each placeholder, if they are `$1`, `$2`, … in this order.
///
/// SQLite walks a list of all numbered placeholders for each one that is bound, so a statement of 10 000 of them
/// costs their square; `?` has no such list.
fn unnumbered(text: &str) -> Option<String> {
    let mut parts = text.split('$');
    let mut plain = String::with_capacity(text.len());
    plain.push_str(parts.next()?);
    for (n, part) in (1_usize..).zip(parts) {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        if part.strip_suffix(rest)?.parse() != Ok(n) {
            return None;
        }
        plain.push('?');
        plain.push_str(rest);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::unnumbered;

    #[test]
    fn only_placeholders_in_their_order_lose_their_numbers() {
        assert_eq!(unnumbered("SELECT 1").as_deref(), Some("SELECT 1"));
        assert_eq!(unnumbered("VALUES ($1, $2), ($3, $4)").as_deref(), Some("VALUES (?, ?), (?, ?)"));
        assert_eq!(unnumbered("a = $1 OR b = $1"), None);
        assert_eq!(unnumbered("a = $2 AND b = $1"), None);
        assert_eq!(unnumbered("json_extract(a, '$.x') = $1"), None);
    }
}
