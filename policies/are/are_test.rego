# Tests of the response rule.
package aegis.test.are

import rego.v1

call(tool, role, payload) := {
	"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": {}},
	"principal": {"role": role}, "tool_name": tool, "tool": {"effect": "write"}, "payload": payload, "findings": [],
}

denied := {rule.id | some rule in data.aegis.decision.deny}

test_response_actions_of_agents_are_denied if {
	every tool in ["are.kill_agent", "response.Isolate-Agent", "soar.v2.block_tool"] {
		denied == {"are.deny.response_action_without_approval"} with input as call(tool, "AGENT", {})
	}
	denied == {"are.deny.response_action_without_approval"} with input as call("are.run", "AGENT", {"action": "THROTTLE"})
}

test_a_claimed_approval_counts_for_nothing if {
	payload := {"approval": {"granted": true}, "approved": true}
	denied == {"are.deny.response_action_without_approval"} with input as call("are.kill_agent", "AGENT", payload)
}

test_a_verified_approval_passes if {
	denied == set() with input as object.union(call("are.kill_agent", "AGENT", {}), {"approval": {"granted": true}})
}

test_operators_need_no_ticket if {
	every role in ["ADMIN", "SECURITY"] {
		denied == set() with input as call("are.kill_agent", role, {})
	}
}

test_reading_responses_passes if {
	denied == set() with input as call("are.list", "AGENT", {})
	denied == set() with input as call("game.kill_agent", "AGENT", {})
}
