//! A tenant's policy text as it travels to the sidecar.

use serde::{Deserialize, Serialize};

/// Bytes one policy file may have at most.
pub const POLICY_TEXT_MAX: usize = 262_144;

/// Shadow versions that a tenant may have judged beside its policy at once: each costs one more evaluation a call.
pub const SHADOWS_MAX: usize = 3;

/// One active file of a tenant's policy overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// The policy's name in the tenant: `[a-zA-Z0-9_]{1,64}`.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// SHA-256 of the text, hex: the revision that rows name.
    pub revision: String,
    /// The Rego text.
    pub rego: String,
}
