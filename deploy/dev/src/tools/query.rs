//! `db.query`: one SQL statement, parsed before it runs, bounded in rows, bytes and time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sqlparser::ast::Statement;
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column as _, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _};

use super::fault::ToolFault;

/// Rows in one answer at most.
pub const ROWS_MAX: usize = 1_000;
/// Bytes of values in one answer at most.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long one statement may run.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes of a statement at most.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// The payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// One SQL statement.
    pub query: String,
}

/// A statement that stays inside the shop database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Answers with rows.
    Read(String),
    /// Changes the database.
    Write(String),
}

impl Checked {
    /// Parses the text: one statement, and none that reaches outside the database file.
    ///
    /// # Errors
    /// `bad_payload` if it is not one SQL statement, `outside_sandbox` if it opens files or changes settings.
    pub fn parse(text: &str) -> Result<Self, ToolFault> {
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(ToolFault::BadPayload(format!("`query` is longer than {STATEMENT_BYTES_MAX} bytes")));
        }
        let mut statements =
            Parser::parse_sql(&SQLiteDialect {}, text).map_err(|e| ToolFault::BadPayload(e.to_string()))?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(ToolFault::BadPayload("`query` must hold exactly one statement".into()));
        };
        match statement {
            Statement::Query(_) | Statement::Explain { .. } => Ok(Self::Read(text.to_owned())),
            Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::CreateTable(_)
            | Statement::CreateIndex(_)
            | Statement::CreateView(_)
            | Statement::AlterTable(_)
            | Statement::Drop { .. } => Ok(Self::Write(text.to_owned())),
            _ => Err(ToolFault::OutsideSandbox(
                "only SELECT, EXPLAIN, INSERT, UPDATE, DELETE and CREATE, ALTER, DROP of tables, views and indexes run here".into(),
            )),
        }
    }

    /// Runs the statement.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<Value, ToolFault> {
        match self {
            Self::Read(text) => read(connection, text).await,
            Self::Write(text) => {
                let done =
                    sqlx::query(AssertSqlSafe(text)).persistent(false).execute(connection).await.map_err(explain)?;
                Ok(json!({ "rows_affected": done.rows_affected() }))
            }
        }
    }
}

async fn read(connection: &mut SqliteConnection, text: String) -> Result<Value, ToolFault> {
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut truncated = false;
    let mut stream = sqlx::query(AssertSqlSafe(text)).persistent(false).fetch(connection);
    while let Some(row) = stream.try_next().await.map_err(explain)? {
        if rows.len() == ROWS_MAX || bytes > ANSWER_BYTES_MAX {
            truncated = true;
            break;
        }
        if columns.is_empty() {
            columns = row.columns().iter().map(|c| c.name().to_owned()).collect();
        }
        let (object, size) = row_object(&row)?;
        bytes += size;
        rows.push(object);
    }
    Ok(json!({ "columns": columns, "row_count": rows.len(), "rows": rows, "truncated": truncated }))
}

fn row_object(row: &SqliteRow) -> Result<(Value, usize), ToolFault> {
    let mut object = Map::new();
    let mut bytes = 0;
    for (index, column) in row.columns().iter().enumerate() {
        let (value, size) = cell(row, index)?;
        bytes += size;
        object.insert(column.name().to_owned(), value);
    }
    Ok((Value::Object(object), bytes))
}

fn cell(row: &SqliteRow, index: usize) -> Result<(Value, usize), ToolFault> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok((Value::Null, 4));
    }
    // SQLite types values, not columns: what matters is what this cell holds.
    Ok(match raw.type_info().name() {
        "INTEGER" => (Value::from(row.try_get_unchecked::<i64, _>(index)?), 8),
        "REAL" => (Value::from(row.try_get_unchecked::<f64, _>(index)?), 8),
        "BLOB" => {
            let blob: Vec<u8> = row.try_get_unchecked(index)?;
            (json!({ "base64": BASE64.encode(&blob) }), blob.len())
        }
        _ => {
            let text: String = row.try_get_unchecked(index)?;
            let size = text.len();
            (Value::String(text), size)
        }
    })
}

fn explain(error: sqlx::Error) -> ToolFault {
    match error {
        sqlx::Error::Database(e) if e.message() == "interrupted" => {
            ToolFault::LimitReached(format!("the statement ran longer than {} s", STATEMENT_TIME_MAX.as_secs()))
        }
        sqlx::Error::Database(e) => ToolFault::Sql(e.message().to_owned()),
        other => ToolFault::Database(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_statements_about_the_database_itself_run() {
        assert!(matches!(Checked::parse("SELECT 1"), Ok(Checked::Read(_))));
        assert!(matches!(Checked::parse("WITH a AS (SELECT 1) SELECT * FROM a"), Ok(Checked::Read(_))));
        assert!(matches!(Checked::parse("DELETE FROM orders WHERE id = 1"), Ok(Checked::Write(_))));
        assert!(matches!(Checked::parse("DROP TABLE orders"), Ok(Checked::Write(_))));
        for hostile in ["ATTACH DATABASE '/etc/x' AS x", "PRAGMA journal_mode = OFF", "VACUUM INTO '/tmp/x'"] {
            assert!(Checked::parse(hostile).is_err(), "{hostile}");
        }
        for broken in ["", "SELECT 1; SELECT 2", "SELEKT 1"] {
            assert!(matches!(Checked::parse(broken), Err(ToolFault::BadPayload(_))), "{broken}");
        }
    }
}
