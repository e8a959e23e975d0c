//! Shadow versions: judged beside the policy in force and recorded, never enforced.

use std::sync::Arc;

use aegis_core::policy::{PolicyFile, SHADOWS_MAX};
use aegis_core::snapshot::TenantSnapshot;

use crate::policy::bundle::PlatformBundle;
use crate::policy::problem::PolicyProblem;
use crate::policy::tenant::{TenantPolicy, overlay_revision};
use crate::record::ShadowVerdict;
use crate::stages::decision::{self, Evidence};
use crate::stages::enforcement::{self, InForce};
use crate::stages::policy::PolicyResult;

/// The tenant's policy with one shadow version in place of the active one of its name.
#[derive(Debug, Clone)]
pub struct ShadowPolicy {
    pub(crate) policy: Arc<TenantPolicy>,
    name: String,
    version: u32,
}

impl ShadowPolicy {
    /// Compiles the tenant's shadow versions, unless `last` has them; and those that do not compile, by revision.
    pub(crate) fn build(
        platform: &Arc<PlatformBundle>,
        tenant: &TenantSnapshot,
        last: &[Self],
    ) -> (Vec<Self>, Vec<(String, PolicyProblem)>) {
        let (mut ready, mut broken) = (Vec::new(), Vec::new());
        for shadow in tenant.shadow_policies.values().take(SHADOWS_MAX) {
            let files = with(tenant, shadow);
            let revision = overlay_revision(files.iter().copied());
            let same = last.iter().find(|old| old.policy.in_force().overlay == revision).map(|old| &old.policy);
            let policy = TenantPolicy::build(platform, files.iter().copied(), same);
            match policy.fault() {
                None => ready.push(Self { policy, name: shadow.name.clone(), version: shadow.version }),
                Some((_, problem)) => broken.push((shadow.revision.clone(), problem.clone())),
            }
        }
        (ready, broken)
    }

    /// What would have been decided.
    pub(crate) fn verdict(&self, evidence: &Evidence<'_>, ruled: &PolicyResult, in_force: &InForce) -> ShadowVerdict {
        let verdict = decision::decide(&Evidence { policy: ruled, ..*evidence });
        ShadowVerdict {
            name: self.name.clone(),
            version: self.version,
            decision: enforcement::effective(&verdict, in_force),
            score: verdict.score,
            rule_ids: verdict.rule_ids,
        }
    }
}

/// The active files, this one in place of its namesake; by name.
fn with<'a>(tenant: &'a TenantSnapshot, shadow: &'a PolicyFile) -> Vec<&'a PolicyFile> {
    let mut files: Vec<&PolicyFile> =
        tenant.policies.values().map(Arc::as_ref).filter(|f| f.name != shadow.name).collect();
    files.push(shadow);
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
