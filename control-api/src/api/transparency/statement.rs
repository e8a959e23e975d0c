//! Verifying a signed daily root, or a checkpoint, that somebody kept: public, claim by claim.

use aegis_core::day::Day;
use aegis_core::id::TenantId;
use aegis_ledger::statement::SignedStatement;
use aegis_store::StoreError;
use aegis_store::ledger::{day, log_key, proof};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::claim::Claim;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::presented::{self, Agreement};
use crate::state::App;

/// What to verify: a statement as issued, or the stored one of a tenant's day.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRoot {
    /// `signed` of a daily root, or a checkpoint's signed note as text.
    #[schema(value_type = Option<Object>)]
    statement: Option<Value>,
    /// The stored root of this day, instead of a statement.
    #[schema(value_type = Option<String>, format = Date)]
    date: Option<Day>,
    /// The tenant, with `date`.
    #[schema(value_type = Option<uuid::Uuid>)]
    tenant_id: Option<TenantId>,
}

impl RequestBody for VerifyRoot {
    const OWN_FIELDS: &'static [&'static str] = &["tenant_id"];

    fn validate(&self, issues: &mut Issues) {
        let stored = self.date.is_some() && self.tenant_id.is_some();
        let given = self.statement.is_some() && self.date.is_none() && self.tenant_id.is_none();
        issues.check(stored != given, "statement", "give a statement, or date and tenant_id");
    }
}

/// What each check says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RootClaims {
    /// The signature verifies with the key that it names.
    integrity: Claim,
    /// That key signs for this deployment, as the tenant's ledger has it.
    origin: Claim,
    /// The day before has the root that the statement names as its predecessor's.
    chained: Claim,
    /// The ledger's tree still has this root at this size.
    consistent: Claim,
}

/// The judgement.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RootVerdict {
    /// Whether integrity and origin hold and no claim failed. Claims that were not checked are not vouched for.
    valid: bool,
    claims: RootClaims,
    /// Why claims failed or could not be checked.
    errors: Vec<String>,
}

/// `POST /transparency/verify-root`
pub(super) async fn verify(
    State(app): State<App>,
    Body(body): Body<VerifyRoot>,
) -> Result<Answer<RootVerdict>, ApiError> {
    let mut errors = Vec::new();
    let claims = match (body.statement, body.date.zip(body.tenant_id)) {
        (Some(Value::String(note)), _) => checkpoint(&app, &note, &mut errors).await?,
        (Some(statement), _) => {
            let read = serde_json::from_value(statement);
            let statement = read.map_err(|e| ApiError::invalid("statement", format!("is not as issued: {e}")))?;
            daily(&app, &statement, &mut errors).await?
        }
        (None, Some((date, tenant))) => {
            let sealed = day::get(&mut *app.store.read(tenant).await?, tenant, date).await?;
            daily(&app, &sealed.ok_or(ApiError::NotFound("root"))?.statement, &mut errors).await?
        }
        (None, None) => return Err(ApiError::invalid("statement", "is missing")),
    };
    let failed = [claims.chained, claims.consistent].contains(&Claim::Failed);
    let valid = claims.integrity == Claim::Ok && claims.origin == Claim::Ok && !failed;
    Ok(Answer::ok(RootVerdict { valid, claims, errors }))
}

async fn daily(app: &App, signed: &SignedStatement, errors: &mut Vec<String>) -> Result<RootClaims, ApiError> {
    let statement = &signed.receipt;
    let tenant = statement.tenant_id;
    let keys = log_key::keys(&mut *app.store.read(tenant).await?, tenant).await?;
    let known = keys.by_id(&signed.public_key_fingerprint);
    // A key that was given up says nothing about what came later.
    let known = known.filter(|known| known.ended_at.is_none_or(|end| statement.size_to <= end)).map(|known| known.key);
    let origin = Claim::of("origin", known.ok_or("this tenant's ledger knows no such key").map(drop), errors);
    let mut claims = RootClaims {
        // Without the key there is nothing to check the signature with.
        integrity: Claim::NotChecked,
        origin,
        chained: Claim::NotChecked,
        consistent: Claim::NotChecked,
    };
    let Some(key) = known else { return Ok(claims) };
    claims.integrity = Claim::of("integrity", signed.verify(&key), errors);
    let mut tx = app.store.read(tenant).await?;
    if day::get(&mut tx, tenant, statement.root_date).await?.is_some() {
        let before = day::get(&mut tx, tenant, statement.root_date.previous()).await?;
        let expected = before.map(|before| before.root.to_hex());
        let linked = (expected == statement.prev_root_hash).then_some(());
        claims.chained = Claim::of("chained", linked.ok_or("the day before has another root"), errors);
    } else {
        errors.push("chained: this day is not sealed here".to_owned());
    }
    claims.consistent = match proof::root(&mut tx, tenant, statement.size_to).await {
        Ok(root) => {
            let same = (root.to_hex() == statement.root_hash).then_some(());
            Claim::of("consistent", same.ok_or("the ledger's root at that size is another"), errors)
        }
        Err(StoreError::NotFound(_)) => Claim::of("consistent", Err::<(), _>("the ledger is not that large"), errors),
        Err(fault) => return Err(fault.into()),
    };
    Ok(claims)
}

async fn checkpoint(app: &App, note: &str, errors: &mut Vec<String>) -> Result<RootClaims, ApiError> {
    let opened = presented::open(app, note).await?;
    let mut consistent = Claim::NotChecked;
    if let Ok(presented) = &opened {
        let mut tx = app.store.read(presented.tenant).await?;
        consistent = consistent_claim(presented::agreement(&mut tx, presented).await?, errors);
    }
    let integrity = Claim::of("integrity", opened.map(drop), errors);
    // Our key has signed it or has not: integrity and origin are one here. A checkpoint has no day before.
    Ok(RootClaims { integrity, origin: integrity, chained: Claim::NotChecked, consistent })
}

/// What the ledger's answer to a checkpoint claims.
pub(in crate::api) fn consistent_claim(agreement: Agreement, errors: &mut Vec<String>) -> Claim {
    match agreement {
        Agreement::Agrees => Claim::Ok,
        Agreement::Contradicts(why) => Claim::of("consistent", Err::<(), _>(why), errors),
        Agreement::Unknown(why) => {
            errors.push(format!("consistent: {why}"));
            Claim::NotChecked
        }
    }
}
