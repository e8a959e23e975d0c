//! A disk in memory for tests: fails, dies and loses power where told.
