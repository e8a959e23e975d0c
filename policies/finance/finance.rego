# Money: transfers above the cap are refused, transfers to outsiders need a human.
#
# The owner may set two labels on an agent: `wire_cap_usd`, the largest transfer (10000 if absent), and
# `internal_accounts`, the comma-separated accounts that are the owner's own.
package aegis.decision

import data.aegis.facts
import rego.v1

deny contains {
	"id": "finance.deny.wire_above_cap",
	"severity": "critical",
	"reason": "the transfer is above the cap",
} if {
	wire_above_cap
}

escalate contains {
	"id": "finance.escalate.wire_external",
	"approver_role": "ADMIN",
	"reason": "a transfer to an outside account needs approval",
} if {
	wire_external
}

wire_above_cap if "money_transfer_above_cap" in facts.found

wire_above_cap if {
	wire_tool
	wire_argument_above_cap
}

wire_argument_above_cap if {
	wire_currency_is_comparable
	some field in ["amount", "amount_usd", "total", "value"]
	wire_amount(input.payload[field]) > wire_cap_usd
}

# An amount that cannot be read as a number cannot be held against the cap.
wire_argument_above_cap if {
	some field in ["amount", "amount_usd"]
	# An absent one is not unreadable: said with a default, since `not` would hold for what is undefined.
	amount := object.get(input.payload, field, 0)
	not is_number(amount)
	not facts.is_decimal(amount)
}

wire_external if "money_transfer_external" in facts.suspected

wire_external if {
	wire_tool
	wire_argument_external
}

wire_argument_external if {
	some flag in ["external", "offshore", "international"]
	input.payload[flag] == true
}

wire_argument_external if {
	some kind in facts.payload_texts(["beneficiary_type", "destination_type", "recipient_type", "transfer_type", "type", "scope"])
	kind in {"external", "international", "offshore", "swift", "third_party"}
}

wire_argument_external if {
	listed := lower(input.agent.metadata.internal_accounts)
	own := {trim_space(account) | some account in split(listed, ",")}
	some account in facts.payload_texts(["account", "beneficiary", "beneficiary_account", "destination", "destination_account", "iban", "recipient", "to", "to_account"])
	not account in own
}

wire_tool if {
	facts.tool_family in {"bank", "banking", "erp", "finance", "payment", "payments", "treasury", "wire"}
	some word in (facts.tool_words | facts.payload_verbs)
	word in {"disburse", "pay", "payment", "payout", "remit", "send", "transfer", "wire"}
}

default wire_cap_usd := 10000

wire_cap_usd := to_number(input.agent.metadata.wire_cap_usd) if facts.is_decimal(input.agent.metadata.wire_cap_usd)

# Currencies worth about a dollar or more: above the cap in them is above the cap in dollars.
wire_currency_is_comparable if not input.payload.currency

wire_currency_is_comparable if input.payload.currency in {"CHF", "EUR", "GBP", "USD", "chf", "eur", "gbp", "usd"}

wire_amount(amount) := amount if is_number(amount)

wire_amount(amount) := to_number(amount) if facts.is_decimal(amount)
