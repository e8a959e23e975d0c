//! What a forger can do: change, sign with his own keys, make everything anew.

use std::collections::HashMap;

use aegis_core::json;
use aegis_ledger::hash::{Hash, leaf};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use super::survey::Target;
use crate::policy::key_id;

/// The forger's key: any will do, and a fixed one makes each run the same.
pub(super) fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x66; 32])
}

/// Its public half.
pub(super) fn public() -> String {
    BASE64.encode(key().verifying_key().as_bytes())
}

/// A value that is another one of the same kind.
pub(super) fn flipped(value: &Value) -> Value {
    match value {
        Value::Null => json!(true),
        Value::Bool(b) => json!(!b),
        Value::Number(n) => json!(n.as_u64().map_or(1, |n| if n == 0 { 1 } else { n - 1 })),
        Value::String(text) => json!(flipped_text(text)),
        Value::Array(items) if items.is_empty() => json!(["x"]),
        Value::Array(items) => json!(items.get(1..).unwrap_or_default()),
        Value::Object(map) if map.is_empty() => json!({ "x": 1 }),
        Value::Object(map) => Value::Object(map.iter().skip(1).map(|(k, v)| (k.clone(), v.clone())).collect()),
    }
}

/// Turns one character into another that may stand in its place.
fn flipped_text(text: &str) -> String {
    let mut done = false;
    let other = |c: char| match c {
        '0'..='8' | 'a'..='e' | 'A'..='Y' | 'g'..='y' => char::from_u32(c as u32 + 1).unwrap_or(c),
        '9' => '8',
        'f' => 'e',
        'z' | 'Z' => 'y',
        other => other,
    };
    let flipped = text.chars().map(|c| {
        let changed = if done { c } else { other(c) };
        done |= changed != c;
        changed
    });
    let flipped: String = flipped.collect();
    if done { flipped } else { format!("{text}x") }
}

/// The line with another value in one place.
pub(super) fn changed(target: &Target, pointer: &str, value: Value) -> Value {
    let mut line = target.line.clone();
    if let Some(place) = line.pointer_mut(pointer) {
        *place = value;
    }
    line
}

/// The leaf hash of a line's entry.
pub(super) fn leaf_of(line: &Value) -> Hash {
    leaf(entry_bytes(line).as_bytes())
}

fn entry_bytes(line: &Value) -> String {
    json::canonical(line.get("entry").unwrap_or(&Value::Null))
}

/// The line with its entry signed by the forger.
pub(super) fn signed(mut line: Value) -> Value {
    let message = [b"aegis-entry-sig/1\n", leaf_of(&line).as_bytes().as_slice()].concat();
    let signature = BASE64.encode(key().sign(&message).to_bytes());
    line["signature"] = json!({ "key_id": key_id(&key().verifying_key()), "signature": signature });
    line
}

/// A checkpoint signed by the forger in the log's name.
pub(super) fn checkpoint(origin: &str, size: u64, root: Hash) -> String {
    let text = format!("{origin}\n{size}\n{root}\n");
    let id = Hash::of(&[origin.as_bytes(), b"\n\x01", key().verifying_key().as_bytes()]);
    let id = id.as_bytes().get(..4).unwrap_or_default();
    let signature = BASE64.encode([id, &key().sign(text.as_bytes()).to_bytes()].concat());
    format!("{text}\n\u{2014} {origin} {signature}\n")
}

/// Everything anew: the same entries but for one fact, on good chains, under the forger's keys. Lines and leaves.
pub(super) fn anew(lines: &[Target], victim: u64) -> (String, Vec<u8>) {
    let (mut text, mut leaves) = (String::new(), Vec::new());
    let mut prev: HashMap<(String, String), Hash> = HashMap::new();
    for (index, target) in lines.iter().enumerate() {
        let mut line = target.line.clone();
        line["index"] = json!(index);
        if target.index == victim {
            line["entry"]["tool"] = json!("harmless");
            line["row"]["tool"] = json!("harmless");
        }
        let field = |name: &str| line["entry"][name].as_str().unwrap_or_default().to_owned();
        let (tenant, source, boot) = (field("tenant_id"), field("source"), field("boot"));
        match field("kind").as_str() {
            "open" => {
                let statement = format!("aegis-boot/1\n{tenant}\n{source}\n{boot}\n{}", public());
                let vouched = BASE64.encode(key().sign(statement.as_bytes()).to_bytes());
                line["entry"]["boot_key"] = json!(public());
                line["entry"]["identity_key_id"] = json!(key_id(&key().verifying_key()));
                line["entry"]["identity_signature"] = json!(vouched);
            }
            "enrol" => {
                line["entry"]["identity_key"] = json!(public());
                line["entry"]["identity_key_id"] = json!(key_id(&key().verifying_key()));
            }
            _ => {}
        }
        if let Some(before) = prev.get(&(source.clone(), boot.clone())) {
            line["entry"]["prev"] = json!(before.to_string());
        }
        prev.insert((source, boot), Hash::of(&[entry_bytes(&line).as_bytes()]));
        let line = signed(line);
        leaves.extend_from_slice(leaf_of(&line).as_bytes());
        text.push_str(&json::canonical(&line));
        text.push('\n');
    }
    (text, leaves)
}
