//! What clients ask of the audit log, and what is wrong with it.

use aegis_core::decision::{Decision, Outcome};
use aegis_core::finding::FindingId;
use aegis_core::id::{AgentId, ExecutionId};
use aegis_core::time::Timestamp;
use aegis_store::audit::{Filter, OFFSET_MAX, Page, RowKind};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, Issues};
use crate::extract::RequestBody;

/// Rows a page of the list holds at most.
const LIST_MAX: u32 = 500;
/// Rows a page of a search holds at most.
const SEARCH_MAX: u32 = 100;
/// Characters of a text that is searched for at most.
const TEXT_MAX: usize = 256;

/// Which rows to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// About this agent only.
    agent_id: Option<AgentId>,
    /// With this action only.
    action: Option<String>,
    /// With this verdict only.
    decision: Option<Decision>,
    /// Of this kind; governed calls by default.
    kind: Option<RowKind>,
    /// Rows a page holds.
    #[serde(default = "list_size")]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: u32,
    /// Rows to pass over.
    #[serde(default)]
    #[param(minimum = 0, maximum = 100_000, default = 0)]
    offset: u64,
    /// Where the page before ended: `meta.next_cursor`.
    cursor: Option<String>,
}

const fn list_size() -> u32 {
    50
}

const fn search_size() -> u32 {
    20
}

impl ListQuery {
    /// The filter and the page, if they are in range.
    pub(super) fn read(self) -> Result<(Filter, Page), ApiError> {
        let mut issues = Issues::default();
        let page = page(&mut issues, "query", self.limit, LIST_MAX, self.offset, self.cursor.as_deref());
        issues.into_result()?;
        let filter = Filter {
            kinds: vec![self.kind.unwrap_or(RowKind::Decision)],
            agent_id: self.agent_id,
            action: self.action,
            decision: self.decision,
            ..Filter::default()
        };
        Ok((filter, page))
    }
}

fn page(issues: &mut Issues, place: &str, limit: u32, limit_max: u32, offset: u64, cursor: Option<&str>) -> Page {
    if !(1..=limit_max).contains(&limit) {
        issues.note("value_error", &[place, "limit"], format!("must be between 1 and {limit_max}"));
    }
    if offset > OFFSET_MAX {
        issues.note(
            "value_error",
            &[place, "offset"],
            format!("must be at most {OFFSET_MAX}; use cursor to go further"),
        );
    }
    let before = cursor.map(str::parse::<u64>);
    if let Some(Err(_)) = before {
        issues.note("value_error", &[place, "cursor"], "is not a cursor of this list");
    }
    Page { limit, offset, before: before.and_then(Result::ok) }
}

/// What to search for; every field narrows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// About this agent.
    agent_id: Option<AgentId>,
    /// With this action.
    action: Option<String>,
    /// Of this tool.
    tool: Option<String>,
    /// With this verdict.
    decision: Option<Decision>,
    /// From this time on.
    start_date: Option<Timestamp>,
    /// Before this time.
    end_date: Option<Timestamp>,
    /// With these other facts.
    metadata_filter: Option<Facts>,
    /// Rows a page holds.
    #[serde(default = "search_size")]
    #[schema(minimum = 1, maximum = 100, default = 20)]
    limit: u32,
    /// Rows to pass over.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100_000, default = 0)]
    offset: u64,
    /// Where the page before ended: `meta.next_cursor`.
    cursor: Option<String>,
}

/// Facts of a row beyond its main columns.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    /// Of this kind; governed calls by default.
    kind: Option<RowKind>,
    /// With this outcome.
    outcome: Option<Outcome>,
    /// Of this call.
    execution_id: Option<ExecutionId>,
    /// Of this request, by our id or the client's.
    request_id: Option<String>,
    /// Of this session.
    session_id: Option<String>,
    /// By this principal: `agent:<id>`, `user:<id>`, …
    principal: Option<String>,
    /// With this finding.
    finding: Option<FindingId>,
    /// With this rule.
    rule_id: Option<String>,
    /// With at least this score.
    #[schema(minimum = 0, maximum = 100)]
    risk_min: Option<u8>,
    /// With at most this score.
    #[schema(minimum = 0, maximum = 100)]
    risk_max: Option<u8>,
    /// With this text in reason or tool, in any case.
    text: Option<String>,
}

impl RequestBody for Search {
    const OPTIONAL: bool = true;

    fn validate(&self, issues: &mut Issues) {
        page(issues, "body", self.limit, SEARCH_MAX, self.offset, self.cursor.as_deref());
        if let (Some(from), Some(until)) = (self.start_date, self.end_date) {
            issues.check(from <= until, "end_date", "must not lie before start_date");
        }
        if let Some(facts) = &self.metadata_filter {
            let text = facts.text.as_deref().unwrap_or_default();
            issues.check(text.chars().count() <= TEXT_MAX, "text", format!("may have {TEXT_MAX} characters at most"));
            for (field, risk) in [("risk_min", facts.risk_min), ("risk_max", facts.risk_max)] {
                issues.check(risk.is_none_or(|r| r <= 100), field, "must be between 0 and 100");
            }
        }
    }
}

impl Search {
    /// The filter and the page.
    pub(super) fn read(self) -> (Filter, Page) {
        // Its problems were noted when the body was read.
        let page = page(&mut Issues::default(), "body", self.limit, SEARCH_MAX, self.offset, self.cursor.as_deref());
        let facts = self.metadata_filter.unwrap_or_default();
        let filter = Filter {
            kinds: vec![facts.kind.unwrap_or(RowKind::Decision)],
            agent_id: self.agent_id,
            action: self.action,
            tool: self.tool,
            decision: self.decision,
            outcome: facts.outcome,
            execution_id: facts.execution_id,
            request_id: facts.request_id,
            session_id: facts.session_id,
            principal: facts.principal,
            finding: facts.finding,
            rule_id: facts.rule_id,
            risk_min: facts.risk_min,
            risk_max: facts.risk_max,
            from: self.start_date,
            until: self.end_date,
            text: facts.text,
            shadowed_by: None,
        };
        (filter, page)
    }
}

/// Which part of the ledger to verify.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyQuery {
    /// The first index; 0 by default.
    #[serde(default)]
    #[param(minimum = 0, default = 0)]
    pub(super) from_index: u64,
    /// The last index; the newest by default.
    #[param(minimum = 0)]
    pub(super) to_index: Option<u64>,
}
