//! Listing and searching audit rows.

use aegis_store::audit::{self, Filter, Page};
use axum::extract::State;

use super::body::{ListQuery, Search};
use super::view::LogPage;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Body, Query};
use crate::state::App;

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Answer<LogPage>, ApiError> {
    let (filter, page) = query.read()?;
    find(&app, &caller, filter, page).await
}

pub(super) async fn search(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<Search>,
) -> Result<Answer<LogPage>, ApiError> {
    let (filter, page) = body.read();
    find(&app, &caller, filter, page).await
}

async fn find(app: &App, caller: &Caller, mut filter: Filter, page: Page) -> Result<Answer<LogPage>, ApiError> {
    let tenant = caller.tenant_id();
    // An API key that is bound to an agent sees that agent's rows only, whatever its scopes.
    filter.agent_id = caller.only_agent().or(filter.agent_id);
    let mut tx = app.store.read(tenant).await?;
    let found = audit::list(&mut tx, tenant, &filter, page).await?;
    let (page, next) = LogPage::new(tenant, &found, page)?;
    Ok(Answer::ok(page).paged(found.total, next))
}
