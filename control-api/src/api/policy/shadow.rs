//! What a policy's shadow versions would have changed, as the sidecars recorded it beside each call.

use std::time::Duration;

use aegis_ledger::entry::Body;
use aegis_ledger::rows::DecisionRow;
use aegis_store::audit::{self, AuditRow, Filter, Page, RowKind};
use aegis_store::facet;
use aegis_store::policy;
use aegis_store::usage::Window;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::simulation::{ChangeView, DIFF_MAX, goes_on};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::span::Bounded;
use crate::state::App;

/// Which calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportQuery {
    /// How many hours back, from the full hour on.
    #[serde(default)]
    #[param(inline)]
    window_hours: Bounded<24, 1, 720>,
}

/// What the shadow versions of a policy would have changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShadowReport {
    /// Calls that were judged beside by a shadow version.
    total: u64,
    /// Went on, and would have been stopped.
    newly_blocked: u64,
    /// Were stopped, and would have gone on.
    newly_allowed: u64,
    /// Would have gone on as they did, or been stopped as they were.
    no_change: u64,
    /// The versions that were judged beside in the window, oldest first.
    versions: Vec<u32>,
    /// Calls whose verdict would have been another, newest first, 200 at most.
    diff: Vec<ChangeView>,
}

pub(super) async fn report(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<ReportQuery>,
) -> Result<Answer<ShadowReport>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    if policy::versions(&mut tx, tenant, &name).await?.is_empty() {
        return Err(ApiError::NotFound("policy"));
    }
    let from = app.store.now().minus(Duration::from_hours(query.window_hours.get().into()));
    let from = aegis_store::tally::hour_start(from);
    let agent_id = caller.only_agent();
    let window = Window { from: Some(from), until: None, agent_id };
    let counts = facet::shadow_counts(&mut tx, tenant, &name, window).await?;
    let mut report = ShadowReport {
        total: 0,
        newly_blocked: 0,
        newly_allowed: 0,
        no_change: 0,
        versions: Vec::new(),
        diff: Vec::new(),
    };
    for count in counts {
        report.total += count.calls;
        match (goes_on(count.old), goes_on(count.new)) {
            (true, false) => report.newly_blocked += count.calls,
            (false, true) => report.newly_allowed += count.calls,
            (true, true) | (false, false) => report.no_change += count.calls,
        }
        report.versions.push(count.version);
    }
    report.versions.sort_unstable();
    report.versions.dedup();
    let filter = Filter {
        kinds: vec![RowKind::Decision],
        shadowed_by: Some(name.clone()),
        from: Some(from),
        agent_id,
        ..Filter::default()
    };
    let page = Page { limit: u32::try_from(DIFF_MAX).unwrap_or(u32::MAX), offset: 0, before: None };
    for row in audit::newest(&mut tx, tenant, &filter, page).await? {
        report.diff.extend(change(&row, &name)?);
    }
    Ok(Answer::ok(report))
}

fn change(row: &AuditRow, name: &str) -> Result<Option<ChangeView>, ApiError> {
    let Body::Decision(said) = row.entry()?.body else { return Ok(None) };
    let DecisionRow { decision: old_action, execution_id, tool, shadow, .. } = *said;
    let shadow = shadow.into_iter().find(|shadow| shadow.name == name);
    Ok(shadow.map(|shadow| ChangeView {
        audit_id: row.audit_id,
        execution_id,
        tool,
        timestamp: row.ts,
        old_action,
        new_action: shadow.decision,
        rule_ids: shadow.rule_ids,
        risk_score: shadow.score_bp.as_percent(),
    }))
}
