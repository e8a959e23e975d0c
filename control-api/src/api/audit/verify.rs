//! Verifying the tenant's ledger.

use aegis_core::id::{AuditId, BootId, SourceId};
use aegis_ledger::loss::Loss;
use aegis_store::ledger::check::{self, Verification};
use aegis_store::ledger::violation::{self, Violation};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::VerifyQuery;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::state::App;

/// What a verification found. It claims nothing about rows it did not check.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifyView {
    /// Whether nothing is wrong with the rows that were checked.
    valid: bool,
    rows_checked: u64,
    /// The first index that was checked.
    checked_from: u64,
    /// The last index that was checked; equals `checked_from` in an empty ledger.
    checked_to: u64,
    /// Whether that is the whole ledger.
    complete: bool,
    /// What is wrong, first in order; `violation_count` counts all.
    violations: Vec<ViolationView>,
    violation_count: u64,
    /// Entries that their sources have lost and declare so in signed `gap` entries. Missing, and no violation.
    declared_losses: Vec<LossView>,
    /// How many entries these are in all.
    lost_entries: u64,
    /// Checkpoints and daily roots that were compared with the tree over the entries.
    roots_checked: u64,
    head: HeadView,
    duration_ms: u64,
}

/// Something wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViolationView {
    /// Where in the ledger; absent for what was delivered and not accepted.
    index: Option<u64>,
    audit_id: Option<AuditId>,
    /// Which rule is broken.
    #[schema(examples("signature"))]
    kind: &'static str,
    #[schema(examples("the signature does not verify"))]
    detail: String,
}

/// Entries that a source has lost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LossView {
    /// Where the declaration stands.
    index: u64,
    /// The declaration.
    audit_id: AuditId,
    source: SourceId,
    boot: BootId,
    /// The first lost.
    from: u64,
    /// The last lost.
    to: u64,
    #[schema(examples("the outbox is damaged on disk"))]
    why: String,
}

/// The ledger's end when the verification began.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeadView {
    /// Entries in it.
    size: u64,
    /// The tree's root (RFC 9162) computed from the entries, hex; absent unless the whole ledger was checked.
    root: Option<String>,
    /// The tenant's chain hash, hex.
    chain_hash: String,
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<VerifyQuery>,
) -> Result<Answer<VerifyView>, ApiError> {
    let tenant = caller.tenant_id();
    let started = app.clock.monotonic();
    let found = check::verify(&app.store, tenant, query.from_index, query.to_index).await?;
    let mut tx = app.store.read(tenant).await?;
    let kept = violation::list_open(&mut tx, tenant, violation::VIOLATIONS_PAGE_MAX).await?;
    let kept_count = violation::count_open(&mut tx, tenant).await?;
    let took = app.clock.monotonic().since(started);
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(Answer::ok(VerifyView::new(found, kept, kept_count, duration_ms)))
}

impl VerifyView {
    fn new(found: Verification, kept: Vec<Violation>, kept_count: u64, duration_ms: u64) -> Self {
        let violation_count = found.fault_count.saturating_add(kept_count);
        let faults = found.faults.into_iter().map(|fault| ViolationView {
            index: fault.index,
            audit_id: fault.audit_id,
            kind: fault.kind.as_str(),
            detail: fault.detail,
        });
        let kept = kept.into_iter().map(|violation| ViolationView {
            index: None,
            audit_id: None,
            kind: violation.kind.as_str(),
            detail: violation.detail,
        });
        Self {
            valid: violation_count == 0,
            rows_checked: found.checked_to - found.checked_from,
            checked_from: found.checked_from,
            checked_to: found.checked_to.saturating_sub(1).max(found.checked_from),
            complete: found.complete,
            violations: faults.chain(kept).collect(),
            violation_count,
            declared_losses: found.losses.list.into_iter().map(LossView::from).collect(),
            lost_entries: found.losses.entries,
            roots_checked: found.roots_checked,
            head: HeadView {
                size: found.head.size,
                root: found.root.map(aegis_ledger::hash::Hash::to_hex),
                chain_hash: found.head.chain.to_hex(),
            },
            duration_ms,
        }
    }
}

impl From<Loss> for LossView {
    fn from(loss: Loss) -> Self {
        let Loss { index, audit_id, source, boot, from, to, why } = loss;
        Self { index, audit_id, source, boot, from, to, why }
    }
}
