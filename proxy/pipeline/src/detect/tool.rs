//! Whether the agent may use the tool at all, whether its name imitates one that is granted, how long the line of
//! agents is, and whose tenant is named.

use aegis_core::agent::GrantEffect;
use aegis_core::finding::FindingId;
use aegis_core::id::TenantId;
use aegis_core::pattern::ToolPattern;
use serde_json::Value;

use super::DetectInput;
use super::findings::Findings;
use crate::delegation::DELEGATION_DEPTH_MAX;

/// Grants that are compared with the name.
const COMPARED_GRANTS_MAX: usize = 256;
/// Shorter names differ in one letter by chance.
const IMITATION_BYTES_MIN: usize = 5;

/// Adds what the tool's name and the tenant fields say.
pub(crate) fn scan(input: &DetectInput<'_>, findings: &mut Findings) {
    if !input.granted {
        findings.add_base(FindingId::ToolNotGranted, "");
        if imitates_a_grant(input) {
            findings.add_base(FindingId::ToolNameSpoofing, "");
        }
    }
    if input.delegation_depth > DELEGATION_DEPTH_MAX {
        findings.add_base(FindingId::DelegationTooDeep, "");
    }
    for key in ["tenant_id", "tenantId", "tenant"] {
        let named = input.payload.get(key).and_then(Value::as_str).and_then(|text| text.parse::<TenantId>().ok());
        if named.is_some_and(|id| id != input.tenant_id) {
            findings.add_base(FindingId::TenantFieldMismatch, &format!("/{key}"));
        }
    }
}

fn imitates_a_grant(input: &DetectInput<'_>) -> bool {
    let name = input.tool_name.as_str();
    input.grants.iter().take(COMPARED_GRANTS_MAX).filter(|g| g.effect == GrantEffect::Allow).any(|grant| {
        match &grant.tool {
            ToolPattern::Any => false,
            ToolPattern::Exact(granted) => imitates(name, granted.as_str()),
            ToolPattern::Below(prefix) => {
                let words = prefix.as_str().split('.').count();
                let head: Vec<&str> = name.split('.').take(words).collect();
                imitates(&head.join("."), prefix.as_str())
            }
        }
    })
}

/// Different, yet the same to a hurried eye: other case or separators, look-alike digits, one slip of the finger.
fn imitates(name: &str, granted: &str) -> bool {
    if name == granted || granted.len() < IMITATION_BYTES_MIN {
        return false;
    }
    let (a, b) = (skeleton(name), skeleton(granted));
    a == b || (a.len().abs_diff(b.len()) <= 1 && a.len() >= IMITATION_BYTES_MIN && one_slip(&a, &b))
}

fn skeleton(name: &str) -> Vec<u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|b| match b.to_ascii_lowercase() {
            b'0' => b'o',
            b'1' | b'i' => b'l',
            b'3' => b'e',
            b'5' => b's',
            b => b,
        })
        .collect()
}

/// One letter added, left out, changed, or two neighbours swapped.
fn one_slip(a: &[u8], b: &[u8]) -> bool {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (a.get(same..).unwrap_or_default(), b.get(same..).unwrap_or_default());
    match (rest_a, rest_b) {
        ([_, x @ ..], y) if x == y => true,
        (x, [_, y @ ..]) if x == y => true,
        ([_, x @ ..], [_, y @ ..]) if x == y => true,
        ([x0, x1, x @ ..], [y0, y1, y @ ..]) => x0 == y1 && x1 == y0 && x == y,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_imitate_and_other_names_do_not() {
        for (name, granted) in [
            ("db.qeury", "db.query"),
            ("db.querry", "db.query"),
            ("db_query", "db.query"),
            ("DB.Query", "db.query"),
            ("db.quer", "db.query"),
            ("ma1l.send", "mail.send"),
        ] {
            assert!(imitates(name, granted), "{name} {granted}");
        }
        for (name, granted) in
            [("db.query", "db.query"), ("fs.read", "fs.write"), ("mail.send", "mail.read"), ("a.b", "a.c")]
        {
            assert!(!imitates(name, granted), "{name} {granted}");
        }
    }
}
