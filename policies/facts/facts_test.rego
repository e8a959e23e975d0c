# Tests of the shared facts.
package aegis.test.facts

import rego.v1

test_strength_follows_the_score if {
	findings := [{"id": "a", "score": 70}, {"id": "b", "score": 69}, {"id": "c", "score": 40}, {"id": "d", "score": 39}]
	data.aegis.facts.found == {"a"} with input as {"findings": findings}
	data.aegis.facts.suspected == {"a", "b", "c"} with input as {"findings": findings}
}

test_a_tool_name_falls_into_words if {
	data.aegis.facts.tool_family == "finance" with input as {"tool_name": "Finance.wire_send-now"}
	data.aegis.facts.tool_words == {"finance", "wire", "send", "now"} with input as {"tool_name": "Finance.wire_send-now"}
}

test_verbs_are_read_from_strings_only if {
	data.aegis.facts.payload_verbs == {"delete"} with input as {"payload": {"verb": "DELETE", "action": 7, "other": "drop"}}
}

test_nothing_is_refused_without_a_cause if {
	calm := {
		"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": {}, "grants": []},
		"principal": {"role": "AGENT"}, "tool_name": "db.query", "tool": {"effect": "read"},
		"payload": {"query": "SELECT id FROM orders WHERE id = 7"}, "findings": [],
	}
	count(data.aegis.decision.deny) == 0 with input as calm
	count(data.aegis.decision.escalate) == 0 with input as calm
}

# An error in a built-in would refuse the call with `policy_error`: no shape of payload may cause one.
test_payloads_of_any_shape_are_judged if {
	every tool in ["data.read", "finance.wire", "k8s.request", "terraform.run", "are.run", "mail.send"] {
		every value in [null, true, 7, "text", [], [[1], {"a": null}], {}, {"a": {"b": []}}] {
			fields := ["amount", "columns", "currency", "destroy", "external", "fields", "kind", "limit", "name", "namespace", "to", "type", "verb"]
			call := {
				"agent": {"status": "ACTIVE", "granted": true, "risk_level": "critical", "metadata": {"wire_cap_usd": "x", "internal_accounts": ""}},
				"principal": {"role": "AGENT"}, "tool_name": tool, "tool": {"effect": "write"},
				"payload": {field: value | some field in fields},
				"findings": [{"id": "k8s_prod_destruction", "score": 90, "pointer": p} | some p in ["", "/", "/name", "/name/0/a", "name"]],
			}
			count(data.aegis.decision.deny) >= 0 with input as call
			count(data.aegis.decision.escalate) >= 0 with input as call
		}
	}
}
