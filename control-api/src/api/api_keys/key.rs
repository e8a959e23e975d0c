//! Making, listing, checking and revoking keys.

use std::collections::BTreeSet;

use aegis_core::id::{AgentId, ApiKeyId, TenantId};
use aegis_core::principal::{API_KEY_PREFIX, Scope};
use aegis_core::secret::Secret;
use aegis_core::time::Timestamp;
use aegis_pipeline::credential::api_key_digest;
use aegis_store::api_key::{self, ApiKey};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Level;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, Path, RequestBody};
use crate::record;
use crate::state::App;
use crate::token::opaque;

/// Characters of a key that stay visible.
const PREFIX_LENGTH: usize = 12;

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// What it is called.
    #[schema(min_length = 1, max_length = 100, examples("nightly report"))]
    name: String,
    /// When it ends, in the future; never if absent.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// What it may be used for; `execute` if absent. Never more than its maker may do.
    #[serde(default = "execute")]
    #[schema(value_type = Vec<Scope>)]
    scopes: BTreeSet<Scope>,
    /// The agent it is: with the scope `execute`, and only then.
    #[serde(default)]
    agent_id: Option<AgentId>,
}

fn execute() -> BTreeSet<Scope> {
    BTreeSet::from([Scope::Execute])
}

impl RequestBody for NewKey {
    fn validate(&self, issues: &mut Issues) {
        let fits = (1..=100).contains(&self.name.trim().chars().count());
        issues.check(fits, "name", "must have 1 to 100 characters");
        issues.check(!self.scopes.is_empty(), "scopes", "must not be empty");
        let executes = self.scopes.contains(&Scope::Execute);
        issues.check(!executes || self.agent_id.is_some(), "agent_id", "is required with the scope execute");
        issues.check(executes || self.agent_id.is_none(), "agent_id", "goes with the scope execute only");
    }
}

/// A key without the key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKeyView {
    /// The key.
    id: ApiKeyId,
    /// Its tenant.
    tenant_id: TenantId,
    /// What it is called.
    #[schema(examples("nightly report"))]
    name: String,
    /// Its first characters.
    #[schema(examples("acp_4mV0x9Qa"))]
    key_prefix: String,
    /// What it may be used for.
    scopes: Vec<Scope>,
    /// The agent it is.
    agent_id: Option<AgentId>,
    /// Whether it is in force.
    is_active: bool,
    /// Who made it.
    #[schema(examples("user:0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21"))]
    created_by: String,
    /// When it was made.
    created_at: Timestamp,
    /// When it ends.
    expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    last_used_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
}

impl ApiKeyView {
    fn new(key: ApiKey, now: Timestamp) -> Self {
        Self {
            is_active: key.is_active(now),
            id: key.id,
            tenant_id: key.tenant_id,
            name: key.name,
            key_prefix: key.prefix,
            scopes: key.scopes,
            agent_id: key.agent_id,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MadeKey {
    /// The key itself: shown now and never again.
    #[schema(examples("acp_4mV0x9Qa…"))]
    api_key: String,
    /// What is known of it.
    #[serde(flatten)]
    view: ApiKeyView,
}

/// `GET /api-keys`.
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Answer<Vec<ApiKeyView>>, ApiError> {
    let (tenant, now) = (caller.tenant_id(), app.store.now());
    let keys = api_key::list(&mut *app.store.read(tenant).await?, tenant, now).await?;
    let total = keys.len() as u64;
    Ok(Answer::ok(keys.into_iter().map(|key| ApiKeyView::new(key, now)).collect()).paged(total, None))
}

/// `POST /api-keys`.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewKey>,
) -> Result<Answer<MadeKey>, ApiError> {
    for scope in &new.scopes {
        let level = level_of(*scope);
        if !level.admits(caller.principal()) {
            return Err(ApiError::Forbidden(level));
        }
    }
    let (tenant, text) = (caller.tenant_id(), opaque(API_KEY_PREFIX, &*app.entropy));
    let mut tx = app.store.write(tenant).await?;
    let now = tx.now();
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiError::invalid("expires_at", "must be in the future"));
    }
    let key = ApiKey {
        id: ApiKeyId::generate(now, &*app.entropy),
        tenant_id: tenant,
        name: new.name.trim().to_owned(),
        prefix: text.expose().chars().take(PREFIX_LENGTH).collect(),
        sha256: hex::encode(text.digest()),
        scopes: new.scopes.into_iter().collect(),
        agent_id: new.agent_id,
        created_by: caller.label(),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    api_key::create(&mut tx, &key).await?;
    // Dead right after the commit: nobody has the key; whoever lists it can revoke it.
    tx.record(entry(&caller, "api_key.create", &key)).await?.commit().await?;
    Ok(Answer::created(MadeKey { api_key: text.expose().to_owned(), view: ApiKeyView::new(key, now) }))
}

/// The level that a scope stands for.
const fn level_of(scope: Scope) -> Level {
    match scope {
        Scope::Execute => Level::Execute,
        Scope::Read => Level::Read,
        Scope::Audit => Level::Audit,
        Scope::Write => Level::Write,
    }
}

/// `DELETE /api-keys/{key_id}`. It ends at once, here and on every sidecar.
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ApiKeyId>,
) -> Result<Answer<ApiKeyView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let now = tx.now();
    let gone = api_key::revoke(&mut tx, tenant, id).await?;
    tx.record(entry(&caller, "api_key.revoke", &gone)).await?.commit().await?;
    Ok(Answer::ok(ApiKeyView::new(gone, now)))
}

/// A key to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Validate {
    /// The key.
    #[schema(value_type = String, format = "password", examples("acp_4mV0x9Qa…"))]
    api_key: Secret,
}

impl RequestBody for Validate {
    fn validate(&self, _: &mut Issues) {}
}

/// `POST /api-keys/validate`. A key of another tenant is as unknown as one that never was.
pub(super) async fn validate(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<Validate>,
) -> Result<Answer<ApiKeyView>, ApiError> {
    let (tenant, now) = (caller.tenant_id(), app.store.now());
    let digest = api_key_digest(&body.api_key).ok_or(ApiError::NotFound("api_key"))?;
    let found = api_key::find(&mut *app.store.read(tenant).await?, tenant, &digest).await?;
    let found = found.ok_or(ApiError::NotFound("api_key"))?;
    // An agent learns of its own keys only.
    if caller.only_agent().is_some_and(|own| found.agent_id != Some(own)) {
        return Err(ApiError::NotFound("api_key"));
    }
    Ok(Answer::ok(ApiKeyView::new(found, now)))
}

fn entry(caller: &Caller, action: &str, key: &ApiKey) -> aegis_ledger::entry::Body {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    record::admin(
        caller,
        action,
        format!("api_key:{}", key.id),
        [
            ("name", key.name.as_str().into()),
            ("scopes", scopes.join(", ").into()),
            ("agent_id", key.agent_id.map(|id| id.to_string()).into()),
            ("expires_at", key.expires_at.map(|end| end.to_string()).into()),
        ],
    )
}
