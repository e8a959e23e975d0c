//! Stage 4: what the rules say about the call.

use aegis_core::finding::Finding;
use aegis_core::time::Timestamp;
use aegis_core::tool_call::ToolCall;

use crate::facts::{RequestFacts, ToolFacts};
use crate::policy::{
    AgentInput, ApprovalInput, BehaviorInput, FindingInput, GrantInput, PolicyFailure, PolicyInput, PolicyVerdict,
    PrincipalInput, RequestInput, SessionInput, ShadowPolicy, TenantInput, TenantPolicy, TimeInput, ToolInput,
};
use crate::stages::auth::Caller;

/// What stage 4 ends with. A failure is not a refusal yet: stage 6 makes it one, so that the row is whole.
pub type PolicyResult = Result<PolicyVerdict, PolicyFailure>;

/// The call as rules see it.
pub(crate) struct Question<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) request: &'a RequestFacts,
    pub(crate) call: &'a ToolCall,
    pub(crate) tool: &'a ToolFacts,
    pub(crate) findings: &'a [Finding],
    pub(crate) session: SessionInput,
    pub(crate) behavior: BehaviorInput,
    pub(crate) approved: bool,
    pub(crate) now: Timestamp,
}

/// Asks the tenant's policy, and beside it every shadow version. No policy at all is a fault, never an allow.
pub(crate) fn evaluate<'a>(
    policy: Option<&TenantPolicy>,
    shadows: &'a [ShadowPolicy],
    question: Question<'_>,
) -> (PolicyResult, Vec<(&'a ShadowPolicy, PolicyResult)>) {
    let input = input(question);
    let ruled = policy.ok_or(PolicyFailure::Broken).and_then(|policy| policy.evaluate(&input));
    let beside = shadows.iter().map(|shadow| (shadow, shadow.policy.evaluate(&input))).collect();
    (ruled, beside)
}

fn input(question: Question<'_>) -> PolicyInput<'_> {
    let Question { caller, request, call, tool, findings, session, behavior, approved, now } = question;
    let agent = &caller.agent;
    let grants = agent.grants.iter().filter(|grant| grant.in_force(now));
    PolicyInput {
        tenant: TenantInput { id: caller.settings.id, tier: caller.settings.tier },
        agent: AgentInput {
            id: agent.id,
            name: &agent.name,
            status: agent.status,
            risk_level: agent.risk_level,
            metadata: &agent.metadata,
            grants: grants.map(|grant| GrantInput { tool: &grant.tool, effect: grant.effect }).collect(),
            granted: agent.is_granted(&call.tool_name, now),
        },
        principal: PrincipalInput { role: caller.identified.principal.role },
        tool_name: &call.tool_name,
        tool: ToolInput { effect: tool.effect },
        payload: &call.payload,
        findings: findings.iter().map(FindingInput::from).collect(),
        session,
        behavior,
        time: TimeInput { iso: now, hour: now.hour(), weekday: now.weekday() },
        request: RequestInput { id: request.request_id.as_str().to_owned(), ip: request.address.to_string() },
        approval: ApprovalInput { granted: approved },
    }
}
