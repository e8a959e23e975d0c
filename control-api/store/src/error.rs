//! The one error of the store.

use aegis_ledger::entry::EntryError;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing in this tenant.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// It contradicts what is stored.
    #[error("{what}: {reason}")]
    Conflict {
        /// What was to be written: `agent`, `tenant`, …
        what: &'static str,
        /// A stable identifier of the contradiction: `name_taken`, …
        reason: &'static str,
    },
    /// The argument cannot be stored; `reason` is a stable identifier.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// What was to be written.
        what: &'static str,
        /// A stable identifier of the fault.
        reason: &'static str,
    },
    /// The database cannot be reached or is overloaded; trying again may help.
    #[error("database unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused a statement.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// What is stored cannot be read as what it should be.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// A ledger entry could not be encoded.
    #[error("ledger entry: {0}")]
    Entry(#[from] EntryError),
    /// A key file cannot be read or written.
    #[error("key file {path}: {reason}")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The record of what was signed cannot be read or written.
    #[error("checkpoint record {path}: {reason}")]
    Record {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The configured database is not one that the store speaks.
    #[error("database url: {0}")]
    Url(String),
}

impl StoreError {
    /// Whether this is a unique constraint's refusal: somebody else wrote the same key first.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(e)) => e.is_unique_violation(),
            _ => false,
        }
    }

    /// Turns a unique constraint's refusal into a [`StoreError::Conflict`].
    #[must_use]
    pub fn unique_as(self, what: &'static str, reason: &'static str) -> Self {
        if self.is_unique_violation() { Self::Conflict { what, reason } } else { self }
    }

    pub(crate) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error)
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Database(error),
        }
    }
}
