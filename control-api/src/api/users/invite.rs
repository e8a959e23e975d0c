//! Invites: sent by mail, or handed over once to whoever invites.

use std::time::Duration;

use aegis_core::id::{TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::secret::Secret;
use aegis_core::tenant::TenantStatus;
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::invite;
use aegis_store::user::{self, User, email_key};
use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::user::{MemberView, check_role};
use crate::api::check_email;
use crate::caller::Caller;
use crate::context::RequestContext;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::state::{App, AppState};
use crate::token::opaque;
use crate::{password, record};

/// What invite tokens begin with.
const INVITE_PREFIX: &str = "aci_";
/// How long an invite can be taken up.
const INVITE_TTL: Duration = Duration::from_hours(24);

/// Whom to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvite {
    /// The address, unique in the tenant.
    #[schema(format = "email")]
    email: String,
    /// `ADMIN`, `SECURITY`, `AUDITOR` or `VIEWER`.
    role: Role,
}

impl RequestBody for NewInvite {
    fn validate(&self, issues: &mut Issues) {
        check_email(&self.email, issues);
        check_role(Some(self.role), issues);
    }
}

words! {
    /// How an invite goes to its user.
    pub(super) enum Delivery {
        /// By mail.
        Mail = "mail",
        /// By whoever invited: the token is in this answer, and nowhere else.
        Token = "token",
    }
}

/// An invited user, with what is needed to come if no mail was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invited {
    /// The user, inactive until it comes.
    #[serde(flatten)]
    user: MemberView,
    /// How the invite goes to its user.
    delivery: Delivery,
    /// The token, shown once; absent if it was mailed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("aci_4mV0…"))]
    invite_token: Option<String>,
    /// Where the token and a new password are posted.
    #[schema(format = "uri")]
    accept_url: String,
    /// When the invite ends.
    expires_at: Timestamp,
}

/// `POST /users/invite`. Inviting again whoever has not come yet replaces the invite.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewInvite>,
) -> Result<Answer<Invited>, ApiError> {
    let (tenant, token) = (caller.tenant_id(), opaque(INVITE_PREFIX, &*app.entropy));
    let mut tx = app.store.write(tenant).await?;
    let (now, expires_at) = (tx.now(), tx.now().plus(INVITE_TTL));
    let invited = User {
        id: UserId::generate(now, &*app.entropy),
        tenant_id: tenant,
        email: email_key(&new.email),
        full_name: None,
        role: new.role,
        platform_admin: false,
        is_active: false,
        password_hash: String::new(),
        created_at: now,
        updated_at: now,
    };
    let invited = invite::put(&mut tx, &invited, &hex::encode(token.digest()), &caller.label(), expires_at).await?;
    let view = MemberView::read(&mut tx, invited.clone()).await?;
    let facts = [("role", invited.role.as_str().into()), ("expires_at", expires_at.to_string().into())];
    let entry = record::admin(&caller, "user.invite", format!("user:{}", invited.id), facts);
    tx.record(entry).await?.commit().await?;
    // Dead here: nobody has the token; inviting again makes another.
    let delivery = deliver(&app, &invited, &token, expires_at).await;
    Ok(Answer::created(Invited {
        user: view,
        delivery,
        invite_token: (delivery == Delivery::Token).then(|| token.expose().to_owned()),
        accept_url: accept_url(&app),
        expires_at,
    }))
}

fn accept_url(app: &AppState) -> String {
    format!("{}/users/invite/accept", app.config.public_base_url.trim_end_matches('/'))
}

/// A mail that cannot be sent leaves the invite to whoever made it.
async fn deliver(app: &AppState, invited: &User, token: &Secret, expires_at: Timestamp) -> Delivery {
    let Some(mail) = &app.mail else { return Delivery::Token };
    let text = format!(
        "You are invited to Aegis.\n\nUntil {expires_at} you can set your password by posting\n\n  \
         {{\"token\": \"{}\", \"password\": \"<12 characters at least>\"}}\n\nas JSON to {}\n",
        token.expose(),
        accept_url(app),
    );
    match mail.send(&invited.email, "Your invitation to Aegis", text).await {
        Ok(()) => Delivery::Mail,
        Err(fault) => {
            tracing::warn!(%fault, user_id = %invited.id, "an invite could not be mailed");
            Delivery::Token
        }
    }
}

/// Taking up an invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Accept {
    /// The invite's token.
    #[schema(value_type = String, examples("aci_4mV0…"))]
    token: Secret,
    /// The new password: 12 characters at least, and not the address.
    #[schema(value_type = String, format = "password", min_length = 12, max_length = 256)]
    password: Secret,
}

impl RequestBody for Accept {
    fn validate(&self, issues: &mut Issues) {
        // The address is not known yet; it is compared when it is.
        if let Some(weakness) = password::weakness(&self.password, "") {
            issues.check(false, "password", weakness);
        }
    }
}

/// The user that came.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// The user, now active.
    user: MemberView,
    /// The tenant to sign in to.
    tenant_id: TenantId,
}

/// `POST /users/invite/accept`. Every reason why a token does not work gives the same answer.
pub(super) async fn accept(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Body(accept): Body<Accept>,
) -> Result<Answer<Accepted>, ApiError> {
    let token_hash = hex::encode(accept.token.digest());
    let mut db = app.store.read_platform().await?;
    let invite = invite::find(&mut db, &token_hash, app.clock.now()).await?.ok_or(ApiError::NotFound("invite"))?;
    let user = user::get(&mut db, invite.tenant_id, invite.user_id).await?.ok_or(ApiError::NotFound("invite"))?;
    drop(db);
    if let Some(weakness) = password::weakness(&accept.password, &user.email) {
        return Err(ApiError::invalid("password", weakness));
    }
    app.directory.settle().await?;
    let tenant = app.directory.record(invite.tenant_id).ok_or(ApiError::NotFound("invite"))?;
    if tenant.status == TenantStatus::Suspended {
        return Err(ApiError::TenantSuspended);
    }
    let password_hash = app.passwords.hash(accept.password).await?;
    let mut tx = app.store.write(invite.tenant_id).await?;
    let user = invite::take(&mut tx, invite.tenant_id, &token_hash, &password_hash).await?;
    let view = MemberView::read(&mut tx, user.clone()).await?;
    let (actor, object) = (format!("user:{}", user.id), format!("user:{}", user.id));
    let entry = record::by(&actor, &context.request_id, "user.accept_invite", object);
    tx.record(entry).await?.commit().await?;
    Ok(Answer::ok(Accepted { user: view, tenant_id: invite.tenant_id }))
}
