//! Ledger entries of management writes, with who did it and in which request.

use aegis_core::id::RequestId;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::{Admin, TEXT_MAX};
use serde_json::{Map, Value};

use crate::caller::Caller;

/// An `admin` entry: `action` such as `agent.create`, done to `object` such as `agent:<id>`.
///
/// Facts are strings, integers and booleans, never secrets; `null` ones are left out and long texts are cut.
pub(crate) fn admin<const N: usize>(caller: &Caller, action: &str, object: String, facts: [(&str, Value); N]) -> Body {
    let detail: Map<String, Value> = facts
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), cut(value)))
        .collect();
    entry(&caller.label(), caller.request_id(), action, object, detail)
}

/// As [`admin`], by somebody who became known only through the request itself, such as an invited user.
pub(crate) fn by(actor: &str, request_id: &RequestId, action: &str, object: String) -> Body {
    entry(actor, request_id, action, object, Map::new())
}

fn entry(actor: &str, request_id: &RequestId, action: &str, object: String, detail: Map<String, Value>) -> Body {
    Body::Admin(Admin {
        actor: actor.to_owned(),
        action: action.to_owned(),
        object,
        detail,
        request_id: request_id.to_string(),
    })
}

fn cut(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > TEXT_MAX => Value::String(text.chars().take(TEXT_MAX).collect()),
        other => other,
    }
}
