//! The snapshot made ready for decisions: policies compiled, token keys gathered.

use std::collections::HashMap;
use std::sync::Arc;

use aegis_core::id::TenantId;
use aegis_core::snapshot::{Snapshot, TokenKey};

use crate::credential::TokenKeys;
use crate::policy::{OverlayState, PlatformBundle, PolicyProblem, ShadowPolicy, TenantPolicy};

/// A tenant's policy text that could not be put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The revision that does not compile.
    pub revision: String,
    /// What is wrong with it.
    pub problem: PolicyProblem,
    /// Whether an older revision goes on; otherwise every call of the tenant is refused.
    pub older_in_force: bool,
}

/// Everything stages 0–7 read, immutable; swapped whole.
#[derive(Debug)]
pub struct DecisionSnapshot {
    data: Snapshot,
    deployment: String,
    token_keys: HashMap<String, Arc<TokenKey>>,
    policies: HashMap<TenantId, Arc<TenantPolicy>>,
    shadows: HashMap<TenantId, Vec<ShadowPolicy>>,
    faults: Vec<PolicyFault>,
    platform: Arc<PlatformBundle>,
}

impl DecisionSnapshot {
    /// Makes a snapshot ready. Compiles only overlays that differ from `previous`; an overlay that does not
    /// compile leaves the last good one in force (or, if there is none, a tenant whose calls are refused with
    /// `policy_error`) and is listed in [`Self::faults`]. Takes milliseconds per changed overlay: not for the
    /// hot path.
    ///
    /// `deployment` is the issuer of the tokens that are accepted.
    pub fn build(
        data: Snapshot,
        deployment: impl Into<String>,
        previous: Option<&Self>,
        platform: &Arc<PlatformBundle>,
    ) -> Self {
        let mut policies = HashMap::new();
        let mut shadows = HashMap::new();
        let mut token_keys = HashMap::new();
        let mut faults = Vec::new();
        for (tenant_id, tenant) in data.tenants() {
            token_keys.extend(tenant.token_keys.iter().map(|(kid, key)| (kid.clone(), key.clone())));
            let previous = previous.filter(|p| Arc::ptr_eq(&p.platform, platform));
            let last = previous.and_then(|p| p.policies.get(&tenant_id));
            let policy = TenantPolicy::build(platform, tenant.policies.values().map(Arc::as_ref), last);
            if let Some((revision, problem)) = policy.fault() {
                faults.push(PolicyFault {
                    tenant_id,
                    revision: revision.to_owned(),
                    problem: problem.clone(),
                    older_in_force: !matches!(policy.overlay(), OverlayState::Broken),
                });
            }
            policies.insert(tenant_id, policy);
            let last = previous.map(|p| p.shadows(tenant_id)).unwrap_or_default();
            let (ready, broken) = ShadowPolicy::build(platform, tenant, last);
            if !ready.is_empty() {
                shadows.insert(tenant_id, ready);
            }
            // Beside a shadow that does not compile the policy in force goes on as if there were none.
            faults.extend(broken.into_iter().map(|(revision, problem)| PolicyFault {
                tenant_id,
                revision,
                problem,
                older_in_force: true,
            }));
        }
        let platform = Arc::clone(platform);
        Self { data, deployment: deployment.into(), token_keys, policies, shadows, faults, platform }
    }

    /// The facts.
    pub fn data(&self) -> &Snapshot {
        &self.data
    }

    /// The deployment: issuer of the tokens that are accepted.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// Policies that could not be put in force.
    pub fn faults(&self) -> &[PolicyFault] {
        &self.faults
    }

    /// The platform bundle.
    pub fn platform(&self) -> &Arc<PlatformBundle> {
        &self.platform
    }

    /// The versions to judge beside the policy in force.
    pub(crate) fn shadows(&self, tenant_id: TenantId) -> &[ShadowPolicy] {
        self.shadows.get(&tenant_id).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn policy(&self, tenant_id: TenantId) -> Option<&Arc<TenantPolicy>> {
        self.policies.get(&tenant_id)
    }
}

impl TokenKeys for DecisionSnapshot {
    fn token_key(&self, kid: &str) -> Option<&TokenKey> {
        self.token_keys.get(kid).map(Arc::as_ref)
    }
}
