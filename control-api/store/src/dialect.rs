//! Where the two databases differ in text.

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Ends a `SELECT` whose rows nobody else may change until commit.
    ///
    /// SQLite needs none: its write transactions run one after the other (`BEGIN IMMEDIATE`).
    pub(crate) const fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// A case-insensitive `LIKE` for ASCII.
    pub(crate) const fn ilike(self) -> &'static str {
        match self {
            Self::Sqlite => " LIKE ",
            Self::Postgres => " ILIKE ",
        }
    }
}
