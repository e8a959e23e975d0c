# Infrastructure as code: destroying what it built needs a human.
package aegis.decision

import data.aegis.facts
import rego.v1

escalate contains {
	"id": "iac.escalate.destroy",
	"approver_role": "ADMIN",
	"reason": "destroying infrastructure needs approval",
} if {
	iac_destroys
}

iac_destroys if {
	some id in facts.suspected
	id in {"iac_destruction", "iac_prod_destruction"}
}

iac_destroys if {
	iac_tool
	iac_call_destroys
}

iac_call_destroys if {
	some verb in (facts.payload_verbs | facts.tool_words)
	verb in {"destroy", "delete_stack", "delete-stack", "down", "teardown"}
}

iac_call_destroys if input.payload.destroy == true

iac_tool if facts.tool_family in {"cdk", "cloudformation", "iac", "opentofu", "pulumi", "terraform", "terragrunt", "tofu"}
