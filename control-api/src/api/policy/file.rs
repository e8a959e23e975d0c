//! Listing, reading and retiring policies.

use aegis_pipeline::policy::PlatformFile;
use aegis_store::policy::{self, PolicyMode};
use axum::extract::State;

use super::activation;
use super::body::VersionQuery;
use super::view::{PolicyDetail, PolicyView};
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::state::App;

/// The tenant's policies by name, then those that ship with the product.
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Answer<Vec<PolicyView>>, ApiError> {
    let mut tx = app.store.read(caller.tenant_id()).await?;
    let own = policy::list(&mut tx, caller.tenant_id()).await?.into_iter().map(PolicyView::from);
    let views: Vec<PolicyView> = own.chain(app.platform.files().iter().map(shipped)).collect();
    let total = views.len() as u64;
    Ok(Answer::ok(views).paged(total, None))
}

/// No tenant's policy has a dot in its name, so the two cannot be confused.
fn shipped(file: &PlatformFile) -> PolicyView {
    PolicyView {
        name: format!("platform.{}", file.name),
        active_version: None,
        shadow_version: None,
        revision: file.revision.clone(),
        description: "Ships with the product.".into(),
        rules: file.rule_ids.clone(),
        updated_at: None,
        updated_by: None,
        platform: true,
    }
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<VersionQuery>,
) -> Result<Answer<PolicyDetail>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let versions = policy::versions(&mut tx, tenant, &name).await?;
    let shown = versions.iter().find(|version| match query.version {
        Some(number) => version.version == number,
        None => version.mode == PolicyMode::Active,
    });
    let newest = || versions.first().filter(|_| query.version.is_none());
    let shown = shown.or_else(newest).cloned().ok_or(ApiError::NotFound("policy"))?;
    Ok(Answer::ok(PolicyDetail::new(shown, versions)))
}

pub(super) async fn retire(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Answer<PolicyDetail>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let last = policy::retire(&mut tx, tenant, &name, &caller.label()).await?.current;
    let versions = policy::versions(&mut tx, tenant, &name).await?;
    tx.record(activation::entry(&caller, &last, PolicyMode::Retired)).await?.commit().await?;
    Ok(Answer::ok(PolicyDetail::new(last, versions)))
}
