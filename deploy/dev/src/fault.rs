//! Why the local deployment could not be started, in words for the person at the terminal.

use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// One of our binaries is not where it should be.
    #[error("{0} does not exist; build it with `cargo build --release` (make run does)")]
    MissingBinary(PathBuf),
    /// A port is taken.
    #[error("port {port} ({part}) is in use; stop what uses it, or choose other ports with --port-base")]
    PortTaken {
        /// The port.
        port: u16,
        /// Who wants it.
        part: &'static str,
    },
    /// Another `aegis-dev` works in the folder.
    #[error("another aegis-dev is running on {0}")]
    FolderTaken(PathBuf),
    /// A part did not come up.
    #[error("{part} did not become ready; the end of {log}:\n{tail}")]
    NotReady {
        /// The part.
        part: &'static str,
        /// Its log file.
        log: PathBuf,
        /// The last lines.
        tail: String,
    },
    /// The control plane's bootstrap failed.
    #[error("bootstrap of the control plane failed: {0}")]
    Bootstrap(String),
    /// There is a control plane but nobody knows its password any more.
    #[error("{0} holds a control plane, but dev-credentials.json is missing; put it back or remove the folder")]
    CredentialsLost(PathBuf),
    /// An API call failed.
    #[error("{call}: {problem}")]
    Api {
        /// Method and path.
        call: String,
        /// Status and error, or what the client says.
        problem: String,
    },
    /// A JSON text is not what it should be.
    #[error("{what}: {source}")]
    Json {
        /// Which text.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The machine said no.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The demonstration did not go as expected.
    #[error("{0} of the demonstration's outcomes differ from what was expected")]
    Unexpected(usize),
    /// A part stopped for good while the demonstration ran, or it was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// Attaches a path to an I/O error.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Fault {
    let path = path.into();
    move |source| Fault::File { path, source }
}
