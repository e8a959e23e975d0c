//! The tags of the OpenAPI document, spelled as clients know them.

use aegis_core::words;

words! {
    /// A group of operations.
    pub(crate) enum Tag {
        /// Tokens, credentials, users, tenants.
        Auth = "auth",
        /// People of the tenant.
        Users = "users",
        /// Long-lived credentials of programs.
        ApiKeys = "API Keys",
        /// The tenants of the deployment.
        Admin = "admin",
        /// Agents and their permissions.
        Agents = "agents",
        /// Tools that are announced, granted or seen.
        Registry = "registry",
        /// The audit log.
        Audit = "audit",
        /// Kill switch and decisions.
        Decision = "decision",
        /// Risk over time, and what it is weighed by.
        Risk = "risk",
        /// Policy files.
        Policy = "policy",
        /// Signed receipts.
        Receipts = "receipts",
        /// Checkpoints, tiles, proofs and daily roots.
        Transparency = "transparency",
        /// Limits and consumption of the tenant.
        Tenant = "tenant",
        /// Governed tool calls, served by sidecars.
        Execution = "execution",
        /// The tenant's event stream.
        Events = "events",
        /// Health and status.
        Ops = "ops",
        /// Sidecars and other services.
        Internal = "internal",
    }
}

impl Tag {
    /// One sentence for readers of the document.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Auth => "Tokens, agent credentials, users and tenants.",
            Self::Users => "People of the tenant: invites, roles, deactivation.",
            Self::ApiKeys => "Long-lived credentials of programs, usable here and on sidecars.",
            Self::Admin => "The tenants of the deployment, for platform administrators.",
            Self::Agents => "Agents and the tools they may use.",
            Self::Registry => "Tools that sidecars announce, that are granted or that were seen.",
            Self::Audit => "The audit log: search, summaries, explanation, verification.",
            Self::Decision => "The kill switch and what was decided.",
            Self::Risk => "Risk over time, threats, the weights of the decision, and what is worth a look.",
            Self::Policy => "Policy files, their tests and versions.",
            Self::Receipts => "Signed receipts of decisions and the keys that verify them.",
            Self::Transparency => {
                "Checkpoints, tiles, proofs and daily roots: what makes the ledger verifiable by others."
            }
            Self::Tenant => "Limits and consumption of the caller's tenant.",
            Self::Execution => "Governed tool calls. Served by sidecars; the control plane answers 421.",
            Self::Events => "What happens in the tenant, as it happens.",
            Self::Ops => "Liveness, health and public status.",
            Self::Internal => "Used by sidecars and services; not reachable through a sidecar.",
        }
    }
}
