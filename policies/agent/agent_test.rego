# Tests of the agent rules: each fires on its cause and is silent without it.
package aegis.test.agent

import rego.v1

calm := {
	"agent": {"status": "ACTIVE", "granted": true, "risk_level": "low", "metadata": {}, "grants": []},
	"principal": {"role": "AGENT"},
	"tool_name": "db.query",
	"tool": {"effect": "read"},
	"payload": {},
	"findings": [],
}

having(findings) := object.union(calm, {"findings": findings})

at(id, score) := {"id": id, "score": score, "pointer": "/q"}

denied := {rule.id | some rule in data.aegis.decision.deny}

test_an_active_granted_agent_passes if denied == set() with input as calm

test_every_other_status_is_denied if {
	every status in ["INACTIVE", "SUSPENDED", "THROTTLED", "QUARANTINED", "TERMINATED", "active", ""] {
		denied == {"agent.deny.not_active"} with input as object.union(calm, {"agent": {"status": status}})
	}
}

test_a_tool_without_grant_is_denied if {
	denied == {"agent.deny.not_granted"} with input as object.union(calm, {"agent": {"granted": false}})
}

test_absent_facts_are_denied if {
	denied == {"agent.deny.not_active", "agent.deny.not_granted"} with input as {"tool_name": "db.query", "findings": []}
}

test_critical_agents_may_not_use_destructive_tools if {
	critical := object.union(calm, {"agent": {"risk_level": "critical"}})
	every tool in ["fs.delete", "table_drop", "vm.terminate-all"] {
		"agent.deny.critical_destructive" in denied with input as object.union(critical, {"tool_name": tool})
	}
	"agent.deny.critical_destructive" in denied with input as object.union(critical, {"findings": [at("k8s_destruction", 55)]})
}

test_critical_agents_may_use_other_tools if {
	denied == set() with input as object.union(calm, {"agent": {"risk_level": "critical"}, "tool_name": "fs.read"})
}

test_other_agents_may_use_destructive_tools if {
	denied == set() with input as object.union(calm, {"agent": {"risk_level": "high"}, "tool_name": "fs.delete"})
}

test_destructive_sql_is_denied if {
	every id in ["destructive_sql", "unguarded_mutation"] {
		denied == {"agent.deny.destructive_sql"} with input as having([at(id, 90)])
	}
}

test_doubtful_destructive_sql_passes if denied == set() with input as having([at("destructive_sql", 60)])

test_a_pii_dump_is_denied if denied == {"agent.deny.pii_density"} with input as having([at("bulk_pii_dump", 95)])

test_pii_in_three_places_is_denied if {
	places := [{"id": "external_post_pii", "score": 60, "pointer": p} | some p in ["/a", "/b", "/c"]]
	denied == {"agent.deny.pii_density"} with input as having(places)
}

test_pii_in_one_place_passes if {
	denied == set() with input as having([at("bulk_pii_read", 50), at("external_post_pii", 60)])
}

test_destructive_shell_is_denied if {
	denied == {"agent.deny.destructive_shell"} with input as having([at("destructive_shell", 95)])
}

test_doubtful_shell_passes if denied == set() with input as having([at("destructive_shell", 40)])

test_sensitive_paths_are_denied if {
	every id in ["path_traversal", "system_sensitive_path", "cloud_credential_path", "ssh_credential_path"] {
		denied == {"agent.deny.sensitive_path"} with input as having([at(id, 90)])
	}
}

test_doubtful_paths_pass if denied == set() with input as having([at("path_traversal", 60)])

test_ssrf_is_denied if {
	every id in ["ssrf_cloud_metadata", "ssrf_internal_network", "ssrf_local_file"] {
		denied == {"agent.deny.ssrf"} with input as having([at(id, 95)])
	}
}

test_an_external_address_passes if denied == set() with input as having([at("external_get", 5)])

test_secrets_on_their_way_out_are_denied if {
	every id in ["known_exfil_destination", "external_post_pii", "data_exfiltration"] {
		found := having([at("secret_in_arguments", 75), at(id, 60)])
		denied == {"agent.deny.secret_exfiltration"} with input as found
	}
	denied == {"agent.deny.secret_exfiltration"} with input as having([at("data_exfiltration", 95)])
}

test_a_secret_alone_passes if denied == set() with input as having([at("secret_in_arguments", 75), at("external_get", 5)])
