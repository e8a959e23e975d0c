//! Stored rows as the pipeline decides them again.

use std::collections::HashMap;
use std::sync::Arc;

use aegis_core::agent::AgentRecord;
use aegis_core::decision::Decision;
use aegis_core::finding::Finding;
use aegis_core::id::{AgentId, AuditId, ContractId, ExecutionId, SessionId, TenantId};
use aegis_core::pattern::{ToolName, ToolPattern};
use aegis_core::principal::Role;
use aegis_core::score::BasisPoints;
use aegis_core::sidecar::{Effect, ToolAnnouncement};
use aegis_core::snapshot::Item;
use aegis_core::tenant::TenantRecord;
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::DecisionRow;
use aegis_pipeline::policy::{PlatformBundle, TenantPolicy};
use aegis_pipeline::record::PolicyInForce;
use aegis_pipeline::replay::{Replayed, StoredCall, is_faithful, replay};
use aegis_pipeline::stages::enforcement::{Consequence, ContractState};
use aegis_store::audit::AuditRow;
use aegis_store::{Conn, item, registry, tenant};
use uuid::Uuid;

use crate::error::ApiError;

/// Agents that one simulation may concern at most.
const AGENTS_MAX: usize = 20_000;

/// What all rows of one simulation are decided by.
pub(super) struct Stage {
    pub(super) tenant: TenantRecord,
    pub(super) platform: Arc<PlatformBundle>,
    /// What is in force.
    pub(super) present: Arc<TenantPolicy>,
    /// What might be.
    pub(super) drafted: Arc<TenantPolicy>,
    agents: HashMap<AgentId, Option<AgentRecord>>,
    tools: Vec<ToolAnnouncement>,
}

/// One row, decided again.
pub(super) struct Outcome {
    pub(super) audit_id: AuditId,
    pub(super) execution_id: ExecutionId,
    pub(super) tool: String,
    pub(super) at: Timestamp,
    /// What was decided.
    pub(super) old: Decision,
    /// What the draft would decide; absent if the row does not tell enough.
    pub(super) new: Option<Replayed>,
}

impl Stage {
    pub(super) async fn set(
        db: &mut Conn,
        tenant_id: TenantId,
        platform: Arc<PlatformBundle>,
        (present, drafted): (Arc<TenantPolicy>, Arc<TenantPolicy>),
    ) -> Result<Self, ApiError> {
        let record = tenant::get(db, tenant_id).await?.ok_or(ApiError::NotFound("tenant"))?.record;
        let tools = registry::announced(db, tenant_id).await?;
        Ok(Self { tenant: record, platform, present, drafted, agents: HashMap::new(), tools })
    }

    /// Learns the agents of these rows, as they are now; one that is gone has no facts.
    pub(super) async fn learn(&mut self, db: &mut Conn, rows: &[AuditRow]) -> Result<(), ApiError> {
        for id in rows.iter().filter_map(|row| row.agent_id) {
            if self.agents.contains_key(&id) || self.agents.len() >= AGENTS_MAX {
                continue;
            }
            let found = match item::get(db, self.tenant.id, &format!("agent/{id}")).await? {
                Some(Item::Agent(agent)) => Some(agent),
                _ => None,
            };
            self.agents.insert(id, found);
        }
        Ok(())
    }

    /// Decides a row again. `None` if it is no row of a call.
    pub(super) fn decide(&self, row: &AuditRow) -> Result<Option<Outcome>, ApiError> {
        let Body::Decision(said) = row.entry()?.body else { return Ok(None) };
        let new = self.agents.get(&said.agent_id).and_then(Option::as_ref).and_then(|agent| {
            let call = self.stored(row, &said)?;
            let again = replay(&self.present, &self.tenant, agent, &call);
            is_faithful(&call, &self.present, &self.platform, &again)
                .then(|| replay(&self.drafted, &self.tenant, agent, &call))
        });
        Ok(Some(Outcome {
            audit_id: row.audit_id,
            execution_id: said.execution_id,
            at: row.ts,
            old: said.decision,
            tool: said.tool,
            new,
        }))
    }

    /// The row's facts; absent where a gate refused the call before any rule was asked.
    fn stored(&self, row: &AuditRow, said: &DecisionRow) -> Option<StoredCall> {
        let policy = said.policy.as_ref().filter(|_| said.decision != Decision::Refused)?;
        let tool = ToolName::parse(&said.tool).ok()?;
        let behavior = said.signals.get("behavior").map_or(BasisPoints::ZERO, |signal| signal.score_bp);
        Some(StoredCall {
            at: row.ts,
            effect: effect_of(&self.tools, &tool),
            tool,
            session: said.session_id.as_deref().and_then(SessionId::parse),
            role: if said.principal.starts_with("user:") { Role::Security } else { Role::Agent },
            findings: said
                .findings
                .iter()
                .map(|f| Finding { id: f.id, score: f.score, pointer: f.pointer.clone() })
                .collect(),
            behavior,
            contract: contract_of(said),
            decision: said.decision,
            rule_ids: said.rule_ids.clone(),
            policy: PolicyInForce { bundle: policy.bundle.clone(), overlay: policy.revision.clone() },
        })
    }
}

/// The effect of the most specific route that serves the tool; unknown tools are held to write.
pub(super) fn effect_of(tools: &[ToolAnnouncement], tool: &ToolName) -> Effect {
    let serving = tools.iter().filter(|route| route.tool.matches(tool)).max_by_key(|route| match &route.tool {
        ToolPattern::Exact(_) => usize::MAX,
        ToolPattern::Below(prefix) => prefix.as_str().len(),
        ToolPattern::Any => 0,
    });
    serving.map_or(Effect::Write, |route| route.effect)
}

/// The contract as the row's signals and rules tell it.
fn contract_of(said: &DecisionRow) -> ContractState {
    let violated = said.signals.get("autonomy").is_some_and(|signal| signal.score_bp == BasisPoints::MAX);
    match (violated, said.contract) {
        (true, contract) => ContractState::Violated {
            contract: contract.unwrap_or_else(|| ContractId::from_uuid(Uuid::nil())),
            rule: said.rule_ids.iter().find(|rule| rule.starts_with("autonomy.")).cloned().unwrap_or_default(),
            consequence: if said.decision == Decision::Escalate { Consequence::Escalate } else { Consequence::Kill },
        },
        (false, Some(contract)) => ContractState::Kept(contract),
        (false, None) => ContractState::Absent,
    }
}
