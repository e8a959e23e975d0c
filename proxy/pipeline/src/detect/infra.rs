//! Kubernetes and infrastructure-as-code calls with structured arguments: what they would take away, and where.

use aegis_core::finding::FindingId;
use serde_json::{Map, Value};

use super::DetectInput;
use super::findings::Findings;
use super::words::{has_word, words_of};

const K8S_TOOLS: [&str; 6] = ["kubectl", "k8s", "kubernetes", "kube", "helm", "namespace"];
const IAC_TOOLS: [&str; 7] = ["terraform", "tofu", "pulumi", "cloudformation", "iac", "cdk", "infra"];
const TAKING_AWAY: [&str; 9] =
    ["delete", "destroy", "drain", "uninstall", "purge", "remove", "teardown", "terminate", "evict"];
const ACTION_KEYS: [&str; 8] = ["action", "operation", "verb", "op", "command", "subcommand", "method", "cmd"];
const PRODUCTION: [&str; 4] = ["prod", "production", "prd", "live"];
/// Values that are looked at for the word production.
const VALUES_MAX: usize = 256;

/// Adds what a structured infrastructure call would destroy.
pub(crate) fn scan(input: &DetectInput<'_>, findings: &mut Findings) {
    let tool = input.tool_name.as_str();
    let (k8s, iac) = (has_word(tool, &K8S_TOOLS), has_word(tool, &IAC_TOOLS));
    if !k8s && !iac {
        return;
    }
    if k8s && grants_cluster_admin(input.payload) {
        findings.add_base(FindingId::PrivilegeEscalationAttempt, "");
    }
    let Some(pointer) = taking_away(tool, input.payload) else { return };
    let production = in_production(input.payload);
    let id = match (k8s, production) {
        (true, true) => FindingId::K8sProdDestruction,
        (true, false) => FindingId::K8sDestruction,
        (false, true) => FindingId::IacProdDestruction,
        (false, false) => FindingId::IacDestruction,
    };
    findings.add_base(id, &pointer);
}

/// Where the call says that it takes something away: empty for the tool's own name.
fn taking_away(tool: &str, payload: &Map<String, Value>) -> Option<String> {
    if has_word(tool, &TAKING_AWAY) {
        return Some(String::new());
    }
    let said = |key: &str, text: &str| has_word(text, &TAKING_AWAY).then(|| format!("/{key}"));
    ACTION_KEYS.iter().find_map(|key| match payload.get(*key)? {
        Value::String(text) => said(key, text),
        Value::Array(items) => items.iter().filter_map(Value::as_str).take(VALUES_MAX).find_map(|text| said(key, text)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => None,
    })
}

fn in_production(payload: &Map<String, Value>) -> bool {
    let mut open: Vec<&Value> = payload.values().collect();
    for _ in 0..VALUES_MAX {
        match open.pop() {
            Some(Value::String(text)) if is_production(text) => return true,
            Some(Value::Array(items)) => open.extend(items.iter().take(VALUES_MAX)),
            Some(Value::Object(map)) => open.extend(map.values().take(VALUES_MAX)),
            Some(Value::String(_) | Value::Bool(_) | Value::Null | Value::Number(_)) => {}
            None => return false,
        }
    }
    false
}

/// Whether a name's words speak of production, and not of what comes before it.
pub(crate) fn is_production(text: &str) -> bool {
    let has = |set: &[&str]| words_of(text).any(|w| set.iter().any(|s| w.eq_ignore_ascii_case(s)));
    has(&PRODUCTION) && !has(&["non", "nonprod", "pre", "preprod", "not"])
}

fn grants_cluster_admin(payload: &Map<String, Value>) -> bool {
    let is_admin = |v: &Value| v.as_str().is_some_and(|t| matches!(t, "cluster-admin" | "system:masters"));
    payload.values().any(|value| match value {
        Value::Object(map) => map.values().any(is_admin),
        other => is_admin(other),
    })
}
