# What no agent may do: act while inactive or ungranted, destroy, reach for credentials, leak.
package aegis.decision

import data.aegis.facts
import rego.v1

deny contains {"id": "agent.deny.not_active", "severity": "critical", "reason": "the agent is not active"} if {
	# An absent fact refuses like a false one.
	object.get(input, ["agent", "status"], "") != "ACTIVE"
}

deny contains {"id": "agent.deny.not_granted", "severity": "critical", "reason": "the tool is not granted to the agent"} if {
	object.get(input, ["agent", "granted"], false) != true
}

deny contains {
	"id": "agent.deny.critical_destructive",
	"severity": "critical",
	"reason": "agents of critical risk may not use destructive tools",
} if {
	input.agent.risk_level == "critical"
	call_is_destructive
}

# What detection is sure of speaks for itself.
deny contains rule.denial if {
	some id in facts.found
	some rule in denials_by_finding
	id in rule.findings
}

denials_by_finding := [
	{
		"findings": {"destructive_sql", "unguarded_mutation"},
		"denial": {
			"id": "agent.deny.destructive_sql",
			"severity": "critical",
			"reason": "the statement destroys data, or changes it without a real condition",
		},
	},
	{
		"findings": {"destructive_shell"},
		"denial": {
			"id": "agent.deny.destructive_shell",
			"severity": "critical",
			"reason": "the command destroys files, disks or the running system",
		},
	},
	{
		"findings": {"path_traversal", "system_sensitive_path", "cloud_credential_path", "ssh_credential_path"},
		"denial": {
			"id": "agent.deny.sensitive_path",
			"severity": "critical",
			"reason": "the path leads to credentials or system files, or out of its folder",
		},
	},
	{
		"findings": {"ssrf_cloud_metadata", "ssrf_internal_network", "ssrf_local_file"},
		"denial": {
			"id": "agent.deny.ssrf",
			"severity": "critical",
			"reason": "the address points into the internal network, at cloud metadata or at local files",
		},
	},
]

deny contains {
	"id": "agent.deny.pii_density",
	"severity": "critical",
	"reason": "the call dumps personal data, or carries it in three places or more",
} if {
	pii_is_dense
}

deny contains {
	"id": "agent.deny.secret_exfiltration",
	"severity": "critical",
	"reason": "data or a secret would leave for a place where it does not belong",
} if {
	secret_would_leave
}

call_is_destructive if {
	some word in facts.tool_words
	word in {"delete", "destroy", "drop", "erase", "kill", "purge", "remove", "rm", "shred", "terminate", "truncate", "uninstall", "wipe"}
}

call_is_destructive if {
	some id in facts.suspected
	id in {
		"control_plane_destruction", "destructive_shell", "destructive_sql", "iac_destruction",
		"iac_prod_destruction", "k8s_destruction", "k8s_prod_destruction", "unguarded_mutation",
	}
}

pii_is_dense if "bulk_pii_dump" in facts.found

pii_is_dense if {
	count(input.findings) >= 3
	places := {finding.pointer |
		some finding in input.findings
		finding.id in {"bulk_pii_read", "external_post_pii"}
		finding.score >= 40
	}
	count(places) >= 3
}

secret_would_leave if "data_exfiltration" in facts.found

secret_would_leave if {
	"secret_in_arguments" in facts.suspected
	some id in facts.suspected
	id in {"data_exfiltration", "external_post_pii", "known_exfil_destination"}
}
