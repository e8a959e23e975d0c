//! One open transaction on either database: the only place where statements run.

use aegis_core::id::TenantId;
use sqlx::{Postgres, Sqlite, Transaction};

use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::sql::{Row, Sql};

/// An open transaction. Dropped without commit it is rolled back.
///
/// Store functions take `&mut Conn`; transactions of every kind dereference to it.
pub struct Conn {
    inner: Inner,
}

/// Whose rows a transaction sees and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// One tenant's.
    Tenant(TenantId),
    /// Every tenant's: sign-in, sidecars, platform administration and upkeep.
    Platform,
}

enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Conn {
    pub(crate) fn sqlite(transaction: Transaction<'static, Sqlite>) -> Self {
        Self { inner: Inner::Sqlite(transaction) }
    }

    pub(crate) fn postgres(transaction: Transaction<'static, Postgres>) -> Self {
        Self { inner: Inner::Postgres(transaction) }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; the number of rows it touched.
    pub(crate) async fn execute(&mut self, sql: Sql) -> Result<u64, StoreError> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => sql.for_sqlite().execute(&mut **tx).await?.rows_affected(),
            Inner::Postgres(tx) => sql.for_postgres().execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// Every row of a query; the query bounds how many there can be.
    pub(crate) async fn fetch_all(&mut self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => sql.for_sqlite().fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect(),
            Inner::Postgres(tx) => {
                sql.for_postgres().fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row of a query, if any.
    pub(crate) async fn fetch_optional(&mut self, sql: Sql) -> Result<Option<Row>, StoreError> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => sql.for_sqlite().fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Inner::Postgres(tx) => sql.for_postgres().fetch_optional(&mut **tx).await?.map(Row::Postgres),
        })
    }

    /// The row of a query that always has one.
    pub(crate) async fn fetch_one(&mut self, sql: Sql) -> Result<Row, StoreError> {
        self.fetch_optional(sql).await?.ok_or_else(|| StoreError::corrupt("a row that is always there is missing"))
    }

    /// Says to the database whose rows are seen until the end of the transaction: see `row_security`.
    pub(crate) async fn see(&mut self, sight: Sight) -> Result<(), StoreError> {
        match self.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => {
                let sql = Sql::new("SELECT set_config('aegis.tenant', $1, true), set_config('aegis.scope', $2, true)");
                let (tenant, scope) = match sight {
                    Sight::Tenant(tenant) => (tenant.to_string(), "tenant"),
                    Sight::Platform => (String::new(), "platform"),
                };
                self.execute(sql.bind(tenant).bind(scope)).await.map(drop)
            }
        }
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.inner {
            Inner::Sqlite(tx) => tx.commit().await?,
            Inner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
