//! Stage 2: limits, quotas and money. (Idempotent replays are answered before, by the service.)

use aegis_core::money::MicroUsd;
use aegis_core::time::Timestamp;
use aegis_core::tool_call::ToolCall;

use crate::counters::{CountRequest, Counted, Counters};
use crate::facts::ToolFacts;
use crate::refusal::Refusal;
use crate::stages::auth::Caller;

/// Counts the call, or names the limit that is reached.
pub(crate) fn count(
    caller: &Caller,
    call: &ToolCall,
    tool: &ToolFacts,
    counters: &dyn Counters,
    now: Timestamp,
) -> Result<Counted, Refusal> {
    let request = CountRequest {
        tenant_id: caller.identified.principal.tenant_id,
        agent_id: caller.agent.id,
        limits: caller.settings.limits,
        agent_rps: caller.agent.requests_per_second,
        agent_cost_cap: caller.agent.daily_cost_cap_micro_usd,
        cost: highest_cost(call, tool),
    };
    counters.admit(&request, now).map_err(Refusal::RateLimited)
}

/// What the route says or what the agent expects, whichever is more: an estimate never lowers the account.
fn highest_cost(call: &ToolCall, tool: &ToolFacts) -> MicroUsd {
    tool.cost.max(call.cost_estimate.unwrap_or(MicroUsd::ZERO))
}
