//! Inclusion and consistency proofs (RFC 9162), as this log gives them.

use aegis_core::day::Day;
use aegis_core::id::{ExecutionId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::hash::Hash;
use aegis_ledger::proof::verify_consistency;
use aegis_ledger::statement::SignedStatement;
use aegis_store::ledger::checkpoint::{self, Stored};
use aegis_store::ledger::day::{self, DAYS_MAX, SealedDay};
use aegis_store::ledger::proof;
use aegis_store::{Conn, StoreError, audit};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Path, Query};
use crate::state::App;

/// The proof that a row is in the tree of the newest checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InclusionView {
    /// The row's place in the tenant's ledger.
    index: u64,
    /// SHA-256 of `0x00` and the entry's bytes, base64.
    leaf_hash: String,
    /// Entries that the checkpoint covers.
    tree_size: u64,
    /// From the leaf upwards, base64.
    hashes: Vec<String>,
    /// The root that they lead to, base64.
    root: String,
    /// The signed note (C2SP tlog-checkpoint) that says the same root.
    checkpoint: String,
}

/// The proof that one tree begins with all entries of another.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsistencyView {
    /// Absent if sizes were asked for.
    #[schema(value_type = Option<String>, format = Date)]
    from_date: Option<Day>,
    #[schema(value_type = Option<String>, format = Date)]
    to_date: Option<Day>,
    from_size: u64,
    to_size: u64,
    /// The root at `from_size`, base64.
    from_root: String,
    /// The root at `to_size`, base64.
    to_root: String,
    /// RFC 9162 §2.1.4, base64; empty where there is nothing to prove.
    proof: Vec<String>,
    /// Whether the proof holds for the two roots and, between dates, every day names the root of the day before.
    consistent: bool,
    /// The days from the first to the last, oldest first; empty if sizes were asked for.
    chain: Vec<ChainView>,
}

/// A day in the chain.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChainView {
    #[schema(value_type = String, format = Date)]
    root_date: Day,
    root_hash: String,
    prev_root_hash: Option<String>,
    leaf_count: u64,
    sealed_at: Timestamp,
    #[schema(value_type = Object)]
    signed: SignedStatement,
}

/// Between which trees: two dates or two sizes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsistencyQuery {
    /// The earlier day.
    #[param(value_type = Option<String>, format = Date)]
    from_date: Option<Day>,
    /// The later day.
    #[param(value_type = Option<String>, format = Date)]
    to_date: Option<Day>,
    /// The smaller size, instead of a date.
    #[param(minimum = 0)]
    from_size: Option<u64>,
    /// The larger size, instead of a date.
    #[param(minimum = 0)]
    to_size: Option<u64>,
}

/// What proves a row to be in the newest checkpoint.
pub(in crate::api) struct Covered {
    pub(in crate::api) checkpoint: Stored,
    pub(in crate::api) hashes: Vec<Hash>,
}

/// The proof for an index; absent while no checkpoint covers it.
pub(in crate::api) async fn covered(
    tx: &mut Conn,
    tenant: TenantId,
    index: u64,
) -> Result<Option<Covered>, StoreError> {
    let Some(checkpoint) = checkpoint::latest(tx, tenant).await?.filter(|c| c.size > index) else { return Ok(None) };
    let hashes = proof::inclusion(tx, tenant, index, checkpoint.size).await?;
    Ok(Some(Covered { checkpoint, hashes }))
}

/// Hashes as they stand in answers.
pub(in crate::api) fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

/// `GET /transparency/inclusion/{execution_id}`
pub(super) async fn inclusion(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ExecutionId>,
) -> Result<Answer<InclusionView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    let row = audit::by_execution(&mut tx, tenant, id).await?.ok_or(ApiError::NotFound("call"))?;
    let covered = covered(&mut tx, tenant, row.index).await?.ok_or_else(not_published)?;
    Ok(Answer::ok(InclusionView {
        index: row.index,
        leaf_hash: row.leaf.to_string(),
        tree_size: covered.checkpoint.size,
        hashes: texts(&covered.hashes),
        root: covered.checkpoint.root.to_string(),
        checkpoint: covered.checkpoint.note,
    }))
}

fn not_published() -> ApiError {
    ApiError::conflict("not_yet_published", "no checkpoint covers it yet; try again in a second")
}

/// `GET /transparency/consistency`
pub(super) async fn consistency(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ConsistencyQuery>,
) -> Result<Answer<ConsistencyView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    match (query.from_date, query.to_date, query.from_size, query.to_size) {
        (Some(from), Some(to), None, None) if from <= to => {
            let days = day::list(&mut tx, tenant, Some(from), Some(to), DAYS_MAX).await?;
            between_days(&mut tx, tenant, from, to, days).await.map(Answer::ok)
        }
        (None, None, Some(from), Some(to)) if from <= to => {
            let published = checkpoint::latest(&mut tx, tenant).await?.map_or(0, |c| c.size);
            if to > published {
                return Err(not_published());
            }
            let (old, new) = (proof::root(&mut tx, tenant, from).await?, proof::root(&mut tx, tenant, to).await?);
            between(&mut tx, tenant, (from, old), (to, new)).await.map(Answer::ok)
        }
        _ => {
            let mut issues = Issues::default();
            let why = "give two dates or two sizes, the smaller one first";
            issues.note("value_error", &["query", "from_date"], why);
            issues.into_result()?;
            Err(ApiError::NotFound("root"))
        }
    }
}

async fn between(
    tx: &mut Conn,
    tenant: TenantId,
    old: (u64, Hash),
    new: (u64, Hash),
) -> Result<ConsistencyView, ApiError> {
    let hashes = proof::consistency(tx, tenant, old.0, new.0).await?;
    Ok(ConsistencyView {
        from_date: None,
        to_date: None,
        from_size: old.0,
        to_size: new.0,
        from_root: old.1.to_string(),
        to_root: new.1.to_string(),
        proof: texts(&hashes),
        consistent: verify_consistency(old, new, &hashes).is_ok(),
        chain: Vec::new(),
    })
}

/// The roots are those that were sealed, not those that the tree has now: so the proof tells whether they still agree.
async fn between_days(
    tx: &mut Conn,
    tenant: TenantId,
    from: Day,
    to: Day,
    mut days: Vec<SealedDay>,
) -> Result<ConsistencyView, ApiError> {
    days.reverse();
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return Err(ApiError::NotFound("root")) };
    if first.day != from || last.day != to {
        return Err(ApiError::NotFound("root"));
    }
    let view = between(tx, tenant, (first.size_to, first.root), (last.size_to, last.root)).await?;
    let linked = days.windows(2).all(|pair| match pair {
        [before, after] => {
            let names_it = after.statement.receipt.prev_root_hash.as_deref() == Some(before.root.to_hex().as_str());
            names_it && after.day == before.day.next() && after.size_from == before.size_to
        }
        _ => true,
    });
    let consistent = view.consistent && linked;
    let chain = days.into_iter().map(ChainView::from).collect();
    Ok(ConsistencyView { from_date: Some(from), to_date: Some(to), consistent, chain, ..view })
}

impl From<SealedDay> for ChainView {
    fn from(day: SealedDay) -> Self {
        Self {
            root_date: day.day,
            root_hash: day.root.to_hex(),
            prev_root_hash: day.statement.receipt.prev_root_hash.clone(),
            leaf_count: day.size_to - day.size_from,
            sealed_at: day.sealed_at,
            signed: day.statement,
        }
    }
}
