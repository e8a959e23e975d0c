//! Uploading a policy: compiled, tested, versioned, and put in force in one step.

use aegis_core::policy::PolicyFile;
use aegis_pipeline::policy::{Checked, PolicyProblem, check, check_together};
use aegis_store::policy::{self, PolicyMode, PolicyVersion};
use axum::extract::State;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::activation::{self, Basis};
use super::body::{NewPolicy, UploadMode};
use super::view::UploadedView;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Body;
use crate::state::App;

pub(super) async fn upload(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<NewPolicy>,
) -> Result<Answer<UploadedView>, ApiError> {
    let tenant = caller.tenant_id();
    let checked = check_text(&app, &body.name, &body.rego).await?;
    let draft = draft(&caller, &checked, body.name, body.rego, body.description, app.store.now());
    match body.mode {
        UploadMode::Draft => {
            let mut tx = app.store.write(tenant).await?;
            let added = policy::add(&mut tx, tenant, draft).await?;
            tx.record(activation::entry(&caller, &added, PolicyMode::Draft)).await?.commit().await?;
            Ok(Answer::created(added.into()))
        }
        UploadMode::Active => {
            refuse_failed(&checked)?;
            let basis = Basis::prove(&app, tenant, draft.file()).await?;
            let mut tx = app.store.write(tenant).await?;
            basis.still_holds(&mut tx, tenant).await?;
            let added = policy::add(&mut tx, tenant, draft).await?;
            let active = activation::put_in_force(&caller, tx, tenant, &added).await?;
            Ok(Answer::created(active.into()))
        }
        UploadMode::Shadow => {
            refuse_failed(&checked)?;
            let basis = Basis::prove(&app, tenant, draft.file()).await?;
            let mut tx = app.store.write(tenant).await?;
            basis.still_holds(&mut tx, tenant).await?;
            let added = policy::add(&mut tx, tenant, draft).await?;
            let shadow = activation::put_beside(&caller, tx, tenant, &added).await?;
            Ok(Answer::created(shadow.into()))
        }
    }
}

fn draft(
    caller: &Caller,
    checked: &Checked,
    name: String,
    rego: String,
    description: String,
    now: aegis_core::time::Timestamp,
) -> PolicyVersion {
    PolicyVersion {
        name,
        version: 0,
        mode: PolicyMode::Draft,
        revision: hex::encode(Sha256::digest(rego.as_bytes())),
        rego,
        description,
        rules: checked.rule_names.clone(),
        tests_passed: u32::try_from(checked.tests_passed).unwrap_or(u32::MAX),
        tests_failed: u32::try_from(checked.tests_failed).unwrap_or(u32::MAX),
        created_at: now,
        created_by: caller.label(),
    }
}

/// Compiles the text and runs its tests, off the async threads.
pub(super) async fn check_text(app: &App, name: &str, rego: &str) -> Result<Checked, ApiError> {
    let (platform, name, rego) = (app.platform.clone(), name.to_owned(), rego.to_owned());
    let checked = tokio::task::spawn_blocking(move || check(&platform, &name, &rego)).await;
    checked.map_err(|e| ApiError::bug("policy check", &e))?.map_err(|problem| refusal(&problem))
}

/// Compiles the files together, off the async threads.
pub(super) async fn check_files(app: &App, files: Vec<PolicyFile>) -> Result<(), ApiError> {
    let platform = app.platform.clone();
    let checked = tokio::task::spawn_blocking(move || check_together(&platform, &files)).await;
    checked.map_err(|e| ApiError::bug("policy check", &e))?.map_err(|problem| refusal(&problem))
}

/// A file with a failing test never comes into force.
pub(super) fn refuse_failed(checked: &Checked) -> Result<(), ApiError> {
    if checked.tests_failed == 0 {
        return Ok(());
    }
    Err(ApiError::Unprocessable {
        error: "policy_tests_failed",
        message: format!("{} of the file's tests do not hold", checked.tests_failed).into(),
        data: json!({ "passed": checked.tests_passed, "failed_count": checked.tests_failed, "failed": checked.failed }),
    })
}

/// The text's fault: file, line, column, message, hint.
pub(super) fn refusal(problem: &PolicyProblem) -> ApiError {
    ApiError::Unprocessable {
        error: "policy_invalid",
        message: problem.to_string().into(),
        data: json!({
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        }),
    }
}
