//! Whose calls an answer is about.

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::usage::Window;
use aegis_store::{Conn, agent, tally};

use crate::caller::Caller;
use crate::error::ApiError;

/// The last days of the agent in the path. An agent is there if it is registered, or has calls on record.
///
/// # Errors
/// 404 if the tenant has no such agent, or the caller may see another one only.
pub(super) async fn of_agent(
    db: &mut Conn,
    caller: &Caller,
    id: AgentId,
    now: Timestamp,
    days: u32,
) -> Result<Window, ApiError> {
    known(db, caller, id).await?;
    Ok(tally::days_until(now, days, Some(id)))
}

/// Refuses agents that are not there for this caller.
pub(super) async fn known(db: &mut Conn, caller: &Caller, id: AgentId) -> Result<(), ApiError> {
    let tenant = caller.tenant_id();
    if caller.only_agent().is_some_and(|own| own != id) {
        return Err(ApiError::NotFound("agent"));
    }
    let all = Window { agent_id: Some(id), ..Window::default() };
    if agent::get(db, tenant, id).await?.is_none() && tally::total(db, tenant, all).await?.calls == 0 {
        return Err(ApiError::NotFound("agent"));
    }
    Ok(())
}

/// A UTC day as `YYYY-MM-DD`.
pub(super) fn date(day: Timestamp) -> String {
    day.to_string().chars().take(10).collect()
}
