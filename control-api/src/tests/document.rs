//! The OpenAPI document: complete, unique, kept.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, Request};
use serde_json::Value;

use super::World;
use crate::config::Config;
use crate::openapi::document;
use crate::router::operations;

fn built() -> Value {
    document(&operations(), &Config::default().public_base_url)
}

#[test]
fn the_kept_document_is_the_built_one() {
    let kept: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    assert!(
        kept == built(),
        "the API changed: run `aegis-control-api openapi > control-api/openapi.json` and look at the difference"
    );
}

#[test]
fn operation_ids_are_unique() {
    let operations = operations();
    let ids: BTreeSet<_> = operations.iter().map(|o| o.id.as_str()).collect();
    assert_eq!(ids.len(), operations.len());
}

/// Two types of one name would silently stand for each other.
#[test]
fn a_schema_s_name_means_one_schema() {
    let operations = operations();
    let mut known = std::collections::BTreeMap::new();
    for (name, schema) in operations.iter().flat_map(|operation| &operation.draft.schemas) {
        let schema = serde_json::to_value(schema).unwrap();
        let first = known.entry(name).or_insert_with(|| schema.clone());
        assert!(*first == schema, "two types are called {name}");
    }
}

#[test]
fn no_two_schemas_share_a_name() {
    let mut known = BTreeMap::new();
    for operation in operations() {
        for (name, schema) in operation.draft.schemas {
            let schema = serde_json::to_value(schema).unwrap();
            let first = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*first, schema, "{name}");
        }
    }
}

#[test]
fn every_answer_and_body_has_a_schema_and_an_example() {
    let document = built();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let bodies = operation.get("requestBody").into_iter();
            for (code, answer) in operation["responses"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(c, a)| (c.as_str(), a))
                .chain(bodies.map(|b| ("body", b)))
            {
                for media in answer["content"].as_object().unwrap().values() {
                    assert!(media.get("schema").is_some() && media.get("example").is_some(), "{method} {path} {code}");
                }
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(node: &Value, document: &Value) {
        match node {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                }
                map.values().for_each(|value| check(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = built();
    check(&document, &document);
}

#[tokio::test]
async fn the_document_and_its_readers_are_public_and_complete() {
    let world = World::new().await;
    let served = world.send(world.request(Method::GET, "/v1/openapi.json", None, None)).await;
    assert_eq!(served.body, built());
    for path in ["/docs/", "/docs/swagger-ui-bundle.js", "/redoc", "/redoc/redoc.standalone.js"] {
        let reply = world.open(Request::get(path).body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(reply.status(), 200, "{path}");
    }
    let gone = world.open(Request::get("/docs/nothing").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(gone.status(), 404);
}
