//! Path templates: literal text with values of the call in it, each of which stays one path segment's text.

use aegis_core::pattern::ToolName;
use aegis_core::tool_call::ToolCall;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Bytes a value in a path may have at most.
pub const VALUE_MAX: usize = 1_024;
/// Parts a template may have at most.
pub const PARTS_MAX: usize = 32;

/// Everything but the unreserved characters of RFC 3986 §2.3 is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    ToolName,
    /// A top-level value of the payload.
    Payload(String),
}

/// A path with places for `{tool_name}` and `{payload.KEY}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

/// A text that is not a path template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must begin with `/` and hold only path characters, {{tool_name}} and {{payload.KEY}}")]
pub struct InvalidTemplate;

/// A value of the call that may not stand in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The payload's key.
    pub key: String,
    /// What is wrong, for the client.
    pub problem: &'static str,
}

impl PathTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if !text.starts_with('/') {
            return Err(InvalidTemplate);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or(InvalidTemplate)?;
            push_text(&mut parts, before)?;
            parts.push(match name.strip_prefix("payload.") {
                Some(key) if !key.is_empty() => Part::Payload(key.to_owned()),
                None if name == "tool_name" => Part::ToolName,
                Some(_) | None => return Err(InvalidTemplate),
            });
            rest = tail;
        }
        push_text(&mut parts, rest)?;
        if parts.len() > PARTS_MAX { Err(InvalidTemplate) } else { Ok(Self(parts)) }
    }

    /// The path of one call.
    pub fn render(&self, call: &ToolCall) -> Result<String, BadValue> {
        let mut path = String::with_capacity(64);
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::ToolName => push_name(&mut path, &call.tool_name),
                Part::Payload(key) => push_value(&mut path, key, call.payload.get(key))?,
            }
        }
        Ok(path)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), InvalidTemplate> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&b);
    let has_dots = text.split('/').any(|segment| segment == "." || segment == "..");
    if !text.bytes().all(allowed) || has_dots {
        return Err(InvalidTemplate);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn push_name(path: &mut String, name: &ToolName) {
    // A tool name is words of [A-Za-z0-9_-] joined by single dots: never `.` or `..`.
    path.push_str(name.as_str());
}

fn push_value(path: &mut String, key: &str, value: Option<&Value>) -> Result<(), BadValue> {
    let bad = |problem| Err(BadValue { key: key.to_owned(), problem });
    let text = match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
            return bad("must be a string, a number or a boolean");
        }
        None => return bad("is required"),
    };
    if text.is_empty() || text.len() > VALUE_MAX {
        return bad("must be 1-1024 bytes");
    }
    // Values may be decoded again on the way, so what would be a separator or a step after that is refused too.
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
    for spelling in [text.as_str(), &decoded] {
        if spelling == "." || spelling == ".." || spelling.contains(['/', '\\']) || spelling.contains(char::is_control)
        {
            return bad("must not be `.` or `..` or hold a slash or a control character");
        }
    }
    path.extend(utf8_percent_encode(&text, ENCODED));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(payload: &Value) -> ToolCall {
        let body = serde_json::json!({"tool_name": "db.query", "payload": payload}).to_string();
        ToolCall::parse(body.as_bytes(), None).unwrap()
    }

    fn render(template: &str, payload: &Value) -> Result<String, &'static str> {
        PathTemplate::parse(template).unwrap().render(&call(payload)).map_err(|bad| bad.problem)
    }

    #[test]
    fn values_are_encoded_into_one_segment() {
        let payload = serde_json::json!({"id": "a b?c#d%é", "n": 7});
        assert_eq!(
            render("/t/{tool_name}/{payload.id}/{payload.n}", &payload).unwrap(),
            "/t/db.query/a%20b%3Fc%23d%25%C3%A9/7"
        );
    }

    #[test]
    fn values_that_leave_their_segment_are_refused() {
        for value in ["", ".", "..", "a/b", "..\\x", "%2e%2e", "a%2Fb", "a\nb"] {
            assert!(render("/t/{payload.id}", &serde_json::json!({ "id": value })).is_err(), "{value}");
        }
        for value in [Value::Null, serde_json::json!([1]), serde_json::json!({})] {
            assert!(render("/t/{payload.id}", &serde_json::json!({ "id": value })).is_err(), "{value}");
        }
        assert_eq!(render("/t/{payload.id}", &serde_json::json!({})), Err("is required"));
    }

    #[test]
    fn wrong_templates_are_refused() {
        for text in ["", "t", "/{x}", "/{payload.}", "/{payload.a", "/a/../b", "/a?b", "/a b", "//host/../x"] {
            assert_eq!(PathTemplate::parse(text), Err(InvalidTemplate), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_adds_a_segment_a_query_or_a_fragment(value in "\\PC{1,64}") {
            if let Ok(path) = render("/t/{payload.id}/end", &serde_json::json!({ "id": value })) {
                let url = url::Url::parse(&format!("http://h{path}")).unwrap();
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                prop_assert_eq!(segments.len(), 3);
                prop_assert_eq!(segments.last().copied(), Some("end"));
                prop_assert!(url.query().is_none() && url.fragment().is_none());
            }
        }
    }
}
