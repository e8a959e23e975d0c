//! What rules see of a call, and the JSON schema of it.

use std::collections::BTreeMap;

use aegis_core::agent::{AgentStatus, GrantEffect, RiskLevel};
use aegis_core::finding::{Category, Finding, FindingId, Severity};
use aegis_core::id::{AgentId, TenantId};
use aegis_core::pattern::{ToolName, ToolPattern};
use aegis_core::principal::Role;
use aegis_core::sidecar::Effect;
use aegis_core::tenant::Tier;
use aegis_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `input`.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyInput<'a> {
    /// The tenant.
    pub tenant: TenantInput,
    /// On behalf of whom.
    pub agent: AgentInput<'a>,
    /// By whom.
    pub principal: PrincipalInput,
    /// The tool's name.
    pub tool_name: &'a ToolName,
    /// What the route says about the tool.
    pub tool: ToolInput,
    /// The call's arguments.
    pub payload: &'a Map<String, Value>,
    /// What stage 3 saw.
    pub findings: Vec<FindingInput<'a>>,
    /// The agent's session, before this call.
    pub session: SessionInput,
    /// The agent's behaviour, before this call.
    pub behavior: BehaviorInput,
    /// Now, in UTC.
    pub time: TimeInput,
    /// The request.
    pub request: RequestInput,
    /// A verified approval, as opposed to one the payload claims.
    pub approval: ApprovalInput,
}

/// `input.tenant`.
#[derive(Debug, Clone, Serialize)]
pub struct TenantInput {
    /// Its id.
    pub id: TenantId,
    /// Its tier.
    pub tier: Tier,
}

/// `input.agent`.
#[derive(Debug, Clone, Serialize)]
pub struct AgentInput<'a> {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: &'a str,
    /// Where it stands.
    pub status: AgentStatus,
    /// How dangerous it is held to be.
    pub risk_level: RiskLevel,
    /// Its owner's labels.
    pub metadata: &'a BTreeMap<String, String>,
    /// Its grants in force.
    pub grants: Vec<GrantInput<'a>>,
    /// Whether they cover this tool.
    pub granted: bool,
}

/// One of `input.agent.grants`.
#[derive(Debug, Clone, Serialize)]
pub struct GrantInput<'a> {
    /// Which tools.
    pub tool: &'a ToolPattern,
    /// Allowed or denied.
    pub effect: GrantEffect,
}

/// `input.principal`.
#[derive(Debug, Clone, Serialize)]
pub struct PrincipalInput {
    /// Its role.
    pub role: Role,
}

/// `input.tool`.
#[derive(Debug, Clone, Serialize)]
pub struct ToolInput {
    /// What it does to the world.
    pub effect: Effect,
}

/// One of `input.findings`.
#[derive(Debug, Clone, Serialize)]
pub struct FindingInput<'a> {
    /// What.
    pub id: FindingId,
    /// Its category.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// 0–100.
    pub score: u8,
    /// Where in the payload.
    pub pointer: &'a str,
}

impl<'a> From<&'a Finding> for FindingInput<'a> {
    fn from(finding: &'a Finding) -> Self {
        let (category, ..) = finding.id.registry();
        Self { id: finding.id, category, severity: finding.severity(), score: finding.score, pointer: &finding.pointer }
    }
}

/// `input.session`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SessionInput {
    /// The agent's name for it, empty if it gave none.
    pub id: String,
    /// Calls in it so far, at most 20 and 2 h back.
    pub calls: usize,
    /// Their tools, oldest first.
    pub tools: Vec<String>,
}

/// `input.behavior`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct BehaviorInput {
    /// Calls of the agent in the last 60 s.
    pub calls_last_minute: u64,
    /// Micro-USD of the agent in this hour.
    pub cost_last_hour_micro_usd: u64,
    /// Cumulative risk of earlier calls, basis points.
    pub cumulative_risk_bp: u16,
}

/// `input.time`.
#[derive(Debug, Clone, Serialize)]
pub struct TimeInput {
    /// RFC 3339.
    pub iso: Timestamp,
    /// 0–23.
    pub hour: u8,
    /// Monday 1 to Sunday 7.
    pub weekday: u8,
}

/// `input.request`.
#[derive(Debug, Clone, Serialize)]
pub struct RequestInput {
    /// Our id of it.
    pub id: String,
    /// The client's address.
    pub ip: String,
}

/// `input.approval`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ApprovalInput {
    /// Whether a valid ticket for exactly this call was presented.
    pub granted: bool,
}

/// The JSON schema (2020-12) of [`PolicyInput`], as in `policies/schema/input.json`.
pub fn input_schema() -> Value {
    let text = || json!({ "type": "string" });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let count = |max: Option<u64>| {
        max.map_or(
            json!({ "type": "integer", "minimum": 0 }),
            |m| json!({ "type": "integer", "minimum": 0, "maximum": m }),
        )
    };
    let list = |items: Value| json!({ "type": "array", "items": items });
    let mut root = object(&[
        ("tenant", object(&[("id", uuid()), ("tier", one_of(Tier::ALL))])),
        (
            "agent",
            object(&[
                ("id", uuid()),
                ("name", text()),
                ("status", one_of(AgentStatus::ALL)),
                ("risk_level", one_of(RiskLevel::ALL)),
                ("metadata", json!({ "type": "object", "additionalProperties": text() })),
                ("grants", list(object(&[("tool", text()), ("effect", one_of(GrantEffect::ALL))]))),
                ("granted", json!({ "type": "boolean" })),
            ]),
        ),
        ("principal", object(&[("role", one_of(Role::ALL))])),
        ("tool_name", text()),
        ("tool", object(&[("effect", one_of(Effect::ALL))])),
        ("payload", json!({ "type": "object" })),
        (
            "findings",
            list(object(&[
                ("id", one_of(FindingId::ALL)),
                ("category", one_of(Category::ALL)),
                ("severity", one_of(Severity::ALL)),
                ("score", count(Some(100))),
                ("pointer", text()),
            ])),
        ),
        ("session", object(&[("id", text()), ("calls", count(Some(20))), ("tools", list(text()))])),
        (
            "behavior",
            object(&[
                ("calls_last_minute", count(None)),
                ("cost_last_hour_micro_usd", count(None)),
                ("cumulative_risk_bp", count(Some(10_000))),
            ]),
        ),
        (
            "time",
            object(&[
                ("iso", json!({ "type": "string", "format": "date-time" })),
                ("hour", count(Some(23))),
                ("weekday", json!({ "type": "integer", "minimum": 1, "maximum": 7 })),
            ]),
        ),
        ("request", object(&[("id", text()), ("ip", text())])),
        ("approval", object(&[("granted", json!({ "type": "boolean" }))])),
    ]);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Input of the rules of package aegis.decision");
    root
}

fn object(members: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn one_of(words: &[impl Serialize]) -> Value {
    json!({ "enum": words })
}
