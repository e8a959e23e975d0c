//! Where a rule stands in a policy's text, and what of the input it reads.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::policy::ruleset::{Source, load};

/// Parts of the input that are named of one rule at most.
const READS_MAX: usize = 32;

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// The file.
    pub file: String,
    /// The line of the rule's head, from 1.
    pub line: u32,
    /// The column of the rule's head, from 1.
    pub column: u32,
    /// The line in which its id stands, from 1.
    pub id_line: u32,
    /// The rule.
    pub text: String,
    /// What it reads of the input itself (`input.agent.risk_level`), and what it imports (`facts.found`), sorted. For
    /// a table of rules, what the rules read that go through it.
    pub reads: Vec<String>,
}

static READS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:input|facts|data\.aegis\.facts)(?:\.[A-Za-z_][A-Za-z0-9_]*)+").ok());

/// The rule that is written with this id. Absent if no rule of the text has the id as a literal (ids may be composed
/// at run time), or if the text does not parse.
pub fn locate(file: &str, rego: &str, id: &str) -> Option<RuleText> {
    let quoted = serde_json::Value::from(id).to_string();
    // Parsing takes a while; most files do not even contain the id.
    if !rego.contains(&quoted) {
        return None;
    }
    let mut engine = load(&[Source { file, rego }]).ok()?;
    let rules = engine.get_modules().iter().flat_map(|module| module.policy.iter());
    let all: Vec<_> = rules.map(|rule| rule.span()).filter(|span| !span.text().starts_with("test_")).collect();
    let span = all.iter().find(|span| span.text().contains(&quoted))?;
    let text = span.text().to_owned();
    let mut read = reads(&text);
    if let (true, Some((table, _))) = (read.is_empty(), text.split_once(" := ")) {
        let through = all.iter().map(|other| other.text()).filter(|other| *other != text && names(other, table));
        read = reads(&through.collect::<Vec<_>>().join("\n"));
    }
    let before = text.split(&quoted).next().unwrap_or_default().matches('\n').count();
    Some(RuleText {
        file: file.to_owned(),
        line: span.line,
        column: span.col,
        id_line: span.line.saturating_add(u32::try_from(before).unwrap_or(0)),
        reads: read,
        text,
    })
}

/// Whether a rule's text has this name as a word.
fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
}

fn reads(text: &str) -> Vec<String> {
    let Some(pattern) = READS.as_ref() else { return Vec::new() };
    let named: BTreeSet<&str> = pattern.find_iter(text).map(|found| found.as_str()).collect();
    named.into_iter().take(READS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"package aegis.decision
import data.aegis.facts
import rego.v1

# The id "own.b" in a comment is no rule.
deny contains {
	"id": "own.b",
	"severity": "high",
} if {
	input.agent.risk_level == "high"
	"sql_injection" in facts.found
}

test_b if "own.c" in {"own.c"}
"#;

    #[test]
    fn a_rule_is_found_with_its_line_and_what_it_reads() {
        let rule = locate("own.rego", TEXT, "own.b").unwrap();
        assert_eq!((rule.line, rule.column, rule.id_line), (6, 1, 7));
        assert_eq!(rule.reads, ["facts.found", "input.agent.risk_level"]);
        assert!(rule.text.starts_with("deny contains") && rule.text.ends_with('}'), "{}", rule.text);
    }

    #[test]
    fn a_rule_of_a_table_reads_what_the_rules_read_that_go_through_it() {
        let text = r#"package aegis.decision
import data.aegis.facts
import rego.v1

deny contains row if {
	some id in facts.found
	some row in rows
}

rows := [{"id": "own.d"}]
"#;
        let rule = locate("own.rego", text, "own.d").unwrap();
        assert_eq!((rule.line, rule.reads), (10, vec!["facts.found".to_owned()]));
    }

    #[test]
    fn what_is_not_written_is_not_found() {
        assert_eq!(locate("own.rego", TEXT, "own.d"), None);
        assert_eq!(locate("own.rego", TEXT, "own.c"), None, "a test is no rule that speaks");
        assert_eq!(locate("own.rego", "\"own.b\" nonsense", "own.b"), None);
    }
}
