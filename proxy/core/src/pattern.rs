//! Tool names and the patterns that grants, routes and contracts match them with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes a tool name or pattern may have at most.
pub const TOOL_NAME_MAX: usize = 255;

/// A text that is neither a tool name nor a tool pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1-255 characters: words of [A-Za-z0-9_-] joined by dots, beginning with a letter")]
pub struct InvalidToolName;

/// A tool's name: dot-separated words of `[A-Za-z0-9_-]`, the first beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

impl ToolName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidToolName> {
        if is_tool_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidToolName) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

crate::text_schema!(ToolName, "tool-name", "db.query");

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ToolName {
    type Error = InvalidToolName;

    fn try_from(text: String) -> Result<Self, InvalidToolName> {
        Self::parse(&text)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

fn is_tool_name(text: &str) -> bool {
    text.len() <= TOOL_NAME_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text
            .split('.')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')))
}

/// Which tools something is about: `*`, `prefix.*` (everything below the prefix) or one exact name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ToolPattern {
    /// Every tool.
    Any,
    /// Every tool whose name begins with this prefix and a dot.
    Below(ToolName),
    /// One tool.
    Exact(ToolName),
}

impl ToolPattern {
    /// Checks a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidToolName> {
        if text.len() > TOOL_NAME_MAX {
            Err(InvalidToolName)
        } else if text == "*" {
            Ok(Self::Any)
        } else if let Some(prefix) = text.strip_suffix(".*") {
            ToolName::parse(prefix).map(Self::Below)
        } else {
            ToolName::parse(text).map(Self::Exact)
        }
    }

    /// Whether the tool is covered.
    pub fn matches(&self, tool: &ToolName) -> bool {
        match self {
            Self::Any => true,
            Self::Below(prefix) => {
                tool.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
            Self::Exact(name) => name == tool,
        }
    }
}

crate::text_schema!(ToolPattern, "tool-pattern", "db.*");

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(prefix) => write!(f, "{prefix}.*"),
            Self::Exact(name) => name.fmt(f),
        }
    }
}

impl TryFrom<String> for ToolPattern {
    type Error = InvalidToolName;

    fn try_from(text: String) -> Result<Self, InvalidToolName> {
        Self::parse(&text)
    }
}

impl From<ToolPattern> for String {
    fn from(pattern: ToolPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say() {
        let tool = ToolName::parse("db.query").unwrap();
        for (pattern, covered) in
            [("*", true), ("db.*", true), ("db.query", true), ("d.*", false), ("db.query.*", false), ("db.que", false)]
        {
            assert_eq!(ToolPattern::parse(pattern).unwrap().matches(&tool), covered, "{pattern}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for text in ["", ".", "a..b", "a.", "1a", "a b", "a/../b", "a.*.b", "**", "é", &"a".repeat(256)] {
            assert!(ToolPattern::parse(text).is_err(), "{text}");
        }
    }
}
