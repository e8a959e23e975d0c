//! What clients send about policies, and what is wrong with it.

use aegis_core::policy::POLICY_TEXT_MAX;
use aegis_core::words;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::error::Issues;
use crate::extract::RequestBody;

/// Characters of a description at most.
const DESCRIPTION_MAX: usize = 1_000;
/// Characters of a name at most.
const NAME_MAX: usize = 64;

words! {
    /// What an uploaded version is for.
    pub(crate) enum UploadMode {
        /// Put in force at once.
        Active = "active",
        /// Judged beside the active version and recorded, never enforced.
        Shadow = "shadow",
        /// Only kept.
        Draft = "draft",
    }
}

words! {
    /// What an existing version shall be.
    pub(crate) enum ActivationMode {
        /// In force.
        Active = "active",
        /// Judged beside the active version and recorded, never enforced.
        Shadow = "shadow",
        /// Only kept: ends the version's shadow.
        Draft = "draft",
    }
}

/// A policy file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicy {
    /// 1–64 letters, digits and underscores.
    #[schema(pattern = "^[a-zA-Z0-9_]{1,64}$", examples("no_friday_deploys"))]
    pub(super) name: String,
    /// Rego v1, package `aegis.decision`; its `test_*` rules are run.
    #[schema(
        max_length = 262_144,
        examples(
            "package aegis.decision\nimport rego.v1\ndeny contains {\"id\": \"own.deny.friday\", \"severity\": \"high\"} if input.time.weekday == 5\n"
        )
    )]
    pub(super) rego: String,
    #[serde(default)]
    #[schema(max_length = 1_000)]
    pub(super) description: String,
    #[serde(default = "active_upload")]
    #[schema(default = "active")]
    pub(super) mode: UploadMode,
}

const fn active_upload() -> UploadMode {
    UploadMode::Active
}

impl RequestBody for NewPolicy {
    fn validate(&self, issues: &mut Issues) {
        issues.check(is_policy_name(&self.name), "name", "must be 1-64 letters, digits and underscores");
        issues.check(self.rego.len() <= POLICY_TEXT_MAX, "rego", "may have 262144 bytes at most");
        let described = self.description.chars().count() <= DESCRIPTION_MAX;
        issues.check(described, "description", "may have 1000 characters at most");
    }
}

/// Which version shall be what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    #[schema(minimum = 1, examples(1))]
    pub(super) version: u32,
    #[serde(default = "active")]
    #[schema(default = "active")]
    pub(super) mode: ActivationMode,
}

const fn active() -> ActivationMode {
    ActivationMode::Active
}

impl RequestBody for Activation {
    fn validate(&self, issues: &mut Issues) {
        issues.check(self.version >= 1, "version", "must be 1 at least");
    }
}

/// Which version to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionQuery {
    /// The version; by default the active one, else the newest.
    #[param(minimum = 1)]
    pub(super) version: Option<u32>,
}

/// Whether a text is a policy's name.
pub(super) fn is_policy_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
