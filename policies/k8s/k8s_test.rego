# Tests of the Kubernetes rules.
package aegis.test.k8s

import rego.v1

call(tool, effect, payload, findings) := {
	"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": {}},
	"tool_name": tool, "tool": {"effect": effect}, "payload": payload, "findings": findings,
}

denied := {rule.id | some rule in data.aegis.decision.deny}

escalated := {rule.id | some rule in data.aegis.decision.escalate}

test_deleting_a_production_namespace_is_denied if {
	every payload in [
		{"verb": "delete", "kind": "Namespace", "name": "prod"},
		{"action": "DELETE", "resource": "ns", "namespace": "shop-production"},
		{"operation": "delete", "resource_type": "namespaces", "name": "prod_eu"},
	] {
		denied == {"k8s.deny.prod_namespace_delete"} with input as call("k8s.request", "write", payload, [])
	}
	denied == {"k8s.deny.prod_namespace_delete"} with input as call("k8s.delete_namespace", "write", {"name": "production"}, [])
}

test_a_seen_namespace_delete_is_denied if {
	seen := [{"id": "k8s_prod_destruction", "score": 90, "pointer": "/command"}]
	every command in ["kubectl delete namespace prod", "kubectl delete ns/production"] {
		denied == {"k8s.deny.prod_namespace_delete"} with input as call("shell.run", "write", {"command": command}, seen)
	}
}

test_deleting_another_namespace_is_not_denied if {
	every payload in [
		{"verb": "delete", "kind": "namespace", "name": "staging"},
		{"verb": "delete", "kind": "namespace", "name": "product-tests"},
		{"verb": "delete", "kind": "pod", "namespace": "prod"},
		{"verb": "get", "kind": "namespace", "name": "prod"},
	] {
		denied == set() with input as call("k8s.request", "write", payload, [])
	}
}

test_destroying_less_than_a_namespace_is_escalated_only if {
	seen := [{"id": "k8s_prod_destruction", "score": 90, "pointer": "/command"}]
	payload := {"command": "kubectl delete deployment web --namespace prod"}
	denied == set() with input as call("shell.run", "write", payload, seen)
	escalated == {"k8s.escalate.prod_change"} with input as call("shell.run", "write", payload, seen)
}

test_production_changes_are_escalated if {
	every payload in [
		{"verb": "scale", "namespace": "prod", "replicas": 0},
		{"verb": "apply", "cluster": "eu-prod-1"},
		{"action": "upgrade", "environment": "production"},
	] {
		escalated == {"k8s.escalate.prod_change"} with input as call("k8s.request", "read", payload, [])
	}
	escalated == {"k8s.escalate.prod_change"} with input as call("helm.run", "write", {"namespace": "live"}, [])
}

test_reading_production_is_not_escalated if {
	escalated == set() with input as call("k8s.get", "read", {"verb": "list", "namespace": "prod"}, [])
}

test_changes_elsewhere_are_not_escalated if {
	escalated == set() with input as call("k8s.request", "write", {"verb": "scale", "namespace": "staging"}, [])
	escalated == set() with input as call("db.query", "write", {"namespace": "prod"}, [])
}
