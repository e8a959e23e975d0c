//! `dev-credentials.json`: what one needs to use the deployment; the only place where its secrets stand.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, at};
use crate::layout::write_private;

/// The file.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The sidecar: one address for everything.
    pub base_url: String,
    /// The control plane itself.
    pub control_url: String,
    /// The sidecar's liveness, readiness and metrics.
    pub admin_url: String,
    /// The tenant.
    pub tenant_id: String,
    /// The first administrator.
    pub admin: Admin,
    /// The agents, in the order they were made.
    pub agents: Vec<Agent>,
}

/// A person who may do everything.
#[derive(Clone, Serialize, Deserialize)]
pub struct Admin {
    /// Login name.
    pub email: String,
    /// Generated.
    pub password: String,
}

/// An agent that exists.
#[derive(Clone, Serialize, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Generated.
    pub secret: String,
}

impl Credentials {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// If it can't be read or is something else.
    pub fn read(path: &Path) -> Result<Option<Self>, Fault> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| Fault::Json { what: path.display().to_string(), source }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(at(path)(e)),
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| Fault::Json { what: path.display().to_string(), source })?;
        write_private(path, &text)
    }
}
