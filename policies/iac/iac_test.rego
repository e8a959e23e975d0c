# Tests of the infrastructure rules.
package aegis.test.iac

import rego.v1

call(tool, payload, findings) := {
	"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": {}},
	"tool_name": tool, "tool": {"effect": "write"}, "payload": payload, "findings": findings,
}

escalated := {rule.id | some rule in data.aegis.decision.escalate}

test_destroying_is_escalated if {
	every payload in [{"command": "destroy"}, {"action": "Destroy"}, {"destroy": true, "command": "plan"}] {
		escalated == {"iac.escalate.destroy"} with input as call("terraform.run", payload, [])
	}
	escalated == {"iac.escalate.destroy"} with input as call("pulumi.down", {}, [])
}

test_a_seen_destruction_is_escalated if {
	every id in ["iac_destruction", "iac_prod_destruction"] {
		seen := [{"id": id, "score": 55, "pointer": "/command"}]
		escalated == {"iac.escalate.destroy"} with input as call("shell.run", {"command": "terraform destroy"}, seen)
	}
}

test_planning_is_not_escalated if {
	escalated == set() with input as call("terraform.run", {"command": "plan", "destroy": false}, [])
}

test_other_tools_are_not_escalated if {
	escalated == set() with input as call("game.run", {"command": "destroy"}, [])
}
