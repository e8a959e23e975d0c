//! Users with passwords.

use aegis_core::id::{OrgId, TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_store::user::{self, User, email_key};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::session::check_account;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::record;
use crate::state::App;

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// The address, unique in the tenant.
    #[schema(format = "email")]
    email: String,
    /// The password: 12 characters at least, and not the address.
    #[schema(value_type = String, format = "password", min_length = 12, max_length = 256)]
    password: Secret,
    /// The tenant: the caller's own, any for a platform administrator.
    tenant_id: TenantId,
    /// The tenant's organisation, if named.
    #[serde(default)]
    org_id: Option<OrgId>,
    /// The name.
    #[serde(default)]
    #[schema(max_length = 200, examples("Ada Lovelace"))]
    full_name: Option<String>,
    /// `ADMIN`, `SECURITY`, `AUDITOR` or `VIEWER`.
    #[serde(default = "viewer")]
    role: Role,
}

fn viewer() -> Role {
    Role::Viewer
}

impl RequestBody for NewUser {
    const OWN_FIELDS: &'static [&'static str] = &["tenant_id"];

    fn validate(&self, issues: &mut Issues) {
        check_account(&self.email, &self.password, issues);
        issues.check(self.full_name.as_ref().is_none_or(|n| n.chars().count() <= 200), "full_name", "is too long");
        let is_person = !matches!(self.role, Role::Agent | Role::Service);
        issues.check(is_person, "role", "agents and services are not users: register an agent instead");
    }
}

/// A user without its secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserView {
    /// The user.
    pub(super) id: Uuid,
    /// The address; agents and services have none.
    #[schema(format = "email")]
    pub(super) email: Option<String>,
    /// The name.
    #[schema(examples("Ada Lovelace"))]
    pub(super) full_name: Option<String>,
    /// What it may do.
    pub(super) role: Role,
    /// The tenant.
    pub(super) tenant_id: TenantId,
    /// Whether it may sign in.
    pub(super) is_active: bool,
    /// When it was made.
    pub(super) created_at: Option<Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id.as_uuid(),
            email: Some(user.email),
            full_name: user.full_name,
            role: user.role,
            tenant_id: user.tenant_id,
            is_active: user.is_active,
            created_at: Some(user.created_at),
        }
    }
}

/// `POST /auth/users`.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewUser>,
) -> Result<Answer<UserView>, ApiError> {
    let tenant = app.directory.record(new.tenant_id).ok_or(ApiError::NotFound("tenant"))?;
    if new.org_id.is_some_and(|org| org != tenant.org_id) {
        return Err(ApiError::invalid("org_id", "is not the tenant's organisation"));
    }
    let password_hash = app.passwords.hash(new.password).await?;
    let mut tx = app.store.write(new.tenant_id).await?;
    let now = tx.now();
    let user = User {
        id: UserId::generate(now, &*app.entropy),
        tenant_id: new.tenant_id,
        email: email_key(&new.email),
        full_name: new.full_name,
        role: new.role,
        platform_admin: false,
        is_active: true,
        password_hash,
        created_at: now,
        updated_at: now,
    };
    user::create(&mut tx, &user).await?;
    let entry =
        record::admin(&caller, "user.create", format!("user:{}", user.id), [("role", user.role.as_str().into())]);
    tx.record(entry).await?.commit().await?;
    Ok(Answer::created(user.into()))
}
