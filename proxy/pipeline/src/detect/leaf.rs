//! Walks every key and string of a payload, with JSON pointers, under limits.

use std::fmt::Write as _;

use aegis_core::json;
use serde_json::Value;

use super::DetectInput;
use super::role::{Role, role_of};

/// Strings that are themselves JSON documents are opened this often, one in the other.
const NESTED_JSON_MAX: usize = 2;
/// Longer strings are not tried as JSON documents.
const NESTED_JSON_BYTES_MAX: usize = 262_144;
/// Keys at least this long, or with unusual characters, are looked at like values.
const PLAIN_KEY_BYTES_MAX: usize = 64;
/// Words of an argument list that are joined to one command line.
const ARGV_MAX: usize = 256;

/// One text of a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf<'a> {
    /// Where it is (RFC 6901).
    pub(crate) pointer: &'a str,
    /// What it is for.
    pub(crate) role: Role,
    /// The text.
    pub(crate) text: &'a str,
}

/// Calls `see` with every text of the payload, in document order.
pub(crate) fn walk(input: &DetectInput<'_>, see: &mut dyn FnMut(&Leaf<'_>)) {
    let mut walker = Walker { input, see, pointer: String::new(), nested: 0 };
    for (key, value) in input.payload {
        walker.member(key, value, 1);
    }
}

struct Walker<'a> {
    input: &'a DetectInput<'a>,
    see: &'a mut dyn FnMut(&Leaf<'_>),
    pointer: String,
    nested: usize,
}

impl Walker<'_> {
    fn member(&mut self, key: &str, value: &Value, depth: usize) {
        let length = self.pointer.len();
        self.pointer.push('/');
        for c in key.chars() {
            match c {
                '~' => self.pointer.push_str("~0"),
                '/' => self.pointer.push_str("~1"),
                c => self.pointer.push(c),
            }
        }
        if !is_plain(key) {
            self.text(Role::Text, key);
        }
        self.value(key, value, depth);
        self.pointer.truncate(length);
    }

    fn value(&mut self, key: &str, value: &Value, depth: usize) {
        if depth > json::DEPTH_MAX {
            return;
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => self.string(key, text, depth),
            Value::Array(items) => {
                self.command_words(key, items);
                let length = self.pointer.len();
                for (i, item) in items.iter().enumerate() {
                    // Writing to a String cannot fail.
                    let _ = write!(self.pointer, "/{i}");
                    self.value(key, item, depth + 1);
                    self.pointer.truncate(length);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.member(key, value, depth + 1);
                }
            }
        }
    }

    fn string(&mut self, key: &str, text: &str, depth: usize) {
        let role = role_of(&self.input.hints.roles, self.input.tool_name.as_str(), key, text);
        self.text(role, text);
        let opens = text.trim_start().starts_with(['{', '[']);
        if opens
            && self.nested < NESTED_JSON_MAX
            && text.len() <= NESTED_JSON_BYTES_MAX
            && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = json::parse(text.as_bytes())
        {
            self.nested += 1;
            self.value(key, &inner, depth + 1);
            self.nested -= 1;
        }
    }

    /// `["rm", "-rf", "/"]` is a command line as much as `"rm -rf /"` is.
    fn command_words(&mut self, key: &str, items: &[Value]) {
        let words: Option<Vec<&str>> = items.iter().take(ARGV_MAX).map(Value::as_str).collect();
        let Some(words) = words.filter(|w| w.len() > 1) else { return };
        if role_of(&self.input.hints.roles, self.input.tool_name.as_str(), key, "words") == Role::Shell
            && let Ok(line) = shlex::try_join(words)
        {
            self.text(Role::Shell, &line);
        }
    }

    fn text(&mut self, role: Role, text: &str) {
        if !text.is_empty() {
            (self.see)(&Leaf { pointer: &self.pointer, role, text });
        }
    }
}

fn is_plain(key: &str) -> bool {
    key.len() < PLAIN_KEY_BYTES_MAX
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' '))
}
