//! Examples for the OpenAPI document, made from the schemas, so that no operation lacks one.

use serde_json::{Map, Value, json};

/// The id that stands in examples.
pub(crate) const UUID: &str = "0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21";
/// How deep an example goes.
const DEPTH_MAX: usize = 8;

/// Gives every body and answer of the document that has none an example.
pub(crate) fn fill(document: &mut Value) {
    let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
    visit(document, &schemas);
}

fn visit(node: &mut Value, schemas: &Value) {
    match node {
        Value::Object(map) => {
            if let Some(Value::Object(content)) = map.get_mut("content") {
                for media in content.values_mut().filter_map(Value::as_object_mut) {
                    if !media.contains_key("example") {
                        let schema = media.get("schema").cloned().unwrap_or_default();
                        media.insert("example".into(), of(&schema, schemas, "", 0));
                    }
                }
            }
            map.values_mut().for_each(|value| visit(value, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| visit(value, schemas)),
        _ => {}
    }
}

fn of(schema: &Value, schemas: &Value, name: &str, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
        return of(schemas.get(target).unwrap_or(&Value::Null), schemas, name, depth + 1);
    }
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    for key in ["examples", "enum"] {
        if let Some(first) = schema.get(key).and_then(|v| v.get(0)) {
            return first.clone();
        }
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        return merged(parts, schemas, depth);
    }
    for key in ["oneOf", "anyOf"] {
        let options = schema.get(key).and_then(Value::as_array);
        if let Some(option) = options.and_then(|o| o.iter().find(|s| s.get("type") != Some(&json!("null")))) {
            return of(option, schemas, name, depth + 1);
        }
    }
    match type_of(schema) {
        "object" => object(schema, schemas, depth),
        "array" => json!([of(schema.get("items").unwrap_or(&Value::Null), schemas, name, depth + 1)]),
        "integer" => schema.get("minimum").filter(|m| m.as_i64() != Some(0)).cloned().unwrap_or(json!(1)),
        "number" => json!(0.5),
        "boolean" => json!(true),
        "string" => text(schema, name),
        _ => Value::Null,
    }
}

fn merged(parts: &[Value], schemas: &Value, depth: usize) -> Value {
    let mut all = Map::new();
    for part in parts {
        if let Value::Object(more) = of(part, schemas, "", depth + 1) {
            all.extend(more);
        }
    }
    Value::Object(all)
}

fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or_default()
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "",
    }
}

fn object(schema: &Value, schemas: &Value, depth: usize) -> Value {
    let mut map = Map::new();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        // Facts that only some answers have would mislead here.
        if !matches!(name.as_str(), "total" | "next_cursor" | "details") || depth == 0 {
            map.insert(name.clone(), of(property, schemas, name, depth + 1));
        }
    }
    if let Some(more @ Value::Object(_)) = schema.get("additionalProperties") {
        map.insert("key".into(), of(more, schemas, "", depth + 1));
    }
    Value::Object(map)
}

fn text(schema: &Value, name: &str) -> Value {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    json!(match (format, name) {
        ("uuid", _) => UUID,
        ("date-time", _) => "2026-01-15T09:30:00.000000Z",
        ("date", _) => "2026-01-15",
        ("email", _) | (_, "email") => "ada@example.com",
        ("uri", _) => "https://example.com/",
        ("password", _) => "correct horse battery staple",
        (_, "message") => "OK",
        _ => "text",
    })
}
