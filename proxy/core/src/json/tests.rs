//! The strict parser and the canonical encoding, on cases and on public vectors.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn one_reading_only() {
    let refused: [(&[u8], JsonError); 14] = [
        (br#"{"a":1,"a":1}"#, JsonError::DuplicateKey(7)),
        (br#"{"a":1,"\u0061":2}"#, JsonError::DuplicateKey(7)),
        (br#""\ud800""#, JsonError::LoneSurrogate(2)),
        (br#""\udc00""#, JsonError::LoneSurrogate(2)),
        (br#""\ud800\u0041""#, JsonError::LoneSurrogate(2)),
        (b"9007199254740992", JsonError::Number(0)),
        (b"-9007199254740992", JsonError::Number(0)),
        (b"1e400", JsonError::Number(0)),
        (b"1e17", JsonError::Number(0)),
        (b"0.1000000000000000055511151231257827", JsonError::Number(0)),
        (b"\"\xff\"", JsonError::Utf8),
        (b"[1,]", JsonError::Syntax(3)),
        (b"01", JsonError::Syntax(1)),
        (b"", JsonError::Syntax(0)),
    ];
    for (text, error) in refused {
        assert_eq!(parse(text), Err(error), "{}", String::from_utf8_lossy(text));
    }
    for (text, form) in
        [("0.10", "0.1"), ("1.0", "1"), ("-0", "0"), ("-0.0", "0"), ("1e3", "1000"), ("1e-7", "1e-7"), (" [ ] ", "[]")]
    {
        assert_eq!(canonical(&parse(text.as_bytes()).unwrap()), form, "{text}");
    }
}

#[test]
fn limits_hold() {
    let nested = |n: usize| ["[".repeat(n), "]".repeat(n)].concat();
    assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(parse(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::Depth));
    assert_eq!(parse("[".repeat(1_000_000).as_bytes()), Err(JsonError::Depth));
    let wide = |n: usize| format!("[{}]", vec!["0"; n].join(","));
    assert!(parse(wide(NODES_MAX - 1).as_bytes()).is_ok());
    assert_eq!(parse(wide(NODES_MAX).as_bytes()), Err(JsonError::Nodes));
}

#[test]
fn keys_are_ordered_by_utf16_code_units() {
    let value = parse("{\"\u{ff5e}\":1,\"\u{1f600}\":2,\"a\":3}".as_bytes()).unwrap();
    assert_eq!(canonical(&value), "{\"a\":3,\"\u{1f600}\":2,\"\u{ff5e}\":1}");
}

/// The folder of public vectors, where one is named.
fn vectors(folder: &str) -> Vec<(String, Vec<u8>)> {
    #[expect(clippy::disallowed_methods, reason = "tests read where the public vectors are")]
    let Some(root) = std::env::var_os("AEGIS_VECTORS") else { return Vec::new() };
    let dir = std::fs::read_dir(std::path::Path::new(&root).join(folder)).unwrap();
    dir.map(|f| f.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()))
        .collect()
}

#[test]
fn public_parsing_vectors_agree() {
    for (name, text) in vectors("json_parsing") {
        let parsed = parse(&text);
        if name.starts_with("n_") {
            assert!(parsed.is_err(), "{name} must be refused");
        } else if name.starts_with("y_") {
            let stricter = matches!(parsed, Err(JsonError::DuplicateKey(_) | JsonError::Number(_)));
            assert!(parsed.is_ok() || stricter, "{name}: {parsed:?}");
        }
    }
}

#[test]
fn public_canonical_vectors_agree() {
    let expected = vectors("jcs/output");
    for (name, text) in vectors("jcs/input") {
        let Ok(value) = parse(&text) else { continue };
        let output =
            expected.iter().find(|(n, _)| *n == name).map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap());
        assert_eq!(Some(canonical(&value)), output, "{name}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_is_a_fixed_point(value in any_json()) {
        let text = canonical(&value);
        let again = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(canonical(&again), text);
    }

    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
