# Personal data: reading it in bulk needs a human.
package aegis.decision

import data.aegis.facts
import rego.v1

escalate contains {
	"id": "data.escalate.bulk_pii",
	"approver_role": "SECURITY",
	"reason": "reading personal data in bulk needs approval",
} if {
	bulk_pii
}

bulk_pii if "bulk_pii_read" in facts.suspected

# A structured read that names personal columns and asks for more than a thousand rows, or for all.
bulk_pii if {
	facts.tool_family in {"crm", "data", "database", "db", "dwh", "export", "hr", "warehouse"}
	some field in ["columns", "fields", "select"]
	columns := input.payload[field]
	is_array(columns)
	some column in columns
	is_string(column)
	lower(column) in pii_columns
	bulk_pii_is_unbounded
}

bulk_pii_is_unbounded if {
	count({field | some field in bulk_pii_limits; is_number(input.payload[field])}) == 0
}

bulk_pii_is_unbounded if {
	some field in bulk_pii_limits
	limit := input.payload[field]
	is_number(limit)
	limit > 1000
}

bulk_pii_limits := {"limit", "max_rows", "page_size", "rows", "top"}

pii_columns := {
	"address", "birth_date", "birthdate", "card_number", "date_of_birth", "dob", "email", "email_address", "iban",
	"mobile", "national_id", "passport", "passport_number", "phone", "phone_number", "salary", "social_security_number",
	"ssn", "tax_id",
}
