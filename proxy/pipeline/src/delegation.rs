//! How many agents stand above the one that calls: those that started it, by the record, or that it says handed the
//! task on. A claim only ever raises the depth.

use aegis_core::agent::AgentRecord;
use aegis_core::snapshot::TenantSnapshot;
use aegis_core::tool_call::{DELEGATION_CHAIN_MAX, ToolCall};

/// Agents that may stand above the one that calls; deeper is `delegation_too_deep`.
pub const DELEGATION_DEPTH_MAX: usize = 5;

/// The depth of a call. Of what stands above an agent that is gone from the snapshot nothing is known; it counts
/// itself.
pub(crate) fn depth(tenant: Option<&TenantSnapshot>, agent: &AgentRecord, call: &ToolCall) -> usize {
    let above = |id| tenant.and_then(|tenant| tenant.agents.get(id)).and_then(|agent| agent.parent.as_ref());
    // A circle cannot be stored; a snapshot that holds one all the same ends at the bound.
    let stored = std::iter::successors(agent.parent.as_ref(), |id| above(*id)).take(DELEGATION_CHAIN_MAX).count();
    stored.max(call.delegation_chain.len())
}

#[cfg(test)]
mod tests {
    use aegis_core::finding::FindingId;
    use aegis_core::id::AgentId;
    use aegis_core::snapshot::Item;
    use serde_json::json;

    use super::*;
    use crate::fixtures::{World, agent, agent_id, call};

    fn too_deep(world: &World, claimed: Vec<AgentId>) -> bool {
        let call = ToolCall { delegation_chain: claimed, ..call("notes.read", &json!({})) };
        match world.decide(call) {
            Ok(_) => false,
            Err(denied) => {
                assert_eq!(denied.refusal.identifier(), "approval_required");
                denied.record.findings.iter().any(|finding| finding.id == FindingId::DelegationTooDeep)
            }
        }
    }

    /// Agent 1 with so many agents above it.
    fn below(ancestors: u128) -> World {
        let mut world = World::new();
        world.set((1..=ancestors + 1).map(|n| {
            let parent = (n <= ancestors).then(|| agent_id(n + 1));
            Item::Agent(AgentRecord { parent, ..agent(n) })
        }));
        world
    }

    #[test]
    fn agents_started_by_agents_are_counted_to_a_limit() {
        let limit = u128::try_from(DELEGATION_DEPTH_MAX).unwrap();
        assert!(!too_deep(&below(limit), vec![]));
        assert!(too_deep(&below(limit + 1), vec![]));
    }

    #[test]
    fn a_claimed_chain_raises_the_depth_and_never_lowers_it() {
        let chain = |length| (0..length).map(|_| agent_id(9)).collect::<Vec<_>>();
        assert!(!too_deep(&below(0), chain(DELEGATION_DEPTH_MAX)));
        assert!(too_deep(&below(0), chain(DELEGATION_DEPTH_MAX + 1)));
        assert!(too_deep(&below(u128::try_from(DELEGATION_DEPTH_MAX).unwrap() + 1), chain(1)));
    }

    #[test]
    fn a_circle_in_the_snapshot_ends() {
        let mut world = World::new();
        world.set(
            [(1, 2), (2, 1)].map(|(n, above)| Item::Agent(AgentRecord { parent: Some(agent_id(above)), ..agent(n) })),
        );
        assert!(too_deep(&world, vec![]));
    }
}
