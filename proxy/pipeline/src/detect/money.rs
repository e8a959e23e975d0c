//! Transfers of money with structured arguments: above the cap, or out of the house.

use aegis_core::finding::FindingId;
use aegis_core::json;
use aegis_core::money::MicroUsd;
use serde_json::{Map, Value};

use super::DetectInput;
use super::findings::Findings;
use super::words::has_word;

const MONEY_TOOLS: [&str; 10] =
    ["payment", "payments", "pay", "transfer", "wire", "payout", "ach", "sepa", "bank", "remit"];
const MOVING_WORDS: [&str; 8] = ["transfer", "wire", "payout", "pay", "send", "remit", "payment", "payments"];
const AMOUNT_KEYS: [&str; 8] = ["amount", "amount_usd", "value", "total", "sum", "amountUsd", "transfer_amount", "usd"];
const EXTERNAL_KEYS: [&str; 9] = [
    "iban",
    "swift",
    "bic",
    "routing_number",
    "beneficiary_iban",
    "account_iban",
    "wallet",
    "wallet_address",
    "crypto_address",
];
/// In minor units of a hundredth, by the parameter's own name.
const CENT_KEYS: [&str; 3] = ["amount_cents", "cents", "amount_minor"];

/// Adds what a structured transfer would move. Amounts without a currency, or in another, are taken as dollars.
pub(crate) fn scan(input: &DetectInput<'_>, findings: &mut Findings) {
    let tool = input.tool_name.as_str();
    if !has_word(tool, &MONEY_TOOLS) || !has_word(tool, &MOVING_WORDS) {
        return;
    }
    if let Some((key, amount)) = amount_of(input.payload)
        && amount > input.hints.transfer_cap
    {
        findings.add_base(FindingId::MoneyTransferAboveCap, &format!("/{key}"));
    }
    if let Some(key) = external(input.payload) {
        findings.add_base(FindingId::MoneyTransferExternal, &format!("/{key}"));
    }
}

fn amount_of(payload: &Map<String, Value>) -> Option<(&'static str, MicroUsd)> {
    let whole = AMOUNT_KEYS.iter().filter_map(|key| Some((*key, money(payload.get(*key)?)?)));
    let cents = CENT_KEYS.iter().filter_map(|key| {
        let amount = money(payload.get(*key)?)?;
        Some((*key, MicroUsd::from_micros(amount.as_micros() / 100)))
    });
    whole.chain(cents).max_by_key(|(_, amount)| *amount)
}

/// An amount of dollars; one beyond what we can count is the largest.
fn money(value: &Value) -> Option<MicroUsd> {
    let text = match value {
        Value::Number(_) => json::canonical(value),
        Value::String(text) => text.trim().trim_start_matches('$').replace([',', '_'], ""),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_amount = text.bytes().next().is_some_and(|b| b.is_ascii_digit());
    is_amount.then(|| MicroUsd::parse_usd(&text).unwrap_or(MicroUsd::from_micros(u64::MAX)))
}

fn external(payload: &Map<String, Value>) -> Option<&'static str> {
    if let Some(key) =
        EXTERNAL_KEYS.iter().find(|key| payload.get(**key).is_some_and(|v| v.as_str().is_some_and(|t| !t.is_empty())))
    {
        return Some(key);
    }
    let says = |key: &str, words: &[&str]| payload.get(key).and_then(Value::as_str).is_some_and(|t| has_word(t, words));
    let flagged = payload.get("external").and_then(Value::as_bool).unwrap_or(false);
    let named = ["destination_type", "destination", "type", "recipient_type"]
        .into_iter()
        .find(|key| says(key, &["external", "offshore", "international", "foreign", "crypto"]));
    named.or(flagged.then_some("external"))
}
