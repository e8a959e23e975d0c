# What the rules of the platform bundle share: findings by strength, and the parts of the tool's name.
#
# Detection is native; rules read its findings and structured fields of the payload, never free text at large.
# They stand in a package of their own, where nothing that is added to `aegis.decision` can reach them.
package aegis.facts

import rego.v1

# Findings of which detection is sure enough to refuse on.
found contains finding.id if {
	some finding in input.findings
	finding.score >= 70
}

# Findings of which detection is sure enough to ask a human.
suspected contains finding.id if {
	some finding in input.findings
	finding.score >= 40
}

# The tool's name before the first dot: `k8s` of `k8s.delete`.
tool_family := split(lower(input.tool_name), ".")[0]

# Every word of the tool's name: `finance.wire_send` is finance, wire, send.
tool_words := {word | some word in split(replace(replace(lower(input.tool_name), "-", "."), "_", "."), ".")}

# What the payload says it wants done.
payload_verbs := {lower(verb) |
	some field in ["verb", "action", "operation", "command", "subcommand", "method"]
	verb := input.payload[field]
	is_string(verb)
}

# The strings that the payload holds in these fields, lower case.
payload_texts(fields) := {lower(text) |
	some field in fields
	text := input.payload[field]
	is_string(text)
}

# Whether a text is digits with at most one dot inside: what `to_number` reads without fail.
is_decimal(text) if {
	is_string(text)
	trim(text, "0123456789.") == ""
	parts := split(text, ".")
	count(parts) <= 2
	every part in parts {
		part != ""
	}
}
