//! The OpenAPI document: built once from the registered operations, never written by hand.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
    ServerBuilder,
};

use crate::access::Level;
use crate::example;
use crate::operation::{Failure, Operation, failure};
use crate::tag::Tag;

/// The address a local deployment answers at.
const LOCAL_BASE_URL: &str = "http://localhost:8000";

const DESCRIPTION: &str = "Runtime control for AI agents: every tool call is decided, executed and proved.\n\n\
Answers wear one envelope, `{success, data, error, meta}`; with `Accept: application/problem+json` refusals are problem \
details (RFC 9457). `error` is a stable identifier. Every path is also served under `/v1`. Authenticate with \
`Authorization: Bearer` or the cookie `acp_token` (writes by cookie need `X-CSRF-Token`), and name your tenant in \
`X-Tenant-ID`.";

/// The whole document.
pub(crate) fn document(operations: &[Operation], public_base_url: &str) -> Value {
    let mut components = Components::new();
    components.schemas.insert("Envelope".into(), envelope_schema());
    components.schemas.insert("Failure".into(), failure_schema());
    components.schemas.insert("Problem".into(), problem_schema());
    for operation in operations {
        components.schemas.extend(operation.draft.schemas.iter().cloned());
    }
    add_security(&mut components);
    let mut paths = Paths::new();
    for operation in operations {
        let item = PathItem::new(http_method(operation), describe(operation));
        // A parameter that takes the rest of the path is one like others to readers of the document.
        let path = operation.path.replace("{*", "{");
        match paths.paths.get_mut(&path) {
            Some(existing) => existing.merge_operations(item),
            None => drop(paths.paths.insert(path, item)),
        }
    }
    let api: OpenApi = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Aegis control API")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
                .build(),
        )
        .servers(Some(servers(public_base_url)))
        .tags(Some(
            Tag::ALL
                .iter()
                .map(|tag| TagBuilder::new().name(tag.as_str()).description(Some(tag.description())).build()),
        ))
        .paths(paths)
        .components(Some(components))
        .build();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    example::fill(&mut document);
    document
}

fn servers(public_base_url: &str) -> Vec<utoipa::openapi::Server> {
    let mut urls = vec![public_base_url.trim_end_matches('/')];
    if urls.first() != Some(&LOCAL_BASE_URL) {
        urls.push(LOCAL_BASE_URL);
    }
    urls.into_iter().map(|url| ServerBuilder::new().url(url).build()).collect()
}

fn http_method(operation: &Operation) -> HttpMethod {
    match operation.method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn describe(operation: &Operation) -> utoipa::openapi::path::Operation {
    let level = operation.gate.level;
    let mut builder = OperationBuilder::new()
        .operation_id(Some(operation.id.clone()))
        .summary(Some(operation.summary))
        .description(Some(format!("Access: **{level}** ({}).", level.audience())));
    if let Some(tag) = operation.tag {
        builder = builder.tag(tag.as_str());
    }
    for parameter in parameters(operation) {
        builder = builder.parameter(parameter);
    }
    if let Some(schema) = &operation.draft.body {
        let content = ContentBuilder::new().schema(Some(schema.clone())).build();
        builder = builder.request_body(Some(
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build(),
        ));
    }
    builder = builder.response(operation.success.to_string(), success(operation));
    for (status, failures) in failures(operation) {
        builder = builder.response(status.to_string(), refusal(&failures));
    }
    if level != Level::Public {
        builder = builder
            .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
            .security(SecurityRequirement::new("cookie", Vec::<String>::new()));
    }
    builder.build()
}

fn text_schema(format: Option<&str>) -> RefOr<Schema> {
    let format = format.map(|f| SchemaFormat::Custom(f.to_owned()));
    RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(Type::String).format(format).build()))
}

fn parameters(operation: &Operation) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let name = name.trim_start_matches('*');
        let is_id = name == "id" || name.ends_with("_id");
        parameters.push(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text_schema(is_id.then_some("uuid"))))
                .build(),
        );
    }
    parameters.extend(operation.draft.query.iter().cloned());
    let header = |name: &str, required, format, description: &str| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(required)
            .description(Some(description))
            .schema(Some(text_schema(format)))
            .build()
    };
    if operation.gate.level != Level::Public {
        let required = if operation.gate.tenant_optional { Required::False } else { Required::True };
        parameters.push(header("X-Tenant-ID", required, Some("uuid"), "The tenant; must be the credential's own."));
        parameters.push(header("X-Agent-ID", Required::False, Some("uuid"), "The agent; for an agent its own."));
    }
    if operation.takes_idempotency_key() {
        let meaning = "1-128 visible characters: a repetition with the same key within 24 hours changes nothing and \
                       gets the first answer again.";
        parameters.push(header("X-Idempotency-Key", Required::False, None, meaning));
    }
    if operation.has_etag && operation.method != http::Method::GET {
        let meaning = "The `ETag` of the state to change; otherwise 412.";
        parameters.push(header("If-Match", Required::False, None, meaning));
    }
    parameters.push(header("X-Request-ID", Required::False, None, "Made if absent; returned."));
    parameters
}

fn success(operation: &Operation) -> Response {
    if let Some((media_type, meaning)) = operation.plain {
        let content = ContentBuilder::new().schema(Some(text_schema(None))).build();
        return with_headers(ResponseBuilder::new().description(meaning).content(media_type, content));
    }
    let data = operation.draft.data.clone().unwrap_or_else(|| RefOr::T(Schema::Object(ObjectBuilder::new().build())));
    if operation.draft.is_bare {
        let content = ContentBuilder::new().schema(Some(data)).build();
        return with_headers(
            ResponseBuilder::new().description(operation.summary).content("application/json", content),
        );
    }
    let payload = ObjectBuilder::new().property("data", data).required("data").build();
    let schema = utoipa::openapi::schema::AllOfBuilder::new()
        .item(Ref::from_schema_name("Envelope"))
        .item(Schema::Object(payload))
        .build();
    let content = ContentBuilder::new().schema(Some(Schema::AllOf(schema))).build();
    with_headers(ResponseBuilder::new().description(operation.summary).content("application/json", content))
}

fn refusal(failures: &[Failure]) -> Response {
    let description: Vec<String> = failures.iter().map(|f| format!("`{}`: {}", f.error, f.when)).collect();
    let content = |name| ContentBuilder::new().schema(Some(Ref::from_schema_name(name)));
    let example = failures.first().map(|f| {
        json!({ "success": false, "data": null, "error": f.error,
            "meta": { "code": f.status, "message": f.when, "request_id": example::UUID } })
    });
    with_headers(
        ResponseBuilder::new()
            .description(description.join("; "))
            .content("application/json", content("Failure").example(example).build())
            .content("application/problem+json", content("Problem").build()),
    )
}

fn with_headers(response: ResponseBuilder) -> Response {
    let header =
        |meaning: &str| HeaderBuilder::new().schema(Some(text_schema(None))).description(Some(meaning)).build();
    response
        .header("X-Request-ID", header("The request's id."))
        .header("X-Trace-ID", header("The W3C trace id, 32 hex digits."))
        .build()
}

/// The refusals of level, parameters and body, and the operation's own, by status.
fn failures(operation: &Operation) -> BTreeMap<u16, Vec<Failure>> {
    let mut all = operation.failures.clone();
    if operation.gate.level != Level::Public {
        all.insert(failure(400, "invalid_agent_id", "X-Agent-ID is not a UUID"));
        all.insert(failure(400, "invalid_tenant_id", "X-Tenant-ID is not a UUID"));
        if !operation.gate.tenant_optional {
            all.insert(failure(400, "tenant_header_required", "X-Tenant-ID is absent"));
        }
        all.insert(failure(401, "invalid_token", "the credential is missing, expired, forged or revoked"));
        all.insert(failure(403, "insufficient_role", "the role does not reach the operation's level"));
        all.insert(failure(403, "tenant_mismatch", "the credential belongs to another tenant"));
    }
    if operation.takes_idempotency_key() {
        all.insert(failure(409, "idempotency_answer_lost", "done before with this key; its answer was not kept"));
        all.insert(failure(409, "idempotency_in_progress", "a request with this key is under way"));
        all.insert(failure(409, "too_many_idempotency_keys", "too many keys within 24 hours"));
        all.insert(failure(422, "idempotency_key_reused", "the key was used for another request"));
        all.insert(failure(422, "validation_failed", "a field is missing, unknown or out of range; see meta.details"));
    }
    if operation.has_etag && operation.method != http::Method::GET {
        all.insert(failure(412, "precondition_failed", "the object is no longer as If-Match says"));
    }
    if operation.draft.body.is_some() {
        all.insert(failure(400, "malformed_body", "the body is not JSON with one reading"));
        all.insert(failure(413, "payload_too_large", "the body is longer than 1 MiB"));
        all.insert(failure(415, "unsupported_media_type", "the body is not application/json"));
    }
    if operation.draft.body.is_some() || !operation.draft.query.is_empty() || operation.path.contains('{') {
        all.insert(failure(422, "validation_failed", "a field is missing, unknown or out of range; see meta.details"));
    }
    all.insert(failure(429, "rate_limited", "too many requests; see Retry-After"));
    all.insert(failure(500, "internal_error", "a fault of the control plane"));
    all.insert(failure(503, "unavailable", "the database is away for the moment"));
    let mut by_status: BTreeMap<u16, Vec<Failure>> = BTreeMap::new();
    for failure in all {
        by_status.entry(failure.status).or_default().push(failure);
    }
    by_status
}

fn add_security(components: &mut Components) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token, or an API key (`acp_…`)."))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let cookie = ApiKey::Cookie(ApiKeyValue::new("acp_token"));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
}

fn from_json(schema: Value) -> RefOr<Schema> {
    serde_json::from_value(schema).unwrap_or_else(|_| RefOr::T(Schema::Object(ObjectBuilder::new().build())))
}

fn meta_schema() -> Value {
    json!({
        "type": "object",
        "required": ["code", "message", "request_id"],
        "properties": {
            "code": { "type": "integer", "description": "The status." },
            "message": { "type": "string", "description": "Prose." },
            "request_id": { "type": "string" },
            "total": { "type": "integer", "description": "Lists: how many there are in all." },
            "next_cursor": { "type": ["string", "null"], "description": "Lists: where the next page begins." },
            "details": { "type": "array", "items": details_schema(), "description": "Validation: each problem." }
        }
    })
}

fn details_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "loc", "msg", "input"],
        "properties": {
            "type": { "type": "string" },
            "loc": { "type": "array", "items": { "type": "string" } },
            "msg": { "type": "string" },
            "input": {}
        }
    })
}

fn envelope_schema() -> RefOr<Schema> {
    from_json(json!({
        "type": "object",
        "required": ["success", "data", "error", "meta"],
        "properties": {
            "success": { "type": "boolean", "examples": [true] },
            "data": {},
            "error": { "type": ["string", "null"], "examples": [null], "description": "A stable identifier; null on success." },
            "meta": meta_schema()
        }
    }))
}

fn failure_schema() -> RefOr<Schema> {
    from_json(json!({
        "type": "object",
        "required": ["success", "data", "error", "meta"],
        "properties": {
            "success": { "type": "boolean", "examples": [false] },
            "data": { "description": "Facts of the refusal, if any." },
            "error": { "type": "string" },
            "meta": meta_schema()
        }
    }))
}

fn problem_schema() -> RefOr<Schema> {
    from_json(json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "error", "request_id"],
        "properties": {
            "type": { "type": "string", "format": "uri", "examples": ["urn:aegis:error:validation_failed"] },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "error": { "type": "string" },
            "request_id": { "type": "string" },
            "details": { "type": "array", "items": details_schema() }
        }
    }))
}
