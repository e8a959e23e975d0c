//! Listing, changing and deactivating users.

use std::collections::HashSet;

use aegis_core::id::{TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::time::Timestamp;
use aegis_store::user::{self, USERS_PAGE_MAX, User, UserFilter};
use aegis_store::{Conn, invite, refresh, revocation, totp};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Level;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, Path, Query, RequestBody};
use crate::record;
use crate::state::App;

/// A user without its secrets.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as the API names them")]
pub(super) struct MemberView {
    /// The user.
    id: UserId,
    /// The address.
    #[schema(format = "email")]
    email: String,
    /// The name.
    #[schema(examples("Ada Lovelace"))]
    full_name: Option<String>,
    /// What it may do.
    role: Role,
    /// The tenant.
    tenant_id: TenantId,
    /// Whether it may sign in.
    is_active: bool,
    /// Whether it was invited and has not come yet.
    is_pending: bool,
    /// Whether it administers the platform.
    platform_admin: bool,
    /// Whether its second factor is in force.
    mfa_enabled: bool,
    /// When it was made.
    created_at: Option<Timestamp>,
}

impl MemberView {
    fn new(user: User, is_pending: bool, mfa_enabled: bool) -> Self {
        Self {
            id: user.id,
            email: user.email,
            full_name: user.full_name,
            role: user.role,
            tenant_id: user.tenant_id,
            is_active: user.is_active,
            is_pending,
            platform_admin: user.platform_admin,
            mfa_enabled,
            created_at: Some(user.created_at),
        }
    }

    /// Reads what belongs to the user beside its row.
    pub(super) async fn read(db: &mut Conn, user: User) -> Result<Self, ApiError> {
        let is_pending = invite::is_pending(db, user.tenant_id, user.id).await?;
        let mfa = totp::confirmed(db, user.tenant_id).await?.contains(&user.id);
        Ok(Self::new(user, is_pending, mfa))
    }
}

/// Which users to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Of this role only, in any case.
    role: Option<String>,
    /// Those that may sign in, or those that may not.
    is_active: Option<bool>,
    /// How many at most.
    #[serde(default = "page")]
    #[param(default = 100, minimum = 1, maximum = 1_000)]
    limit: u32,
    /// How many to pass over.
    #[serde(default)]
    #[param(default = 0, maximum = 1_000_000)]
    offset: u32,
}

const fn page() -> u32 {
    100
}

impl ListQuery {
    fn filter(&self) -> Result<UserFilter, ApiError> {
        let mut issues = Issues::default();
        let role = self.role.as_ref().map(|text| Role::parse(&text.to_uppercase()));
        if role == Some(None) {
            issues.note("value_error", &["query", "role"], "must be ADMIN, SECURITY, AUDITOR, VIEWER or AGENT");
        }
        if !(1..=USERS_PAGE_MAX).contains(&self.limit) {
            issues.note("value_error", &["query", "limit"], "must be between 1 and 1000");
        }
        if self.offset > 1_000_000 {
            issues.note("value_error", &["query", "offset"], "must be 1000000 at most");
        }
        issues.into_result()?;
        Ok(UserFilter { role: role.flatten(), is_active: self.is_active })
    }
}

/// `GET /users`.
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Answer<Vec<MemberView>>, ApiError> {
    let (filter, tenant) = (query.filter()?, caller.tenant_id());
    let mut db = app.store.read(tenant).await?;
    let (users, total) = user::list(&mut db, tenant, filter, query.limit, query.offset.into()).await?;
    let with_mfa: HashSet<UserId> = totp::confirmed(&mut db, tenant).await?.into_iter().collect();
    let pending: HashSet<UserId> = invite::pending(&mut db, tenant).await?.into_iter().collect();
    let views = users.into_iter().map(|user| {
        let (is_pending, mfa) = (pending.contains(&user.id), with_mfa.contains(&user.id));
        MemberView::new(user, is_pending, mfa)
    });
    Ok(Answer::ok(views.collect()).paged(total, None))
}

/// What to change of a user; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    /// `ADMIN`, `SECURITY`, `AUDITOR` or `VIEWER`.
    #[serde(default)]
    role: Option<Role>,
    /// Whether it may sign in.
    #[serde(default)]
    is_active: Option<bool>,
    /// Whether it administers the platform: only platform administrators say.
    #[serde(default)]
    #[schema(examples(json!(null)))]
    platform_admin: Option<bool>,
}

impl RequestBody for UserChange {
    fn validate(&self, issues: &mut Issues) {
        check_role(self.role, issues);
    }
}

/// Notes roles that no person has.
pub(super) fn check_role(role: Option<Role>, issues: &mut Issues) {
    let is_person = !matches!(role, Some(Role::Agent | Role::Service));
    issues.check(is_person, "role", "agents and services are not users: register an agent instead");
}

/// `PATCH /users/{user_id}`. Tokens issued before say nothing of the new role: they are void.
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
    Body(change): Body<UserChange>,
) -> Result<Answer<MemberView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let before = user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
    if change.is_active == Some(true) && invite::is_pending(&mut tx, tenant, id).await? {
        return Err(ApiError::conflict("invite_pending", "the user has not taken up the invite yet"));
    }
    let after = User {
        role: change.role.unwrap_or(before.role),
        is_active: change.is_active.unwrap_or(before.is_active),
        platform_admin: change.platform_admin.unwrap_or(before.platform_admin),
        ..before.clone()
    };
    if after == before {
        return Ok(Answer::ok(MemberView::read(&mut tx, before).await?));
    }
    check_platform(&caller, &before, &after)?;
    let after = user::update(&mut tx, &after).await?;
    let view = MemberView::read(&mut tx, after.clone()).await?;
    tx.record(entry(&caller, "user.update", &after)).await?.commit().await?;
    Ok(Answer::ok(view))
}

/// `DELETE /users/{user_id}`. Sessions end at once, here and on every sidecar.
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
) -> Result<Answer<MemberView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let before = user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
    let after = User { is_active: false, ..before.clone() };
    check_platform(&caller, &before, &after)?;
    invite::withdraw(&mut tx, tenant, id).await?;
    let after = user::update(&mut tx, &after).await?;
    let view = MemberView::read(&mut tx, after.clone()).await?;
    tx.record(entry(&caller, "user.delete", &after)).await?.commit().await?;
    Ok(Answer::ok(view))
}

/// `DELETE /users/{user_id}/totp`, for who lost it. Its sessions end: whoever goes on proves itself anew.
pub(super) async fn reset_totp(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
) -> Result<Answer<MemberView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let user = user::get(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("user"))?;
    if user.platform_admin && !caller.principal().platform_admin {
        return Err(ApiError::Forbidden(Level::Platform));
    }
    if !totp::remove(&mut tx, tenant, id).await? {
        return Err(ApiError::NotFound("totp"));
    }
    let now = tx.now();
    revocation::user(&mut tx, id);
    refresh::revoke_by_user(&mut tx, tenant, id, now).await?;
    let view = MemberView::read(&mut tx, user.clone()).await?;
    tx.record(entry(&caller, "user.reset_totp", &user)).await?.commit().await?;
    Ok(Answer::ok(view))
}

/// Platform administrators are made and unmade by platform administrators only.
fn check_platform(caller: &Caller, before: &User, after: &User) -> Result<(), ApiError> {
    let concerns_platform = before.platform_admin || after.platform_admin;
    if concerns_platform && before != after && !caller.principal().platform_admin {
        return Err(ApiError::Forbidden(Level::Platform));
    }
    Ok(())
}

fn entry(caller: &Caller, action: &str, user: &User) -> aegis_ledger::entry::Body {
    record::admin(
        caller,
        action,
        format!("user:{}", user.id),
        [
            ("role", user.role.as_str().into()),
            ("is_active", user.is_active.into()),
            ("platform_admin", user.platform_admin.into()),
        ],
    )
}
