//! The one-command local deployment: the sample tools, and the supervisor of everything that runs.

pub mod tools;
