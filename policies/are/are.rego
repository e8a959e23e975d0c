# Automatic response: an agent may not trigger a response action unless a human approved this very call;
# operators may.
package aegis.decision

import data.aegis.facts
import rego.v1

deny contains {
	"id": "are.deny.response_action_without_approval",
	"severity": "high",
	"reason": "a response action needs an approved request",
} if {
	are_response_action

	# Set by the pipeline from a verified ticket only; what the caller claims in the payload counts for nothing.
	object.get(input, ["approval", "granted"], false) != true
	not object.get(input, ["principal", "role"], "") in {"ADMIN", "SECURITY"}
}

are_response_action if {
	facts.tool_family in {"aegis", "are", "response", "soar"}
	some action in are_named_actions
	action in {
		"block_tool", "engage_kill_switch", "disengage_kill_switch", "isolate_agent", "kill_agent", "quarantine_agent", "revoke_key",
		"revoke_tokens", "run_playbook", "throttle", "throttle_agent", "trigger_playbook",
	}
}

are_named_actions := facts.payload_verbs | {replace(word, "-", "_") | some word in split(lower(input.tool_name), ".")}
