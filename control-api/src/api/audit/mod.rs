//! Tag `audit`: the audit log, its summary, explanation, verification, notes and export.

mod body;
mod compare;
mod distribution;
mod explain;
mod export;
mod hours;
mod log;
mod note;
mod ranking;
mod scope;
mod series;
mod soc;
#[cfg(test)]
mod statistics_tests;
mod summary;
#[cfg(test)]
mod tests;
mod verify;
mod view;

pub(crate) use summary::{Summary, summarize};
pub(crate) use view::LogView;

use crate::access::Level::{Audit, Read, Write};
use crate::operation::{Failure, Operation, failure, get, post, tagged};
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let no_row = failure(404, "not_found", "the tenant has no such decision");
    let mut operations = log_operations(no_row);
    operations.extend(statistics());
    tagged(Tag::Audit, operations)
}

/// Everything that the rollups answer, and the newest rows that matter to security.
fn statistics() -> Vec<Operation> {
    let no_agent = failure(404, "not_found", "the tenant has no such agent");
    vec![
        get("/audit/logs/heatmap", Read, hours::heatmap, "Day by hour request counts, last 7 days"),
        get("/audit/logs/soc-timeline", Audit, soc::timeline, "Security-relevant events, newest first"),
        get("/audit/trends", Read, series::trends, "Daily counts, threats, mean risk"),
        get("/audit/hourly-activity", Read, hours::hourly, "24 hour-of-day buckets"),
        get("/audit/weekly-heatmap", Read, hours::weekly, "168-cell weekday by hour grid"),
        get("/audit/decision-trend", Read, series::decisions, "Daily counts per decision"),
        get("/audit/deny-reasons", Read, ranking::deny_reasons, "Most frequent reasons of denial"),
        get("/audit/escalation-rate-trend", Read, series::escalations, "Daily share of escalations"),
        get("/audit/posture-score-trend", Read, series::posture, "Daily percentage of calls that went on"),
        get("/audit/top-findings", Read, ranking::top_findings, "Findings ranked by count"),
        get("/audit/finding-breakdown", Read, ranking::finding_breakdown, "Findings with share"),
        get("/audit/tool-breakdown", Read, ranking::tool_breakdown, "Tools ranked by denials"),
        get("/audit/tool-risk", Read, ranking::tool_risk, "Tools ranked by mean risk"),
        get("/audit/agent-activity", Read, ranking::agent_activity, "Per-agent first and last seen, and rates"),
        get("/audit/daily-active-agents", Read, series::active_agents, "Distinct agents per day"),
        get("/audit/risk-histogram", Read, distribution::histogram, "Risk score histogram over [0,1]"),
        get("/audit/risk-percentile-trend", Read, distribution::percentiles, "Daily p50, p75 and p95 of risk"),
        get("/audit/high-risk-events", Read, distribution::high_risk, "Rows at or above a risk threshold"),
        get("/audit/tool-usage/{agent_id}", Read, ranking::tool_usage, "One agent's calls per tool").fails(&[no_agent]),
        get("/audit/agent-findings/{agent_id}", Read, ranking::agent_findings, "One agent's findings")
            .fails(&[no_agent]),
        get("/audit/agent-daily-decisions/{agent_id}", Read, series::agent_decisions, "One agent's daily calls")
            .fails(&[no_agent]),
        get("/audit/risk-trend/{agent_id}", Read, series::agent_risk, "One agent's daily risk").fails(&[no_agent]),
        get("/audit/peer-benchmark/{agent_id}", Read, compare::peers, "Percentile rank among the tenant's agents")
            .fails(&[no_agent]),
        get("/audit/drift/{agent_id}", Read, compare::drift, "Baseline versus recent behaviour").fails(&[no_agent]),
    ]
}

fn log_operations(no_row: Failure) -> Vec<Operation> {
    let busy = failure(503, "unavailable", "as many exports run as may at once");
    let no_checkpoint = failure(409, "no_checkpoint", "no checkpoint covers the ledger yet");
    vec![
        get("/audit/logs", Audit, log::list, "Paged audit rows"),
        post("/audit/logs/search", Audit, log::search, "Filtered audit search"),
        get("/audit/logs/summary", Read, summary::get, "Totals, risk distribution, top agents, trend"),
        get("/audit/logs/verify", Audit, verify::get, "Verify the tenant's chain, signatures and tree"),
        get("/audit/logs/{audit_id}/notes", Audit, note::list, "Analyst notes, oldest first").fails(&[no_row]),
        post("/audit/logs/{audit_id}/notes", Write, note::create, "Append an analyst note").creates().fails(&[no_row]),
        get("/audit/export", Audit, export::stream, "Stream the chain as NDJSON")
            .plain("application/x-ndjson", "One row a line, oldest first; `X-Row-Count` says how many")
            .fails(&[busy]),
        post("/audit/export", Audit, export::download, "Download audit rows as CSV, JSON, NDJSON or evidence")
            .plain("application/octet-stream", "The file in the format asked for; `X-Row-Count` says how many rows")
            .fails(&[busy, no_checkpoint]),
        get("/audit/logs/{audit_id}/explain", Audit, explain::get, "Why a decision was made").fails(&[no_row]),
    ]
}
