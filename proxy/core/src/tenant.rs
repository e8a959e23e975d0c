//! A tenant's settings as both planes use them.

use serde::{Deserialize, Serialize};

use crate::id::{OrgId, TenantId};
use crate::money::MicroUsd;
use crate::score::BasisPoints;
use crate::words;

words! {
    /// What a tenant pays for.
    pub enum Tier {
        /// 60 requests a minute to the management API.
        Basic = "basic",
        /// 300.
        Pro = "pro",
        /// 1 000.
        Enterprise = "enterprise",
    }
}

impl Tier {
    /// Management requests a minute by default.
    pub const fn default_rpm(self) -> u32 {
        match self {
            Self::Basic => 60,
            Self::Pro => 300,
            Self::Enterprise => 1_000,
        }
    }
}

words! {
    /// Whether a tenant is served.
    pub enum TenantStatus {
        /// Served.
        Active = "active",
        /// Refused everywhere.
        Suspended = "suspended",
    }
}

words! {
    /// What happens when baselines or the snapshot are older than the sidecar's `max_staleness`.
    pub enum DegradedModePolicy {
        /// Refuse calls of high risk.
        BlockHighRisk = "block_high_risk",
        /// Refuse every call.
        BlockAll = "block_all",
        /// Go on, and say so in the row.
        AllowWithAudit = "allow_with_audit",
    }
}

/// Limits of a tenant's tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls per second, sustained.
    pub requests_per_second: u32,
    /// Calls in one burst.
    pub burst: u32,
    /// Calls per UTC day.
    pub daily_request_cap: u64,
    /// Calls per UTC month, if capped.
    pub monthly_request_cap: Option<u64>,
    /// Micro-USD per UTC day, if capped.
    pub daily_cost_cap_micro_usd: Option<MicroUsd>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 50,
            burst: 100,
            daily_request_cap: 1_000_000,
            monthly_request_cap: None,
            daily_cost_cap_micro_usd: None,
        }
    }
}

/// Weights of the five decision signals; they sum to 10 000 ± 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalWeights {
    /// Stage 3.
    pub inference: BasisPoints,
    /// Stage 4.
    pub policy: BasisPoints,
    /// Stage 5.
    pub behavior: BasisPoints,
    /// The contract.
    pub autonomy: BasisPoints,
    /// The agent's risk level.
    pub agent_risk_level: BasisPoints,
}

impl Default for SignalWeights {
    fn default() -> Self {
        Self {
            inference: BasisPoints::clamp(2_000),
            policy: BasisPoints::clamp(4_000),
            behavior: BasisPoints::clamp(2_500),
            autonomy: BasisPoints::clamp(1_000),
            agent_risk_level: BasisPoints::clamp(500),
        }
    }
}

/// A tenant as the sidecar knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// The tenant.
    pub id: TenantId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: Tier,
    /// Whether it is served.
    pub status: TenantStatus,
    /// Its limits.
    pub limits: Limits,
    /// What happens when the sidecar is cut off for long.
    pub degraded_mode_policy: DegradedModePolicy,
    /// Its decision weights.
    pub weights: SignalWeights,
    /// Management requests a minute, if other than the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm_limit: Option<u32>,
    /// Whether personal data is redacted from tool answers, secrets being redacted always.
    pub redact_pii: bool,
    /// Whether its users need a second factor to sign in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mfa_enforced: bool,
}

impl TenantRecord {
    /// Management requests a minute that the tenant may make.
    pub fn requests_per_minute(&self) -> u32 {
        self.rpm_limit.unwrap_or(self.tier.default_rpm())
    }
}
