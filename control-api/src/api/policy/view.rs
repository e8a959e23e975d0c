//! How policies look in answers.

use aegis_core::time::Timestamp;
use aegis_store::policy::{PolicyMode, PolicySummary, PolicyVersion};
use aegis_store::propagation::Propagation;
use serde::Serialize;
use utoipa::ToSchema;

/// Outcome of a file's `test_*` rules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestsView {
    passed: u32,
    failed: u32,
}

impl From<&PolicyVersion> for TestsView {
    fn from(version: &PolicyVersion) -> Self {
        Self { passed: version.tests_passed, failed: version.tests_failed }
    }
}

/// A version that was uploaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadedView {
    #[schema(examples("no_friday_deploys"))]
    name: String,
    version: u32,
    /// SHA-256 of the text, hex: the revision that rows name.
    revision: String,
    mode: PolicyMode,
    /// The rules it defines, tests left out.
    rules: Vec<String>,
    tests: TestsView,
    created_at: Timestamp,
    created_by: String,
}

impl From<PolicyVersion> for UploadedView {
    fn from(version: PolicyVersion) -> Self {
        Self {
            tests: TestsView::from(&version),
            name: version.name,
            version: version.version,
            revision: version.revision,
            mode: version.mode,
            rules: version.rules,
            created_at: version.created_at,
            created_by: version.created_by,
        }
    }
}

/// A policy in the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyView {
    #[schema(examples("no_friday_deploys"))]
    pub(super) name: String,
    /// The version in force; `null` if none is, or for the platform's own.
    pub(super) active_version: Option<u32>,
    /// The version that is judged beside it; `null` if none is.
    pub(super) shadow_version: Option<u32>,
    pub(super) revision: String,
    pub(super) description: String,
    pub(super) rules: Vec<String>,
    /// `null` for the platform's own.
    pub(super) updated_at: Option<Timestamp>,
    pub(super) updated_by: Option<String>,
    /// Whether it ships with the product and cannot be removed.
    pub(super) platform: bool,
}

impl From<PolicySummary> for PolicyView {
    fn from(policy: PolicySummary) -> Self {
        let PolicySummary { current, shadow_version, updated_at, updated_by } = policy;
        Self {
            active_version: (current.mode == PolicyMode::Active).then_some(current.version),
            shadow_version,
            name: current.name,
            revision: current.revision,
            description: current.description,
            rules: current.rules,
            updated_at: Some(updated_at),
            updated_by: Some(updated_by),
            platform: false,
        }
    }
}

/// One version with its text, and all versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyDetail {
    name: String,
    version: u32,
    rego: String,
    revision: String,
    mode: PolicyMode,
    rules: Vec<String>,
    tests: TestsView,
    /// Newest first.
    versions: Vec<VersionView>,
}

impl PolicyDetail {
    pub(super) fn new(shown: PolicyVersion, versions: Vec<PolicyVersion>) -> Self {
        Self {
            tests: TestsView::from(&shown),
            name: shown.name,
            version: shown.version,
            rego: shown.rego,
            revision: shown.revision,
            mode: shown.mode,
            rules: shown.rules,
            versions: versions.into_iter().map(VersionView::from).collect(),
        }
    }
}

/// A version without its text.
#[derive(Debug, Serialize, ToSchema)]
struct VersionView {
    version: u32,
    mode: PolicyMode,
    revision: String,
    created_at: Timestamp,
    created_by: String,
    description: String,
}

impl From<PolicyVersion> for VersionView {
    fn from(version: PolicyVersion) -> Self {
        Self {
            version: version.version,
            mode: version.mode,
            revision: version.revision,
            created_at: version.created_at,
            created_by: version.created_by,
            description: version.description,
        }
    }
}

/// A version that came to be what was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActivatedView {
    name: String,
    version: u32,
    mode: PolicyMode,
    revision: String,
    /// The sidecars that told, within a second, that they have it in force.
    applied: Vec<SidecarLag>,
}

/// How long a sidecar took.
#[derive(Debug, Serialize, ToSchema)]
struct SidecarLag {
    /// Its name.
    #[schema(examples("eu-1"))]
    sidecar: String,
    /// Milliseconds from the change to its being in force there, as the sidecar measured.
    lag_ms: u64,
}

impl ActivatedView {
    pub(super) fn new(version: PolicyVersion, told: Vec<Propagation>) -> Self {
        let applied = told.into_iter().filter_map(|told| {
            let lag_ms = u64::try_from(told.lag_us? / 1_000).unwrap_or(0);
            Some(SidecarLag { sidecar: told.name, lag_ms })
        });
        Self {
            applied: applied.collect(),
            name: version.name,
            version: version.version,
            mode: version.mode,
            revision: version.revision,
        }
    }
}
