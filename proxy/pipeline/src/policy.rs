//! Policies: Rego, compiled once per revision, evaluated under a step and time bound. The only place that knows
//! regorus.
//!
//! The platform bundle and a tenant's overlay are two programs whose results are united. So an overlay can add
//! denies, escalations and conditions, and whatever it says, it cannot drop or change a rule of the platform.

mod bundle;
mod check;
mod input;
mod locate;
mod outcome;
mod problem;
mod ruleset;
mod shadow;
mod tenant;
mod trial;
mod value;

pub use bundle::{PlatformBundle, PlatformFile};
pub use check::{Checked, FAILED_TESTS_MAX, check, check_together};
pub use input::{
    AgentInput, ApprovalInput, BehaviorInput, FindingInput, GrantInput, PolicyInput, PrincipalInput, RequestInput,
    SessionInput, TenantInput, TimeInput, ToolInput, input_schema,
};
pub use locate::{RuleText, locate};
pub use outcome::{PolicyVerdict, RULES_MAX, RuleHit};
pub use problem::{PolicyFailure, PolicyProblem};
pub use shadow::ShadowPolicy;
pub use tenant::{OverlayState, TenantPolicy, overlay_revision};
pub use trial::{CASES_MAX, Case, CaseResult, FileCoverage, TestResult, Trial, try_out};

#[cfg(test)]
mod tests;
