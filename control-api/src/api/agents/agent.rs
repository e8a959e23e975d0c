//! Registering, reading, changing and deleting agents.

use aegis_core::agent::AgentStatus;
use aegis_core::id::{AgentId, TenantId};
use aegis_store::agent::{self, Agent, AgentFilter};
use aegis_store::{Conn, grant};
use axum::extract::State;
use http::HeaderMap;
use serde_json::Value;

use super::body::{AgentChange, ListQuery, NewAgent};
use super::view::{AgentPage, AgentView, FleetSummary};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::etag::ETag;
use crate::extract::{Body, Path, Query};
use crate::record;
use crate::state::App;

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Answer<AgentPage>, ApiError> {
    query.check()?;
    let tenant = caller.tenant_id();
    let owner_id = query.owner_id.map(|owner| if owner.contains(':') { owner } else { format!("user:{owner}") });
    let filter = AgentFilter { owner_id, status: query.status, include_deleted: query.include_deleted };
    let offset = u64::from(query.page - 1) * u64::from(query.size);
    let mut tx = app.store.read(tenant).await?;
    let (agents, total) = agent::list(&mut tx, tenant, &filter, query.size, offset).await?;
    let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id).collect();
    let mut grants = grant::list_of(&mut tx, tenant, &ids, app.store.now()).await?;
    let items = agents.into_iter().map(|agent| {
        let own = grants.remove(&agent.id).unwrap_or_default();
        AgentView::new(tenant, agent, own)
    });
    let pages = total.div_ceil(u64::from(query.size));
    let page = AgentPage { items: items.collect(), total, page: query.page, size: query.size, pages };
    Ok(Answer::ok(page).paged(total, None))
}

pub(super) async fn summary(State(app): State<App>, caller: Caller) -> Result<Answer<FleetSummary>, ApiError> {
    let mut tx = app.store.read(caller.tenant_id()).await?;
    Ok(Answer::ok(agent::counts(&mut tx, caller.tenant_id()).await?.into()))
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AgentId>,
) -> Result<Answer<AgentView>, ApiError> {
    let mut tx = app.store.read(caller.tenant_id()).await?;
    shown(read(&app, &mut tx, caller.tenant_id(), id).await?)
}

/// The view with the name of its state.
fn shown(view: AgentView) -> Result<Answer<AgentView>, ApiError> {
    let etag = ETag::of(&view)?;
    Ok(Answer::ok(view).etag(&etag))
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<NewAgent>,
) -> Result<Answer<AgentView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let settings = aegis_store::tenant::get(&mut tx, tenant).await?.ok_or(ApiError::NotFound("tenant"))?;
    let draft = Agent {
        id: AgentId::generate(tx.now(), app.store.entropy()),
        org_id: settings.record.org_id,
        name: body.name,
        description: body.description,
        owner_id: caller.label(),
        status: AgentStatus::Active,
        risk_level: body.risk_level,
        metadata: body.metadata,
        requests_per_second: body.requests_per_second,
        daily_cost_cap: body.daily_cost_cap_usd.map(|usd| usd.0),
        parent: body.parent_agent_id,
        created_at: tx.now(),
        updated_at: tx.now(),
        deleted_at: None,
    };
    let made = agent::create(&mut tx, tenant, &draft).await?;
    tx.record(entry(&caller, "agent.create", &made)).await?.commit().await?;
    let view = AgentView::new(tenant, made, Vec::new());
    let etag = ETag::of(&view)?;
    Ok(Answer::created(view).etag(&etag))
}

pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AgentId>,
    headers: HeaderMap,
    Body(change): Body<AgentChange>,
) -> Result<Answer<AgentView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let now = tx.now();
    let before = agent::get_live(&mut tx, tenant, id).await?;
    let after = change.apply(before.clone());
    let grants = grant::list(&mut tx, tenant, id, now).await?;
    let view = AgentView::new(tenant, before.clone(), grants.clone());
    ETag::of(&view)?.check(&headers)?;
    if after == before {
        return shown(view);
    }
    let changed = agent::update(&mut tx, tenant, &after).await?;
    tx.record(entry(&caller, "agent.update", &changed)).await?.commit().await?;
    shown(AgentView::new(tenant, changed, grants))
}

pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<AgentId>,
    headers: HeaderMap,
) -> Result<Answer<AgentView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let now = tx.now();
    let grants = grant::list(&mut tx, tenant, id, now).await?;
    let before = agent::get_live(&mut tx, tenant, id).await?;
    ETag::of(&AgentView::new(tenant, before, grants.clone()))?.check(&headers)?;
    let gone = agent::delete(&mut tx, tenant, id).await?;
    tx.record(entry(&caller, "agent.delete", &gone)).await?.commit().await?;
    Ok(Answer::ok(AgentView::new(tenant, gone, grants)))
}

/// The agent's view; a deleted agent is still shown to whoever knows its id.
pub(super) async fn read(app: &App, db: &mut Conn, tenant: TenantId, id: AgentId) -> Result<AgentView, ApiError> {
    let found = agent::get(db, tenant, id).await?.ok_or(ApiError::NotFound("agent"))?;
    let grants = grant::list(db, tenant, id, app.store.now()).await?;
    Ok(AgentView::new(tenant, found, grants))
}

/// The ledger keeps the state that a write left.
fn entry(caller: &Caller, action: &str, agent: &Agent) -> aegis_ledger::entry::Body {
    let labels: Vec<String> = agent.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
    record::admin(
        caller,
        action,
        format!("agent:{}", agent.id),
        [
            ("name", agent.name.as_str().into()),
            ("description", agent.description.as_str().into()),
            ("status", agent.status.as_str().into()),
            ("risk_level", agent.risk_level.as_str().into()),
            ("metadata", labels.join(", ").into()),
            ("requests_per_second", agent.requests_per_second.into()),
            ("daily_cost_cap_micro_usd", agent.daily_cost_cap.map_or(Value::Null, |cap| cap.as_micros().into())),
            ("parent_agent_id", agent.parent.map(|id| id.to_string()).into()),
        ],
    )
}
