# Tests of the money rules.
package aegis.test.finance

import rego.v1

call(tool, metadata, payload, findings) := {
	"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": metadata},
	"tool_name": tool, "tool": {"effect": "write"}, "payload": payload, "findings": findings,
}

denied := {rule.id | some rule in data.aegis.decision.deny}

escalated := {rule.id | some rule in data.aegis.decision.escalate}

test_a_wire_above_the_cap_is_denied if {
	every payload in [{"amount": 10000.01}, {"amount": "25000"}, {"amount_usd": 50000, "currency": "USD"}, {"total": 20000, "currency": "eur"}] {
		denied == {"finance.deny.wire_above_cap"} with input as call("finance.wire", {}, payload, [])
	}
}

test_a_seen_excess_is_denied if {
	seen := [{"id": "money_transfer_above_cap", "score": 95, "pointer": "/text"}]
	denied == {"finance.deny.wire_above_cap"} with input as call("chat.say", {}, {}, seen)
}

test_an_unreadable_amount_is_denied if {
	every amount in ["lots", "1.2.3", "", ".", "12,000", ["7"], null] {
		denied == {"finance.deny.wire_above_cap"} with input as call("finance.wire", {}, {"amount": amount}, [])
	}
}

test_a_wire_within_the_cap_passes if {
	every payload in [{"amount": 10000}, {"amount": "9999.99"}, {"amount": 500000, "currency": "JPY"}, {}] {
		denied == set() with input as call("finance.wire", {}, payload, [])
	}
}

test_the_owner_sets_the_cap if {
	denied == {"finance.deny.wire_above_cap"} with input as call("payments.transfer", {"wire_cap_usd": "500"}, {"amount": 501}, [])
	denied == set() with input as call("payments.transfer", {"wire_cap_usd": "50000"}, {"amount": 20000}, [])
	denied == {"finance.deny.wire_above_cap"} with input as call("payments.transfer", {"wire_cap_usd": "none"}, {"amount": 20000}, [])
}

test_other_tools_have_no_cap if {
	denied == set() with input as call("finance.report", {}, {"amount": 99999999}, [])
	denied == set() with input as call("mail.send", {}, {"amount": 99999999}, [])
}

test_outside_wires_are_escalated if {
	every payload in [{"amount": 5, "external": true}, {"amount": 5, "destination_type": "External"}, {"amount": 5, "type": "swift"}] {
		escalated == {"finance.escalate.wire_external"} with input as call("finance.wire", {}, payload, [])
	}
}

test_a_seen_outside_wire_is_escalated if {
	seen := [{"id": "money_transfer_external", "score": 50, "pointer": "/to"}]
	escalated == {"finance.escalate.wire_external"} with input as call("finance.wire", {}, {"amount": 5}, seen)
}

test_the_owners_accounts_are_inside if {
	own := {"internal_accounts": "DE01, de02"}
	escalated == set() with input as call("finance.wire", own, {"amount": 5, "to": "DE02"}, [])
	escalated == {"finance.escalate.wire_external"} with input as call("finance.wire", own, {"amount": 5, "to": "KY99"}, [])
}

test_inside_wires_are_not_escalated if {
	escalated == set() with input as call("finance.wire", {}, {"amount": 5, "to": "DE02", "external": false}, [])
}
