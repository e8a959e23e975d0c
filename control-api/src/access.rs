//! Access levels: who may call an operation. Every operation states its level where it is registered.

use aegis_core::principal::{Principal, Role, Scope, Subject};
use aegis_core::words;

words! {
    /// Who may call an operation, within the principal's own tenant.
    pub(crate) enum Level {
        /// Anyone, without a credential.
        Public = "public",
        /// Any authenticated principal; agents and API keys see their own rows only.
        Any = "any",
        /// VIEWER, AUDITOR, SECURITY, ADMIN.
        Read = "read",
        /// AUDITOR, SECURITY, ADMIN.
        Audit = "audit",
        /// SECURITY, ADMIN.
        Write = "write",
        /// ADMIN.
        Admin = "admin",
        /// An agent as itself, SECURITY, ADMIN.
        Execute = "execute",
        /// A sidecar or internal service.
        Service = "service",
        /// A sidecar or internal service, or ADMIN looking on.
        ServiceOrAdmin = "service_or_admin",
        /// A platform administrator.
        Platform = "platform",
    }
}

impl Level {
    /// Whether the principal reaches this level. An API key reaches what its scopes say, never administration.
    pub(crate) fn admits(self, principal: &Principal) -> bool {
        match &principal.subject {
            Subject::ApiKey { .. } => self.admits_scopes(principal.scopes.as_deref().unwrap_or_default()),
            Subject::User(_) | Subject::Agent(_) | Subject::Sidecar(_) => {
                self.admits_role(principal.role) || (self == Self::Platform && principal.platform_admin)
            }
        }
    }

    /// Whether the role alone reaches this level. No role reaches [`Level::Platform`]: that is a claim of its own.
    pub(crate) const fn admits_role(self, role: Role) -> bool {
        match self {
            Self::Public => true,
            Self::Any => !matches!(role, Role::Service),
            Self::Read => matches!(role, Role::Viewer | Role::Auditor | Role::Security | Role::Admin),
            Self::Audit => matches!(role, Role::Auditor | Role::Security | Role::Admin),
            Self::Write => matches!(role, Role::Security | Role::Admin),
            Self::Admin => matches!(role, Role::Admin),
            Self::Execute => matches!(role, Role::Agent | Role::Security | Role::Admin),
            Self::Service => matches!(role, Role::Service),
            Self::ServiceOrAdmin => matches!(role, Role::Service | Role::Admin),
            Self::Platform => false,
        }
    }

    fn admits_scopes(self, scopes: &[Scope]) -> bool {
        let has = |any_of: &[Scope]| any_of.iter().any(|scope| scopes.contains(scope));
        match self {
            Self::Public | Self::Any => true,
            Self::Read => has(&[Scope::Read, Scope::Audit, Scope::Write]),
            Self::Audit => has(&[Scope::Audit, Scope::Write]),
            Self::Write => has(&[Scope::Write]),
            Self::Execute => has(&[Scope::Execute]),
            Self::Admin | Self::Service | Self::ServiceOrAdmin | Self::Platform => false,
        }
    }

    /// Who it is, for the refusal's message and the document.
    pub(crate) const fn audience(self) -> &'static str {
        match self {
            Self::Public => "anyone",
            Self::Any => "any authenticated principal of the tenant",
            Self::Read => "VIEWER, AUDITOR, SECURITY or ADMIN",
            Self::Audit => "AUDITOR, SECURITY or ADMIN",
            Self::Write => "SECURITY or ADMIN",
            Self::Admin => "ADMIN",
            Self::Execute => "an agent as itself, SECURITY or ADMIN",
            Self::Service => "a sidecar or internal service",
            Self::ServiceOrAdmin => "a sidecar or internal service, or ADMIN",
            Self::Platform => "a platform administrator",
        }
    }
}
