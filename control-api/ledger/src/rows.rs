//! What entries say, by kind. Every struct is closed: an unknown field is refused.

use std::collections::BTreeMap;

use aegis_core::day::Day;
use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::finding::{Finding, FindingId, Severity};
use aegis_core::id::{AgentId, ApprovalId, AuditId, BootId, ContractId, ExecutionId, SourceId, UserId};
use aegis_core::money::MicroUsd;
use aegis_core::score::BasisPoints;
use aegis_core::snapshot::KillSwitch;
use aegis_core::words;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hash::Hash;
use crate::rotation::Rotation;

/// Characters of free text in a row at most.
pub const TEXT_MAX: usize = 1_024;
/// Rule ids in a row at most.
pub const RULE_IDS_MAX: usize = 64;

/// `open`: a source starts; its first entry of a boot for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// The boot's Ed25519 key, base64.
    pub boot_key: String,
    /// Id of the identity key that vouches for it.
    pub identity_key_id: String,
    /// The identity key's signature over [`crate::signing::boot_statement`], base64.
    pub identity_signature: String,
    /// The binary and its version.
    pub software: String,
    /// The source's boot before this one, if it had one for this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousBoot>,
}

/// Where the boot before ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousBoot {
    /// The boot.
    pub boot: BootId,
    /// Its last durable entry; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// Whether it ended with `close`.
    pub closed: bool,
}

/// `close`: a source ends in order; the last entry of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// Why.
    pub reason: String,
}

/// `heartbeat`: every 10 s while rows flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Calls whose tool was called, since the boot.
    pub forwarded: u64,
    /// Calls refused, since the boot.
    pub denied: u64,
    /// Calls that failed, since the boot.
    pub errored: u64,
    /// The entry before this one.
    pub last_seq: u64,
}

/// `gap`: a source declares a loss in its own chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The boot that lost entries: this one or one before. (`boot` is the header's.)
    pub lost_boot: BootId,
    /// First lost.
    pub from: u64,
    /// Last lost.
    pub to: u64,
    /// Why.
    pub why: String,
}

/// A finding as a row keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFinding {
    /// What.
    pub id: FindingId,
    /// How bad.
    pub severity: Severity,
    /// 0–100.
    pub score: u8,
    /// Where: a JSON pointer into the payload.
    pub pointer: String,
}

impl From<&Finding> for RowFinding {
    fn from(finding: &Finding) -> Self {
        Self { id: finding.id, severity: finding.severity(), score: finding.score, pointer: finding.pointer.clone() }
    }
}

/// One signal of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Its value.
    pub score_bp: BasisPoints,
    /// The value from which it counts as triggered.
    pub threshold_bp: BasisPoints,
}

/// One stage of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageStep {
    /// 0–10.
    pub n: u8,
    /// One word: `pass`, `refuse`, `skip`, `fault`, or the stage's own.
    pub outcome: String,
    /// Microseconds.
    pub us: u64,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    /// Revision of the platform bundle.
    pub bundle: String,
    /// Revision of the tenant's overlay, `none` if it has none.
    pub revision: String,
}

/// The tool's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its HTTP status; absent if none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Microseconds from request to the last byte.
    pub us: u64,
}

/// What a shadow version would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowRow {
    /// The policy's name.
    pub name: String,
    /// The version that was judged beside the active one.
    pub version: u32,
    /// The verdict with it in place of the active one.
    pub decision: Decision,
    /// The score with it.
    pub score_bp: BasisPoints,
    /// Which rules spoke, the deciding one first.
    pub rule_ids: Vec<String>,
}

/// `decision`: one governed call, or a count of alike refusals of stages 0–2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRow {
    /// The call.
    pub execution_id: ExecutionId,
    /// The request.
    pub request_id: String,
    /// The id the client gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
    /// On behalf of whom.
    pub agent_id: AgentId,
    /// By whom: a principal label.
    pub principal: String,
    /// The agent's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The tool.
    pub tool: String,
    /// What was done: `execute`.
    pub action: String,
    /// The verdict.
    pub decision: Decision,
    /// What became of the call.
    pub outcome: Outcome,
    /// The score.
    pub score_bp: BasisPoints,
    /// The score as 0–100.
    pub risk_score: u8,
    /// What was seen.
    pub findings: Vec<RowFinding>,
    /// Which rules spoke, the deciding one first.
    pub rule_ids: Vec<String>,
    /// What the decision was computed from.
    pub signals: BTreeMap<String, Signal>,
    /// The stages that ran.
    pub stages: Vec<StageStep>,
    /// The policy in force; absent if policy was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRef>,
    /// What shadow versions would have decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<ShadowRow>,
    /// The contract in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<ContractId>,
    /// The approval used or asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The snapshot in force.
    pub snapshot_version: u64,
    /// Commitment to tenant, agent, tool and payload; absent in counted refusals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_commitment: Option<Hash>,
    /// Commitment to the released answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_commitment: Option<Hash>,
    /// Redactions by kind.
    pub redactions: BTreeMap<String, u64>,
    /// The tool's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// What it cost.
    pub cost_micro_usd: MicroUsd,
    /// The durability reached before the tool was called.
    pub level: Level,
    /// One sentence for people; for refusals the stable identifier first.
    pub reason: String,
    /// How many alike refusals this row stands for; 1 for a call.
    pub count: u64,
}

/// `outcome`: the end of a call whose `decision` had to be durable first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRow {
    /// The call.
    pub execution_id: ExecutionId,
    /// What became of it.
    pub outcome: Outcome,
    /// Commitment to the released answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_commitment: Option<Hash>,
    /// Redactions by kind.
    pub redactions: BTreeMap<String, u64>,
    /// The tool's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// What it cost.
    pub cost_micro_usd: MicroUsd,
    /// One sentence for people.
    pub reason: String,
}

/// `admin`: a management write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// By whom: a principal label.
    pub actor: String,
    /// The verb: `agent.create`, `permission.delete`, …
    pub action: String,
    /// What it was done to: `agent:<id>`, …
    pub object: String,
    /// Facts of the change, without secrets: strings, integers, booleans.
    pub detail: Map<String, Value>,
    /// The request.
    pub request_id: String,
}

/// `key`: a key enters use or leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The key's id.
    pub key_id: String,
    /// The public key, base64.
    pub public_key: String,
    /// `receipt`, `token`, `checkpoint` or `identity`.
    pub purpose: String,
    /// `introduced`, `retired` or `compromised`.
    pub state: String,
    /// How it follows the key before it; absent in a log's first and in keys of other purposes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// `enrol`: a source is enrolled with its identity key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The source.
    pub enrolled: SourceId,
    /// Its name.
    pub name: String,
    /// Its identity key's id.
    pub identity_key_id: String,
    /// Its identity key, base64.
    pub identity_key: String,
}

/// `policy`: a policy version changes state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// By whom.
    pub actor: String,
    /// The policy.
    pub name: String,
    /// The version.
    pub version: u32,
    /// SHA-256 of its text, hex.
    pub revision: String,
    /// `active`, `shadow`, `draft` or `retired`.
    pub mode: String,
}

/// `kill`: the kill switch is engaged (`engaged` present) or disengaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// By whom.
    pub actor: String,
    /// The switch, while engaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engaged: Option<KillSwitch>,
    /// The person, if the actor is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

/// `daily_statement`: what the tree was at the end of a UTC day; appended after that day.
///
/// Days are cut by place in the ledger, by when the control plane received the entries: a late one belongs to the day
/// it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DailyStatement {
    /// The day.
    pub date: Day,
    /// Entries before the day.
    pub size_from: u64,
    /// Entries up to its end.
    pub size_to: u64,
    /// The tree's root (RFC 9162) over the first `size_to` entries.
    pub root: Hash,
    /// SHA-256 of the bytes of the statement entry of the day before; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_statement_hash: Option<Hash>,
    /// The day's entries by kind.
    pub counts: BTreeMap<String, u64>,
}

words! {
    /// What an analyst says of a row.
    pub enum NoteType {
        /// A remark.
        Analysis = "analysis",
        /// The decision saw what was not there.
        FalsePositive = "false_positive",
        /// It saw a real attack.
        ConfirmedThreat = "confirmed_threat",
        /// It was handed on.
        Escalated = "escalated",
    }
}

/// `note`: an analyst's note on a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// By whom: a principal label.
    pub actor: String,
    /// The row it is about.
    pub about: AuditId,
    /// What kind of note.
    pub note_type: NoteType,
    /// The note.
    pub body: String,
}
