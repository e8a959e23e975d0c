//! The caller of a request: the one place where credential, tenant, agent and level are checked, in this order.
//!
//! Every operation that is not public is wrapped by [`admit`] when it is registered, so a handler cannot forget it;
//! the [`Caller`] that handlers receive exists only after all checks have passed.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::{AgentId, ApiKeyId, RequestId, TenantId};
use aegis_core::principal::{Claims, Principal, Subject};
use aegis_core::tenant::TenantStatus;
use aegis_core::time::Timestamp;
use aegis_store::api_key;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::access::Level;
use crate::context::RequestContext;
use crate::credential::{self, Presented, Verified};
use crate::error::ApiError;
use crate::state::App;

/// The header that names the tenant.
pub(crate) const TENANT_HEADER: &str = "x-tenant-id";
/// The header that names the agent.
pub(crate) const AGENT_HEADER: &str = "x-agent-id";

/// An admitted caller. Made by [`admit`] only.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    principal: Arc<Principal>,
    claims: Option<Arc<Claims>>,
    tenants: Arc<[TenantId]>,
    tenant_id: TenantId,
    request_id: RequestId,
}

impl Caller {
    /// Who it is.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The tenant it acts in.
    pub(crate) fn tenant_id(&self) -> TenantId {
        self.tenant_id
    }

    /// The tenants it speaks for: one, or several for a sidecar.
    pub(crate) fn tenants(&self) -> &[TenantId] {
        &self.tenants
    }

    /// How long its token is still good; for ever without one.
    pub(crate) fn credential_left(&self, now: Timestamp) -> Duration {
        self.principal.token.map_or(Duration::MAX, |(_, end)| end.since(now))
    }

    /// Whether its credential is still not revoked.
    pub(crate) fn still_holds(&self, app: &App) -> bool {
        credential::still_holds(app, &self.principal, self.claims.as_deref())
    }

    /// The name that rows carry.
    pub(crate) fn label(&self) -> String {
        self.principal.label()
    }

    /// The request, for rows.
    pub(crate) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// The agent whose rows alone it may see, if it is one.
    pub(crate) fn only_agent(&self) -> Option<AgentId> {
        self.principal.agent()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::bug("caller", &"the operation is public"))
    }
}

/// What [`admit`] needs to know of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    /// Who may call it.
    pub(crate) level: Level,
    /// Whether `X-Tenant-ID` may be absent (event stream, sidecars).
    pub(crate) tenant_optional: bool,
    /// Whether the token may stand in the query string (event stream).
    pub(crate) query_token: bool,
}

/// Lets a request pass if its caller may call the operation, and puts the [`Caller`] beside it.
pub(crate) async fn admit(
    State((app, gate)): State<(App, Gate)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = check(&app, gate, &parts).await?;
    parts.extensions.insert(caller);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

async fn check(app: &App, gate: Gate, request: &Parts) -> Result<Caller, ApiError> {
    let context = request.extensions.get::<RequestContext>();
    let context = context.ok_or_else(|| ApiError::bug("caller", &"no request context"))?;
    let presented = Presented::find(&request.headers, gate.query_token.then(|| request.uri.query()).flatten())?;
    let Verified { principal, tenants, claims } = credential::verify(app, &presented, context.client).await?;
    let tenant_id = tenant(&request.headers, &tenants, gate.tenant_optional)?.unwrap_or(principal.tenant_id);
    agent(&request.headers, &principal)?;
    let record = app.directory.record(tenant_id).ok_or(ApiError::TenantMismatch)?;
    match record.status {
        TenantStatus::Active => {}
        TenantStatus::Suspended if principal.platform_admin => {}
        TenantStatus::Suspended => return Err(ApiError::TenantSuspended),
    }
    app.tenant_limit.check(&record, &principal, app.clock.now())?;
    if is_write(&request.method) {
        presented.check_csrf(&request.headers)?;
    }
    if !gate.level.admits(&principal) {
        return Err(ApiError::Forbidden(gate.level));
    }
    if let Subject::ApiKey { id, .. } = principal.subject {
        note_use(app, tenant_id, id);
    }
    Ok(Caller {
        principal: Arc::new(principal),
        claims: claims.map(Arc::new),
        tenants: tenants.into(),
        tenant_id,
        request_id: context.request_id.clone(),
    })
}

/// Writes down that an API key was used, now and then and beside the request.
fn note_use(app: &App, tenant: TenantId, key: ApiKeyId) {
    if app.keys_noted.contains_key(&key) {
        return;
    }
    app.keys_noted.insert(key, ());
    let (app, now) = (Arc::clone(app), app.clock.now());
    tokio::spawn(async move {
        let noted = async {
            let mut db = app.store.upkeep_of(tenant).await?;
            api_key::note_use(&mut db, tenant, key, now).await?;
            db.commit().await
        };
        if let Err(fault) = noted.await {
            tracing::warn!(%fault, %key, "the use of an API key could not be noted");
        }
    });
}

fn tenant(headers: &HeaderMap, allowed: &[TenantId], optional: bool) -> Result<Option<TenantId>, ApiError> {
    match named_tenant(headers)? {
        None if optional => Ok(None),
        None => Err(ApiError::TenantHeaderRequired),
        Some(given) if allowed.contains(&given) => Ok(Some(given)),
        Some(_) => Err(ApiError::TenantMismatch),
    }
}

/// The tenant that `X-Tenant-ID` names, if it is there.
pub(crate) fn named_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, ApiError> {
    let mut given = headers.get_all(TENANT_HEADER).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(text), None) => {
            text.to_str().ok().and_then(|t| t.parse().ok()).map(Some).ok_or(ApiError::InvalidTenantId)
        }
        (Some(_), Some(_)) => Err(ApiError::InvalidTenantId),
    }
}

fn agent(headers: &HeaderMap, principal: &Principal) -> Result<(), ApiError> {
    let Some(text) = headers.get(AGENT_HEADER) else { return Ok(()) };
    let named: AgentId = text.to_str().ok().and_then(|t| t.parse().ok()).ok_or(ApiError::InvalidAgentId)?;
    match &principal.subject {
        Subject::Agent(own) | Subject::ApiKey { agent: Some(own), .. } if *own != named => Err(ApiError::AgentMismatch),
        Subject::Agent(_) | Subject::ApiKey { .. } | Subject::User(_) | Subject::Sidecar(_) => Ok(()),
    }
}

fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
