//! Verifying a receipt that a client kept: public, claim by claim, never one tick.

use aegis_core::id::TenantId;
use aegis_store::boot_key;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::claim::{Archived, Claims, Judgement};
use crate::api::claim::Claim;
use crate::api::transparency::statement::consistent_claim;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::presented;
use crate::state::App;

/// A receipt to verify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyReceipt {
    /// As issued.
    receipt: Archived,
}

impl RequestBody for VerifyReceipt {
    fn validate(&self, _: &mut Issues) {}
}

/// The judgement.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Verdict {
    /// Whether integrity and origin hold and no claim failed. Claims that were not checked are not vouched for.
    valid: bool,
    claims: Claims,
    key: KeyStatus,
    /// Why claims failed or could not be checked.
    errors: Vec<String>,
}

/// The key that signed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyStatus {
    key_id: String,
    /// `active` while its process runs, `retired` after, `unknown` if the ledger has no such key.
    #[schema(examples("active"))]
    status: &'static str,
    /// The index of the entry that introduced it.
    introduced_at_index: Option<u64>,
}

pub(super) async fn post(State(app): State<App>, Body(body): Body<VerifyReceipt>) -> Result<Answer<Verdict>, ApiError> {
    let receipt = body.receipt;
    let decoded = receipt.decode();
    let known = match &decoded {
        Err(_) => None,
        Ok((entry, _)) => {
            let mut tx = app.store.read_platform().await?;
            let header = &entry.header;
            boot_key::get(&mut tx, header.tenant_id, header.source, header.boot).await?
        }
    };
    let mut judgement = receipt.judge(&decoded, known.as_ref());
    if let (Ok((entry, bytes)), Some(note)) = (&decoded, &receipt.checkpoint) {
        judge_checkpoint(&app, &receipt, (entry.header.tenant_id, bytes), note, &mut judgement).await?;
    }
    let known = known.filter(|known| known.key.id().0 == receipt.key_id);
    let claims = judgement.claims;
    let failed = [claims.included, claims.consistent].contains(&Claim::Failed);
    Ok(Answer::ok(Verdict {
        valid: claims.integrity == Claim::Ok && claims.origin == Claim::Ok && !failed,
        key: KeyStatus {
            status: known.as_ref().map_or("unknown", |known| if known.closed { "retired" } else { "active" }),
            introduced_at_index: known.map(|known| known.index),
            key_id: receipt.key_id,
        },
        claims,
        errors: judgement.errors,
    }))
}

/// Whether the proof leads to the checkpoint, and the ledger still agrees with that.
async fn judge_checkpoint(
    app: &App,
    receipt: &Archived,
    (tenant, bytes): (TenantId, &str),
    note: &str,
    judgement: &mut Judgement,
) -> Result<(), ApiError> {
    let Judgement { claims, errors } = judgement;
    let opened = presented::open(app, note).await?;
    let ours = opened.and_then(|p| if p.tenant == tenant { Ok(p) } else { Err("it is of another tenant".to_owned()) });
    match ours {
        Err(why) => claims.included = Claim::of("included: checkpoint", Err::<(), _>(why), errors),
        Ok(presented) => {
            claims.included = Claim::of("included", receipt.included(bytes, &presented.checkpoint), errors);
            let mut tx = app.store.read(tenant).await?;
            claims.consistent = consistent_claim(presented::agreement(&mut tx, &presented).await?, errors);
        }
    }
    Ok(())
}
