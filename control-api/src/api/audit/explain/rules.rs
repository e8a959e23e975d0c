//! The rules that spoke: where each stands, its text, and what of the input it reads, as far as the row tells.

use aegis_core::id::TenantId;
use aegis_core::policy::PolicyFile;
use aegis_ledger::rows::{DecisionRow, RowFinding};
use aegis_pipeline::policy::{RuleText, locate, overlay_revision};
use aegis_store::audit::AuditRow;
use aegis_store::{Conn, policy};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::state::App;

/// Rules that are looked up at most.
const RULES_MAX: usize = 10;
/// Scores from which the platform's `facts.found` and `facts.suspected` hold a finding.
const FOUND: u8 = 70;
const SUSPECTED: u8 = 40;

/// A rule that spoke.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::audit) struct RuleView {
    #[schema(examples("agent.deny.destructive_sql"))]
    id: String,
    /// The tenant's policy it stands in; `null` for rules that ship with the product.
    policy: Option<String>,
    /// That policy's version at the time.
    version: Option<u32>,
    /// Its file; `null` while `not_available` says why.
    #[schema(examples("agent/agent.rego"))]
    file: Option<String>,
    /// The line of its head, from 1.
    line: Option<u32>,
    /// The column of its head, from 1.
    column: Option<u32>,
    /// The line in which its id stands, from 1.
    id_line: Option<u32>,
    /// Its text.
    text: Option<String>,
    /// What it reads, with what the row tells of that.
    input: Vec<InputView>,
    /// Why there is no text.
    #[schema(examples("a finding of detection, no rule of a policy"))]
    not_available: Option<&'static str>,
}

/// Something a rule reads.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::audit) struct InputView {
    #[schema(examples("input.tool_name"))]
    path: String,
    /// Whether the row tells it: payloads and facts about the agent are not kept.
    recorded: bool,
    /// What it was; `null` if that is not recorded.
    #[schema(value_type = Object)]
    value: Value,
}

/// The rules that the row names, the deciding one first.
pub(super) async fn of(
    app: &App,
    db: &mut Conn,
    tenant: TenantId,
    row: &AuditRow,
    said: &DecisionRow,
) -> Result<Vec<RuleView>, ApiError> {
    let Some(reference) = &said.policy else { return Ok(Vec::new()) };
    let revision_of = |files: &[PolicyFile]| overlay_revision(files.iter());
    let own = policy::in_force_at(db, tenant, &reference.revision, revision_of).await?.unwrap_or_default();
    let shipped = if reference.bundle == app.platform.revision() { app.platform.texts() } else { &[] };
    let known = recorded(row, said);
    let views = said.rule_ids.iter().take(RULES_MAX).map(|id| {
        let in_own = own.iter().find_map(|file| Some((file, locate(&format!("{}.rego", file.name), &file.rego, id)?)));
        if let Some((file, rule)) = in_own {
            return RuleView { policy: Some(file.name.clone()), version: Some(file.version), ..told(id, rule, &known) };
        }
        match shipped.iter().find_map(|(file, rego)| locate(file, rego, id)) {
            Some(rule) => told(id, rule, &known),
            None => untold(id, said),
        }
    });
    Ok(views.collect())
}

fn told(id: &str, rule: RuleText, known: &Value) -> RuleView {
    RuleView {
        id: id.to_owned(),
        policy: None,
        version: None,
        file: Some(rule.file),
        line: Some(rule.line),
        column: Some(rule.column),
        id_line: Some(rule.id_line),
        text: Some(rule.text),
        input: rule.reads.into_iter().map(|path| input(path, known)).collect(),
        not_available: None,
    }
}

fn untold(id: &str, said: &DecisionRow) -> RuleView {
    let finding = id.strip_prefix("finding.");
    let seen: Vec<&RowFinding> = said.findings.iter().filter(|f| finding == Some(f.id.as_str())).collect();
    let input = finding.map(|_| InputView { path: "payload".into(), recorded: true, value: findings(seen) });
    let why = match finding {
        Some(_) => "a finding of detection, no rule of a policy",
        None if id.starts_with("autonomy.") => "a term of the agent's contract, no rule of a policy",
        None if id.starts_with("restriction.") => "a restriction of the agent, no rule of a policy",
        None => "the policy of then is not at hand, or composes the id while it runs",
    };
    RuleView {
        id: id.to_owned(),
        policy: None,
        version: None,
        file: None,
        line: None,
        column: None,
        id_line: None,
        text: None,
        input: input.into_iter().collect(),
        not_available: Some(why),
    }
}

fn input(path: String, known: &Value) -> InputView {
    let found = path.split('.').try_fold(known, |at, part| at.get(part)).cloned();
    InputView { recorded: found.is_some(), value: found.unwrap_or_default(), path }
}

fn findings(findings: Vec<&RowFinding>) -> Value {
    findings
        .into_iter()
        .map(|f| json!({ "id": f.id, "severity": f.severity, "score": f.score, "pointer": f.pointer }))
        .collect()
}

/// The input as rules saw it, as far as the row tells.
fn recorded(row: &AuditRow, said: &DecisionRow) -> Value {
    let seen_from = |least: u8| -> Value {
        let ids: std::collections::BTreeSet<&str> =
            said.findings.iter().filter(|f| f.score >= least).map(|f| f.id.as_str()).collect();
        json!(ids)
    };
    let facts = json!({ "found": seen_from(FOUND), "suspected": seen_from(SUSPECTED) });
    let mut known = Map::new();
    known.insert("data".into(), json!({ "aegis": { "facts": facts } }));
    known.insert("facts".into(), facts);
    known.insert(
        "input".into(),
        json!({
            "tool_name": said.tool,
            "agent": { "id": said.agent_id },
            "findings": findings(said.findings.iter().collect()),
            "time": { "iso": row.ts, "hour": row.ts.hour(), "weekday": row.ts.weekday() },
            "session": { "id": said.session_id.clone().unwrap_or_default() },
            "request": { "id": said.request_id },
        }),
    );
    Value::Object(known)
}
