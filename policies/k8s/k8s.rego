# Kubernetes: deleting a production namespace is refused, other changes in production need a human.
package aegis.decision

import data.aegis.facts
import rego.v1

deny contains {
	"id": "k8s.deny.prod_namespace_delete",
	"severity": "critical",
	"reason": "a production namespace may not be deleted",
} if {
	k8s_deletes_prod_namespace
}

escalate contains {
	"id": "k8s.escalate.prod_change",
	"approver_role": "ADMIN",
	"reason": "a change in a production cluster needs approval",
} if {
	k8s_changes_prod
}

k8s_deletes_prod_namespace if {
	k8s_tool
	k8s_call_deletes_prod_namespace
}

k8s_call_deletes_prod_namespace if {
	"delete" in (facts.payload_verbs | facts.tool_words)
	some kind in facts.payload_texts(["kind", "resource", "resource_type"])
	kind in k8s_namespace_words
	some name in facts.payload_texts(["name", "namespace"])
	k8s_is_prod(name)
}

k8s_call_deletes_prod_namespace if {
	{"delete", "namespace"} & facts.tool_words == {"delete", "namespace"}
	some name in facts.payload_texts(["name", "namespace"])
	k8s_is_prod(name)
}

# Detection saw production being destroyed; the text it points at says whether a namespace is meant.
k8s_deletes_prod_namespace if {
	some finding in input.findings
	finding.id == "k8s_prod_destruction"
	finding.score >= 70
	text := object.get(input.payload, split(trim_prefix(finding.pointer, "/"), "/"), "")
	is_string(text)
	some word in split(lower(text), " ")
	split(word, "/")[0] in k8s_namespace_words
}

k8s_changes_prod if "k8s_prod_destruction" in facts.suspected

k8s_changes_prod if {
	k8s_tool
	k8s_call_writes
	some scope in facts.payload_texts(["namespace", "cluster", "context", "environment", "env"])
	k8s_is_prod(scope)
}

k8s_tool if facts.tool_family in {"k8s", "kubernetes", "kubectl", "helm"}

k8s_call_writes if input.tool.effect == "write"

k8s_call_writes if {
	some verb in (facts.payload_verbs | facts.tool_words)
	verb in {
		"annotate", "apply", "cordon", "create", "delete", "drain", "edit", "evict", "exec", "install", "label", "patch",
		"replace", "restart", "rollback", "scale", "set", "taint", "uninstall", "update", "upgrade",
	}
}

k8s_namespace_words := {"namespace", "namespaces", "ns"}

k8s_is_prod(name) if {
	some word in split(replace(replace(name, "_", "-"), ".", "-"), "-")
	word in {"prod", "prd", "production", "live"}
}
