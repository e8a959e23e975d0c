//! Rules without Rego: conditions on fields of the input, written out as the Rego they mean.

use std::iter;

use aegis_core::words;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::Issues;

/// Rules of one draft at most.
pub(super) const RULES_MAX: usize = 50;
/// Conditions of one rule at most.
const CONDITIONS_MAX: usize = 20;
/// Characters of a field at most.
const FIELD_MAX: usize = 128;
/// Bytes of a value at most, as JSON.
const VALUE_MAX: usize = 2_048;
/// Characters of a description at most.
const DESCRIPTION_MAX: usize = 200;

words! {
    /// How a field is compared.
    pub(crate) enum Operator {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Gte = "gte",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Lte = "lte",
        /// Is one of the values in the list.
        In = "in",
        /// Has this element, or this text in it.
        Contains = "contains",
        /// A text that begins so.
        StartsWith = "starts_with",
        /// A text that ends so.
        EndsWith = "ends_with",
    }
}

words! {
    /// What a rule does.
    pub(crate) enum RuleAction {
        /// Denies the call.
        Deny = "deny",
        /// Asks a human.
        Escalate = "escalate",
        /// Has it watched.
        Monitor = "monitor",
    }
}

/// One condition.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// A field of the input, dotted; `finding` stands for the ids of the findings.
    #[schema(examples("agent.risk_level"))]
    field: String,
    operator: Operator,
    #[schema(value_type = Object, examples("high"))]
    value: Value,
}

/// A rule: all of its conditions must hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConditionRule {
    #[schema(min_items = 1, max_items = 20)]
    conditions: Vec<Condition>,
    action: RuleAction,
    #[serde(default)]
    #[schema(max_length = 200)]
    description: String,
}

impl ConditionRule {
    pub(super) fn validate(&self, issues: &mut Issues) {
        let few = (1..=CONDITIONS_MAX).contains(&self.conditions.len());
        issues.check(few, "policy", format!("a rule has 1 to {CONDITIONS_MAX} conditions"));
        let described = self.description.chars().count() <= DESCRIPTION_MAX;
        issues.check(described, "policy", format!("a description has {DESCRIPTION_MAX} characters at most"));
        for condition in &self.conditions {
            issues.check(is_field(&condition.field), "policy", "a field is dotted names, such as agent.risk_level");
            let short = condition.value.to_string().len() <= VALUE_MAX;
            issues.check(short, "policy", format!("a value has {VALUE_MAX} bytes at most"));
            let listed = condition.operator != Operator::In || condition.value.is_array();
            issues.check(listed, "policy", "the operator `in` needs a list");
        }
    }
}

fn is_field(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.len() <= FIELD_MAX && text.split('.').all(is_name)
}

/// The rules as a Rego file. Names and values stand in it as JSON, which Rego reads the same way, so nothing that a
/// client sends can become a rule of its own.
pub(super) fn rego(rules: &[ConditionRule]) -> String {
    let mut text = String::from("package aegis.decision\nimport rego.v1\n");
    for (n, rule) in rules.iter().enumerate() {
        let id = Value::from(format!("draft.{}.{}", rule.action, n + 1));
        let reason = Value::from(rule.description.as_str());
        let conditions = rule.conditions.iter().map(|condition| format!("\t{}\n", expression(condition)));
        let head = format!("\n{} contains {{\"id\": {id}, \"reason\": {reason}}} if {{\n", rule.action);
        text.extend(iter::once(head).chain(conditions).chain(iter::once("}\n".to_owned())));
    }
    text
}

fn expression(condition: &Condition) -> String {
    let value = &condition.value;
    let field = if condition.field == "finding" {
        "{finding.id | some finding in input.findings}".to_owned()
    } else {
        let parts = condition.field.split('.').map(|part| format!("[{}]", Value::from(part)));
        format!("input{}", parts.collect::<String>())
    };
    match condition.operator {
        Operator::Eq => format!("{field} == {value}"),
        Operator::Ne => format!("{field} != {value}"),
        Operator::Gt => format!("{field} > {value}"),
        Operator::Gte => format!("{field} >= {value}"),
        Operator::Lt => format!("{field} < {value}"),
        Operator::Lte => format!("{field} <= {value}"),
        Operator::In => format!("{field} in {value}"),
        // A text has parts, everything else elements.
        Operator::Contains if condition.field != "finding" && value.is_string() => {
            format!("count([1 | contains({field}, {value})]) + count([1 | {value} in {field}]) > 0")
        }
        Operator::Contains => format!("{value} in {field}"),
        Operator::StartsWith => format!("startswith({field}, {value})"),
        Operator::EndsWith => format!("endswith({field}, {value})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_pipeline::policy::{PlatformBundle, check};
    use serde_json::json;

    fn rule(field: &str, operator: &str, value: &Value) -> ConditionRule {
        let condition = json!({ "field": field, "operator": operator, "value": value });
        let rule = json!({ "conditions": [condition], "action": "deny", "description": "a \"quoted\" reason" });
        serde_json::from_value(rule).unwrap()
    }

    /// Whether the rule speaks on this input, by a test rule in the same file.
    fn speaks(rule: ConditionRule, input: &Value) -> bool {
        let text = format!("{}\ntest_it if count(deny) == 1 with input as {input}\n", rego(&[rule]));
        let checked =
            check(&PlatformBundle::embedded().unwrap(), "draft", &text).unwrap_or_else(|e| panic!("{e}: {text}"));
        checked.tests_passed == 1
    }

    #[test]
    fn every_operator_means_what_it_says() {
        let input = json!({
            "tool_name": "db.query", "agent": { "risk_level": "high", "labels": ["a", "b"] }, "time": { "hour": 9 },
            "findings": [{ "id": "sql_injection" }],
        });
        let cases = [
            ("tool_name", "eq", json!("db.query"), json!("db.dump")),
            ("tool_name", "ne", json!("db.dump"), json!("db.query")),
            ("time.hour", "gt", json!(8), json!(9)),
            ("time.hour", "gte", json!(9), json!(10)),
            ("time.hour", "lt", json!(10), json!(9)),
            ("time.hour", "lte", json!(9), json!(8)),
            ("agent.risk_level", "in", json!(["high", "critical"]), json!(["low"])),
            ("agent.labels", "contains", json!("b"), json!("c")),
            ("tool_name", "contains", json!("que"), json!("dump")),
            ("tool_name", "starts_with", json!("db."), json!("fs.")),
            ("tool_name", "ends_with", json!("query"), json!("dump")),
            ("finding", "contains", json!("sql_injection"), json!("jailbreak_attempt")),
        ];
        for (field, operator, holds, fails) in cases {
            assert!(speaks(rule(field, operator, &holds), &input), "{field} {operator} {holds}");
            assert!(!speaks(rule(field, operator, &fails), &input), "{field} {operator} {fails}");
        }
        assert!(!speaks(rule("agent.absent", "eq", &json!(1)), &input));
    }

    #[test]
    fn nothing_sent_becomes_a_rule() {
        let hostile = "x\"} if true }\ndeny contains {\"id\": \"y";
        assert!(!speaks(rule("tool_name", "eq", &json!(hostile)), &json!({ "tool_name": "db.query" })));
        for field in ["", ".", "a..b", "a b", "a\"]", "1a", "a.b-c"] {
            assert!(!is_field(field), "{field}");
        }
        assert!(is_field("agent.risk_level"));
    }
}
