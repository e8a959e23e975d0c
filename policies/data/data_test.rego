# Tests of the personal-data rule.
package aegis.test.data

import rego.v1

call(tool, payload, findings) := {
	"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": {}},
	"tool_name": tool, "tool": {"effect": "read"}, "payload": payload, "findings": findings,
}

escalated := {rule.id | some rule in data.aegis.decision.escalate}

test_a_seen_bulk_read_is_escalated if {
	seen := [{"id": "bulk_pii_read", "score": 50, "pointer": "/query"}]
	escalated == {"data.escalate.bulk_pii"} with input as call("db.query", {"query": "…"}, seen)
}

test_a_structured_bulk_read_is_escalated if {
	every payload in [{"columns": ["id", "Email"]}, {"fields": ["ssn"], "limit": 1001}, {"select": ["phone"], "rows": 50000}] {
		escalated == {"data.escalate.bulk_pii"} with input as call("crm.export", payload, [])
	}
}

test_a_small_read_passes if {
	escalated == set() with input as call("crm.export", {"fields": ["email"], "limit": 100}, [])
}

test_columns_without_people_pass if {
	escalated == set() with input as call("db.read", {"columns": ["id", "total"]}, [])
	escalated == set() with input as call("form.render", {"fields": ["email"]}, [])
}

test_a_faint_suspicion_passes if {
	escalated == set() with input as call("db.query", {}, [{"id": "bulk_pii_read", "score": 30, "pointer": "/query"}])
}
