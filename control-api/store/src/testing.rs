//! Throw-away stores for tests: SQLite in a temporary folder, and a real PostgreSQL that lives as long as the
//! test process.
