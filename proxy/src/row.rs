//! Rows: what is known of a call when it is over, in the ledger's terms.

use std::collections::BTreeMap;

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::id::{AgentId, ExecutionId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_ledger::commitment::{Salt, commit};
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::{
    DecisionRow, OutcomeRow, PolicyRef, RULE_IDS_MAX, RowFinding, ShadowRow, Signal, StageStep, TEXT_MAX, Upstream,
};
use aegis_pipeline::record::{CallRecord, PolicyInForce, ShadowVerdict};
use aegis_pipeline::timeline::Timeline;

/// Bytes that the findings of one row take at most, encoded; a row must stay within the entry's limit.
const FINDINGS_BYTES_MAX: usize = 20 * 1_024;
/// Bytes of a finding besides its pointer, encoded.
const FINDING_BYTES: usize = 128;

/// Rules that a row names for each shadow version at most.
const SHADOW_RULES_MAX: usize = 4;

/// How a call ended.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// Commitment to the released answer.
    pub output_commitment: Option<Hash>,
    /// Redactions by kind.
    pub redactions: BTreeMap<String, u64>,
    /// The tool's answer.
    pub upstream: Option<Upstream>,
}

/// The canonical input that a call's commitment is made over (RFC 8785).
pub fn commitment_input(tenant: TenantId, agent: AgentId, tool: &str, payload: &str) -> String {
    // Keys in order; ids and tool names need no escapes, and the payload is canonical already.
    format!(r#"{{"agent_id":"{agent}","payload":{payload},"tenant_id":"{tenant}","tool_name":"{tool}"}}"#)
}

/// Commits to a call's input.
pub fn commit_input(salt: &Salt, record: &CallRecord, payload: &str) -> Hash {
    commit(salt, commitment_input(record.tenant_id, record.agent_id, record.tool.as_str(), payload).as_bytes())
}

/// The row of one call.
pub fn decision_row(
    record: &CallRecord,
    execution_id: ExecutionId,
    input: Option<Hash>,
    outcome: Outcome,
    level: Level,
    ending: Ending,
) -> DecisionRow {
    DecisionRow {
        execution_id,
        request_id: record.request_id.to_string(),
        client_request_id: record.client_request_id.as_ref().map(ToString::to_string),
        agent_id: record.agent_id,
        principal: record.principal.clone(),
        session_id: record.session_id.as_ref().map(|s| s.as_str().to_owned()),
        tool: record.tool.as_str().to_owned(),
        action: "execute".into(),
        decision: record.decision,
        outcome,
        score_bp: record.score,
        risk_score: record.score.as_percent(),
        findings: findings(record),
        rule_ids: record.rule_ids.iter().take(RULE_IDS_MAX).map(|id| cut(id)).collect(),
        signals: record
            .signals
            .iter()
            .map(|(name, s)| ((*name).to_owned(), Signal { score_bp: s.score, threshold_bp: s.threshold }))
            .collect(),
        stages: stages(&record.timeline),
        policy: Some(policy_ref(&record.policy)),
        shadow: record.shadows.iter().map(shadow_row).collect(),
        contract: record.contract,
        approval: record.approval,
        snapshot_version: record.snapshot_version,
        input_commitment: input,
        output_commitment: ending.output_commitment,
        redactions: ending.redactions,
        upstream: ending.upstream,
        cost_micro_usd: record.cost,
        level,
        reason: cut(&record.reason),
        count: 1,
    }
}

/// The second row of a call whose first had to be written before its tool was called.
pub fn outcome_row(
    execution_id: ExecutionId,
    outcome: Outcome,
    cost: MicroUsd,
    reason: &str,
    ending: Ending,
) -> OutcomeRow {
    OutcomeRow {
        execution_id,
        outcome,
        output_commitment: ending.output_commitment,
        redactions: ending.redactions,
        upstream: ending.upstream,
        cost_micro_usd: cost,
        reason: cut(reason),
    }
}

fn shadow_row(shadow: &ShadowVerdict) -> ShadowRow {
    ShadowRow {
        name: shadow.name.clone(),
        version: shadow.version,
        decision: shadow.decision,
        score_bp: shadow.score,
        rule_ids: shadow.rule_ids.iter().take(SHADOW_RULES_MAX).map(|id| cut(id)).collect(),
    }
}

/// The policy in force, as rows name it.
pub fn policy_ref(policy: &PolicyInForce) -> PolicyRef {
    PolicyRef { bundle: policy.bundle.clone(), revision: policy.overlay.clone() }
}

/// The call as a refusal: the stable identifier first, then what was known.
pub fn refuse(record: &mut CallRecord, reason: &str) {
    record.decision = Decision::Refused;
    reason.clone_into(&mut record.reason);
}

fn findings(record: &CallRecord) -> Vec<RowFinding> {
    let mut left = FINDINGS_BYTES_MAX;
    let fits = |finding: &RowFinding| {
        // A control character takes six bytes, a quote or backslash two.
        let encoded: usize =
            finding.pointer.bytes().map(|b| if b < 0x20 { 6 } else { 1 + usize::from(b == b'"' || b == b'\\') }).sum();
        let fits = left.checked_sub(encoded + FINDING_BYTES);
        left = fits.unwrap_or(0);
        fits.is_some()
    };
    record.findings.iter().map(RowFinding::from).take_while(fits).collect()
}

fn stages(timeline: &Timeline) -> Vec<StageStep> {
    timeline
        .steps()
        .iter()
        .map(|s| StageStep { n: s.stage.number(), outcome: s.outcome.as_str().to_owned(), us: s.micros })
        .collect()
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::json;
    use uuid::Uuid;

    #[test]
    fn the_committed_input_is_canonical() {
        let text = commitment_input(
            TenantId::from_uuid(Uuid::from_u128(1)),
            AgentId::from_uuid(Uuid::from_u128(2)),
            "db.query",
            r#"{"a":1,"b":"é"}"#,
        );
        assert_eq!(json::canonical(&json::parse(text.as_bytes()).unwrap()), text);
    }
}
