//! Canonical JSON (RFC 8785, integers only), read in one pass: what is not byte for byte canonical is refused.

use std::borrow::Cow;
use std::cmp::Ordering;

/// The largest integer that every reader agrees on: 2^53−1.
const INTEGER_MAX: i64 = 9_007_199_254_740_991;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number within ±(2^53−1).
    Integer(i64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// An object, with the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<'a> {
    raw: &'a str,
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// The first byte at which a text is not canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not canonical JSON at byte {0}")]
pub struct NotCanonical(pub usize);

impl<'a> Value<'a> {
    /// The string inside.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number inside, if it is not negative.
    pub fn unsigned(&self) -> Option<u64> {
        if let Self::Integer(n) = self { u64::try_from(*n).ok() } else { None }
    }

    /// The object inside.
    pub const fn object(&self) -> Option<&Object<'a>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The items inside.
    pub fn list(&self) -> Option<&[Value<'a>]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }
}

impl<'a> Object<'a> {
    /// Exactly the bytes it was read from.
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The members in canonical order.
    pub fn members(&self) -> &[(Cow<'a, str>, Value<'a>)] {
        &self.members
    }

    /// The member with this name, which is ASCII: such names have one order among all others.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        let at = self.members.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        self.members.get(at).map(|(_, value)| value)
    }

    /// The string with this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// The number with this name.
    pub fn unsigned(&self, name: &str) -> Option<u64> {
        self.get(name)?.unsigned()
    }
}

/// Reads one object that is the whole text. Values lie at most `depth_max` deep, the object itself at depth 1.
pub fn read(text: &str, depth_max: usize) -> Result<Object<'_>, NotCanonical> {
    let mut reader = Reader { text, at: 0, depth_max };
    match reader.value(1)? {
        Value::Object(object) if reader.at == text.len() => Ok(object),
        _ => Err(NotCanonical(reader.at)),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_max: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotCanonical> {
        if self.take(byte) { Ok(()) } else { Err(NotCanonical(self.at)) }
    }

    fn since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, NotCanonical> {
        if depth > self.depth_max {
            return Err(NotCanonical(self.at));
        }
        match self.peek() {
            Some(b'{') => self.object(depth).map(Value::Object),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.integer(),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, NotCanonical> {
        let end = self.at + word.len();
        if self.text.as_bytes().get(self.at..end) == Some(word.as_bytes()) {
            self.at = end;
            Ok(value)
        } else {
            Err(NotCanonical(self.at))
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object<'a>, NotCanonical> {
        let start = self.at;
        self.expect(b'{')?;
        let mut members: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
        if !self.take(b'}') {
            loop {
                let key_at = self.at;
                let key = self.string()?;
                // Ascending order refuses duplicates too.
                if members.last().is_some_and(|(before, _)| in_order(before, &key) != Ordering::Less) {
                    return Err(NotCanonical(key_at));
                }
                self.expect(b':')?;
                let value = self.value(depth + 1)?;
                members.push((key, value));
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        Ok(Object { raw: self.since(start), members })
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, NotCanonical> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        Ok(Value::List(items))
    }

    fn integer(&mut self) -> Result<Value<'a>, NotCanonical> {
        let start = self.at;
        let negative = self.take(b'-');
        let digits_at = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = self.since(digits_at);
        let has_one_form = match digits.as_bytes() {
            [b'0'] => !negative,
            [] | [b'0', ..] => false,
            _ => true,
        };
        // A fraction or an exponent would follow here: neither is in the schema, and what follows must be structure.
        let number = self.since(start).parse::<i64>().ok().filter(|n| n.unsigned_abs() <= INTEGER_MAX.unsigned_abs());
        match number {
            Some(number) if has_one_form => Ok(Value::Integer(number)),
            _ => Err(NotCanonical(start)),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, NotCanonical> {
        self.expect(b'"')?;
        let start = self.at;
        self.plain();
        if self.take(b'"') {
            return Ok(Cow::Borrowed(self.text.get(start..self.at - 1).unwrap_or_default()));
        }
        let mut out = self.since(start).to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(NotCanonical(self.at)),
            }
            let from = self.at;
            self.plain();
            out.push_str(self.since(from));
        }
    }

    fn plain(&mut self) {
        while self.peek().is_some_and(|b| b >= 0x20 && b != b'"' && b != b'\\') {
            self.at += 1;
        }
    }

    /// The escapes that RFC 8785 writes (§3.2.2.2), and no others.
    fn escape(&mut self) -> Result<char, NotCanonical> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek().ok_or(NotCanonical(start))?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' => char::from(letter),
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'f' => '\u{c}',
            b'r' => '\r',
            b'u' => {
                let hex = self.text.as_bytes().get(self.at..self.at + 4);
                let code = match hex {
                    Some([b'0', b'0', high @ (b'0' | b'1'), low @ (b'0'..=b'9' | b'a'..=b'f')]) => {
                        let low = if low.is_ascii_digit() { low - b'0' } else { low - b'a' + 10 };
                        (high - b'0') * 16 + low
                    }
                    _ => return Err(NotCanonical(start)),
                };
                if matches!(code, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d) {
                    return Err(NotCanonical(start));
                }
                self.at += 4;
                char::from(code)
            }
            _ => return Err(NotCanonical(start)),
        })
    }
}

/// The order of RFC 8785 §3.2.3: by UTF-16 code units.
fn in_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_spelling_is_read() {
        let good = r#"{"a":[1,-2,"\n\u001f\"é"],"b":{"c":null},"z":true}"#;
        assert_eq!(read(good, 9).unwrap().raw(), good);
        for bad in [
            r#"{ "a":1}"#,
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e1}"#,
            r#"{"a":-0}"#,
            r#"{"a":01}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":"\u001F"}"#,
            r#"{"a":"\u000a"}"#,
            r#"{"a":"\/"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":1}x"#,
            r#"{"a":1"#,
            r#"{"a":}"#,
            "[]",
            "",
        ] {
            assert!(read(bad, 9).is_err(), "{bad}");
        }
        assert!(read(r#"{"a":[1]}"#, 2).is_err(), "too deep");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-INTEGER_MAX..=INTEGER_MAX).prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_the_other_encoder_writes(value in json()) {
            let text = aegis_core::json::canonical(&serde_json::json!({ "v": value }));
            prop_assert!(read(&text, 12).is_ok(), "{text}");
        }

        #[test]
        fn what_it_reads_is_what_the_other_encoder_would_write(text in r#"\{"[a-b\\u0-9/]{0,6}":[\[\]"0-9a, \\n.-]{0,12}\}"#) {
            if read(&text, 12).is_ok() {
                let value = aegis_core::json::parse(text.as_bytes()).unwrap();
                prop_assert_eq!(aegis_core::json::canonical(&value), text);
            }
        }
    }
}
