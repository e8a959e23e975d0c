//! A tenant's policy: the platform bundle and the overlay on top of it.

use std::sync::Arc;

use aegis_core::policy::PolicyFile;

use crate::policy::bundle::{PlatformBundle, revision_of};
use crate::policy::check::{overlay_sources, refuse_our_packages};
use crate::policy::input::PolicyInput;
use crate::policy::outcome::PolicyVerdict;
use crate::policy::problem::{PolicyFailure, PolicyProblem};
use crate::policy::ruleset::{Ruleset, Source};
use crate::policy::value::value_of;
use crate::record::{NO_OVERLAY, PolicyInForce};

/// The overlay of a tenant.
#[derive(Debug, Clone)]
pub enum OverlayState {
    /// The tenant has none, or one without rules that count.
    Absent,
    /// In force.
    Ready(Arc<CompiledOverlay>),
    /// It does not compile, and there is no older one to fall back on: every call is refused.
    Broken,
}

/// A compiled overlay.
#[derive(Debug)]
pub struct CompiledOverlay(Ruleset);

/// The policy of one tenant.
#[derive(Debug)]
pub struct TenantPolicy {
    platform: Arc<PlatformBundle>,
    /// Revision of the text the tenant wants.
    wanted: String,
    in_force: PolicyInForce,
    overlay: OverlayState,
    fault: Option<PolicyProblem>,
}

impl TenantPolicy {
    /// Compiles a tenant's files, unless `last` already has them.
    pub(crate) fn build<'a>(
        platform: &Arc<PlatformBundle>,
        files: impl Iterator<Item = &'a PolicyFile> + Clone,
        last: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let wanted = overlay_revision(files.clone());
        if let Some(same) = last.filter(|last| last.wanted == wanted) {
            return Arc::clone(same);
        }
        let in_force =
            |overlay: &str| PolicyInForce { bundle: platform.revision().to_owned(), overlay: overlay.to_owned() };
        let platform = Arc::clone(platform);
        let policy = match compile(&platform, files) {
            Ok(overlay) => Self { platform, in_force: in_force(&wanted), wanted, overlay, fault: None },
            Err(problem) => match last.map(|last| (&last.overlay, &last.in_force)) {
                Some((overlay @ (OverlayState::Absent | OverlayState::Ready(_)), older)) => {
                    Self { platform, in_force: older.clone(), wanted, overlay: overlay.clone(), fault: Some(problem) }
                }
                Some((OverlayState::Broken, _)) | None => Self {
                    platform,
                    in_force: in_force(&wanted),
                    wanted,
                    overlay: OverlayState::Broken,
                    fault: Some(problem),
                },
            },
        };
        Arc::new(policy)
    }

    /// Compiles a tenant's files: to try them, away from any sidecar.
    pub fn compile(platform: &Arc<PlatformBundle>, files: &[PolicyFile]) -> Result<Arc<Self>, PolicyProblem> {
        let policy = Self::build(platform, files.iter(), None);
        match &policy.fault {
            Some(problem) => Err(problem.clone()),
            None => Ok(policy),
        }
    }

    /// The overlay.
    pub fn overlay(&self) -> &OverlayState {
        &self.overlay
    }

    /// What rows name.
    pub fn in_force(&self) -> &PolicyInForce {
        &self.in_force
    }

    /// The revision that could not be put in force, and why.
    pub fn fault(&self) -> Option<(&str, &PolicyProblem)> {
        self.fault.as_ref().map(|problem| (self.wanted.as_str(), problem))
    }

    /// Evaluates platform and overlay and unites what they say.
    pub fn evaluate(&self, input: &PolicyInput<'_>) -> Result<PolicyVerdict, PolicyFailure> {
        let input = value_of(input).map_err(|_| PolicyFailure::Evaluation)?;
        match &self.overlay {
            OverlayState::Broken => Err(PolicyFailure::Broken),
            OverlayState::Absent => self.platform.rules.evaluate(input),
            OverlayState::Ready(overlay) => {
                let platform = self.platform.rules.evaluate(input.clone())?;
                Ok(platform.with_overlay(overlay.0.evaluate(input)?))
            }
        }
    }
}

/// The revision of an overlay of these files, sorted by name: what rows name.
pub fn overlay_revision<'a>(files: impl Iterator<Item = &'a PolicyFile> + Clone) -> String {
    if files.clone().next().is_none() {
        NO_OVERLAY.to_owned()
    } else {
        revision_of(files.map(|f| (f.name.as_str(), f.rego.as_str())))
    }
}

pub(crate) fn compile<'a>(
    platform: &PlatformBundle,
    files: impl Iterator<Item = &'a PolicyFile>,
) -> Result<OverlayState, PolicyProblem> {
    let files: Vec<(String, &str)> = files.map(|file| (format!("{}.rego", file.name), file.rego.as_str())).collect();
    for (file, rego) in &files {
        refuse_our_packages(Source { file, rego })?;
    }
    let own = files.iter().map(|(file, rego)| Source { file, rego });
    let compiled = Ruleset::compile(&overlay_sources(platform, own))?;
    Ok(compiled.map_or(OverlayState::Absent, |rules| OverlayState::Ready(Arc::new(CompiledOverlay(rules)))))
}
