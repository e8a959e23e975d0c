//! A tool call as the client sends it, read once and strictly.

use serde_json::{Map, Value};

use crate::id::{AgentId, ExecutionId, SessionId};
use crate::json::{self, JsonError};
use crate::money::MicroUsd;
use crate::pattern::ToolName;

/// Bytes a call's body may have at most.
pub const BODY_BYTES_MAX: usize = 1_048_576;
/// Agents a claimed delegation chain may name at most.
pub const DELEGATION_CHAIN_MAX: usize = 32;

/// The names under which the payload may stand in the body.
const PAYLOAD_NAMES: [&str; 4] = ["payload", "arguments", "parameters", "input"];
/// The other fields of the body.
const FIELDS: [&str; 5] = ["tool_name", "session_id", "parent_execution_id", "delegation_chain", "cost_estimate_usd"];

/// A call: which tool, with what, on whose behalf.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool.
    pub tool_name: ToolName,
    /// Its arguments. Judged, and sent on in canonical form.
    pub payload: Map<String, Value>,
    /// The agent's name for this run of calls.
    pub session_id: Option<SessionId>,
    /// The call that led to this one.
    pub parent_execution_id: Option<ExecutionId>,
    /// The agents that handed the task on, first to last, as claimed: may raise the depth, never lower it.
    pub delegation_chain: Vec<AgentId>,
    /// What the agent expects it to cost.
    pub cost_estimate: Option<MicroUsd>,
}

/// Why a body is not a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not JSON with one reading.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// The body is not an object, or names its payload twice.
    #[error("{0}")]
    Shape(&'static str),
    /// No tool is named.
    #[error("tool_name is required")]
    ToolNameRequired,
    /// A field has the wrong type or value.
    #[error("{field}: {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it, for the client.
        problem: &'static str,
    },
}

fn wrong(field: &str, problem: &'static str) -> CallError {
    CallError::Field { field: field.to_owned(), problem }
}

impl ToolCall {
    /// Reads the body of `POST /execute` (`path_tool` absent) or `POST /execute/{tool_name}`.
    ///
    /// On the second form the body is the payload itself, unless one payload name holds an object and every
    /// other key is a field of the first form.
    pub fn parse(body: &[u8], path_tool: Option<ToolName>) -> Result<Self, CallError> {
        let Value::Object(mut body) = json::parse(body)? else {
            return Err(CallError::Shape("the body must be a JSON object"));
        };
        match path_tool {
            Some(tool_name) if !is_wrapped(&body) => Ok(Self {
                tool_name,
                payload: body,
                session_id: None,
                parent_execution_id: None,
                delegation_chain: Vec::new(),
                cost_estimate: None,
            }),
            path_tool => Self::from_fields(&mut body, path_tool),
        }
    }

    fn from_fields(body: &mut Map<String, Value>, path_tool: Option<ToolName>) -> Result<Self, CallError> {
        let payload = take_payload(body)?;
        let named = match body.remove("tool_name") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => {
                Some(ToolName::parse(&text).map_err(|_| wrong("tool_name", "is not a valid tool name"))?)
            }
            Some(_) => return Err(wrong("tool_name", "must be a string")),
        };
        let tool_name = match (path_tool, named) {
            (Some(path), Some(named)) if path != named => return Err(wrong("tool_name", "differs from the path")),
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => return Err(CallError::ToolNameRequired),
        };
        let payload = match payload {
            None => return Err(wrong("payload", "is required")),
            Some((_, Value::Object(map))) => map,
            Some((name, _)) => return Err(wrong(name, "must be an object")),
        };
        let session_id =
            optional_text(body, "session_id", "must be 1-128 characters of [A-Za-z0-9._:-]", SessionId::parse)?;
        let parent_execution_id = optional_text(body, "parent_execution_id", "must be a UUID", |t| t.parse().ok())?;
        let delegation_chain = take_chain(body)?;
        let cost_estimate = take_cost(body)?;
        if let Some(unknown) = body.keys().next() {
            return Err(wrong(unknown, "is not a known field"));
        }
        Ok(Self { tool_name, payload, session_id, parent_execution_id, delegation_chain, cost_estimate })
    }

    /// The canonical bytes of the payload: what is judged, committed to and sent to the tool.
    pub fn canonical_payload(&self) -> String {
        json::canonical_object(&self.payload)
    }
}

fn is_wrapped(body: &Map<String, Value>) -> bool {
    let mut holds_object = false;
    for (key, value) in body {
        if PAYLOAD_NAMES.contains(&key.as_str()) {
            holds_object |= value.is_object();
        } else if !FIELDS.contains(&key.as_str()) {
            return false;
        }
    }
    holds_object
}

fn take_payload(body: &mut Map<String, Value>) -> Result<Option<(&'static str, Value)>, CallError> {
    let mut found = None;
    for name in PAYLOAD_NAMES {
        if let Some(value) = body.remove(name) {
            if found.is_some() {
                return Err(CallError::Shape("the payload is named twice"));
            }
            found = Some((name, value));
        }
    }
    Ok(found)
}

fn optional_text<T>(
    body: &mut Map<String, Value>,
    field: &str,
    problem: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, CallError> {
    match body.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => read(&text).map(Some).ok_or_else(|| wrong(field, problem)),
        Some(_) => Err(wrong(field, "must be a string")),
    }
}

fn take_chain(body: &mut Map<String, Value>) -> Result<Vec<AgentId>, CallError> {
    const FIELD: &str = "delegation_chain";
    match body.remove(FIELD) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= DELEGATION_CHAIN_MAX => items
            .iter()
            .map(|item| item.as_str().and_then(|t| t.parse().ok()).ok_or_else(|| wrong(FIELD, "must hold agent UUIDs")))
            .collect(),
        Some(Value::Array(_)) => Err(wrong(FIELD, "names more than 32 agents")),
        Some(_) => Err(wrong(FIELD, "must be an array")),
    }
}

fn take_cost(body: &mut Map<String, Value>) -> Result<Option<MicroUsd>, CallError> {
    const FIELD: &str = "cost_estimate_usd";
    match body.remove(FIELD) {
        None | Some(Value::Null) => Ok(None),
        Some(number @ Value::Number(_)) => MicroUsd::parse_usd(&json::canonical(&number))
            .map(Some)
            .map_err(|_| wrong(FIELD, "must be an amount in USD between 0 and 1000000000")),
        Some(_) => Err(wrong(FIELD, "must be a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ToolCall, CallError> {
        ToolCall::parse(body.as_bytes(), None)
    }

    fn on_path(body: &str) -> Result<ToolCall, CallError> {
        ToolCall::parse(body.as_bytes(), Some(ToolName::parse("db.query").unwrap()))
    }

    #[test]
    fn every_payload_name_is_accepted_alone() {
        for name in PAYLOAD_NAMES {
            let call = parse(&format!(r#"{{"tool_name":"db.query","{name}":{{"q":1}}}}"#)).unwrap();
            assert_eq!(call.canonical_payload(), r#"{"q":1}"#);
        }
        assert!(matches!(parse(r#"{"tool_name":"t","payload":{},"input":{}}"#), Err(CallError::Shape(_))));
    }

    #[test]
    fn wrong_bodies_say_what_is_wrong() {
        assert_eq!(parse(r#"{"payload":{}}"#), Err(CallError::ToolNameRequired));
        assert!(matches!(parse("[]"), Err(CallError::Shape(_))));
        assert!(matches!(parse("{"), Err(CallError::Json(_))));
        let fields = [
            (r#"{"tool_name":"t"}"#, "payload"),
            (r#"{"tool_name":"t","payload":[]}"#, "payload"),
            (r#"{"tool_name":7,"payload":{}}"#, "tool_name"),
            (r#"{"tool_name":"t","payload":{},"session_id":"a b"}"#, "session_id"),
            (r#"{"tool_name":"t","payload":{},"delegation_chain":["x"]}"#, "delegation_chain"),
            (r#"{"tool_name":"t","payload":{},"cost_estimate_usd":-1}"#, "cost_estimate_usd"),
            (r#"{"tool_name":"t","payload":{},"extra":1}"#, "extra"),
        ];
        for (body, name) in fields {
            assert!(matches!(parse(body), Err(CallError::Field { field, .. }) if field == name), "{body}");
        }
    }

    #[test]
    fn on_the_path_form_only_a_clear_wrapper_is_unwrapped() {
        assert_eq!(on_path(r#"{"payload":{"q":1},"session_id":"s"}"#).unwrap().canonical_payload(), r#"{"q":1}"#);
        assert_eq!(on_path(r#"{"payload":{"q":1},"other":1}"#).unwrap().payload.len(), 2);
        assert_eq!(on_path(r#"{"payload":"text"}"#).unwrap().payload.len(), 1);
        assert_eq!(on_path("{}").unwrap().payload.len(), 0);
        assert!(on_path(r#"{"payload":{},"tool_name":"other"}"#).is_err());
        assert!(matches!(on_path(r#"{"payload":{},"input":{}}"#), Err(CallError::Shape(_))));
    }
}
