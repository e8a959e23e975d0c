//! Sums by hour and counts by facet, kept in the transaction that adds the rows: aggregates cost by window, not by rows.

use std::collections::{BTreeMap, BTreeSet};

use aegis_core::decision::{Decision, Outcome};
use aegis_core::finding::Severity;
use aegis_core::id::{AgentId, TenantId};
use aegis_core::time::{MICROS_PER_HOUR, Timestamp};
use aegis_ledger::rows::DecisionRow;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::facet::{Facet, NO_RULE, day_of};
use crate::sql::{PLACEHOLDERS_MAX, Sql, Value};

/// What one sum is over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// µs of the hour's first instant.
    pub(crate) hour: i64,
    pub(crate) agent: AgentId,
    pub(crate) tool: String,
    pub(crate) decision: Decision,
}

/// Sums, or what is to be added to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    pub(crate) calls: i64,
    pub(crate) risk_sum: i64,
    pub(crate) risk: [i64; 4],
    pub(crate) cost_micro_usd: i64,
    pub(crate) outcomes: [i64; 5],
}

/// What a count of a facet is over: facet, bucket, agent, value.
type FacetKey = (Facet, i64, AgentId, String);

/// Additions to the rollups of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    sums: BTreeMap<Key, Sums>,
    facets: BTreeMap<FacetKey, i64>,
}

/// The hour an instant lies in.
pub(crate) const fn hour_of(ts: Timestamp) -> i64 {
    ts.as_micros().div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR
}

const fn severity_slot(severity: Severity) -> usize {
    match severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
        Severity::Critical => 3,
    }
}

const fn outcome_slot(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Pending => 0,
        Outcome::Executed => 1,
        Outcome::NotExecuted => 2,
        Outcome::Failed => 3,
        Outcome::Unknown => 4,
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Additions {
    /// Counts a decision; a counted refusal counts as often as it stands for.
    pub(crate) fn decision(&mut self, ts: Timestamp, row: &DecisionRow) {
        let key = Key { hour: hour_of(ts), agent: row.agent_id, tool: row.tool.clone(), decision: row.decision };
        let sums = self.sums.entry(key).or_default();
        let count = signed(row.count);
        sums.calls = sums.calls.saturating_add(count);
        sums.risk_sum = sums.risk_sum.saturating_add(count.saturating_mul(i64::from(row.risk_score)));
        add(&mut sums.risk, severity_slot(Severity::of_score(row.risk_score)), count);
        sums.cost_micro_usd = sums.cost_micro_usd.saturating_add(signed(row.cost_micro_usd.as_micros()));
        add(&mut sums.outcomes, outcome_slot(row.outcome), count);
        self.facets_of(ts, row, count);
    }

    fn facets_of(&mut self, ts: Timestamp, row: &DecisionRow, count: i64) {
        let (day, agent) = (day_of(ts), row.agent_id);
        let findings: BTreeSet<_> = row.findings.iter().map(|finding| finding.id).collect();
        for finding in findings {
            self.count((Facet::Finding, day, agent, finding.to_string()), count);
        }
        self.count((Facet::Risk, day, agent, row.risk_score.to_string()), count);
        for shadow in &row.shadow {
            let value = format!("{}@{} {}>{}", shadow.name, shadow.version, row.decision, shadow.decision);
            self.count((Facet::Shadow, hour_of(ts), agent, value), count);
        }
        let denied = match row.decision {
            Decision::Kill => true,
            Decision::Escalate => row.outcome == Outcome::NotExecuted,
            Decision::Allow | Decision::Monitor | Decision::Throttle | Decision::Refused => false,
        };
        if denied {
            let rule = row.rule_ids.first().map_or(NO_RULE, String::as_str);
            self.count((Facet::DenyReason, day, agent, rule.to_owned()), count);
        }
    }

    fn count(&mut self, key: FacetKey, count: i64) {
        let calls = self.facets.entry(key).or_default();
        *calls = calls.saturating_add(count);
    }

    /// A pending decision is settled. An escalation whose tool was not called after all counts as denied by `rule`.
    pub(crate) fn settled(&mut self, ts: Timestamp, key: Key, outcome: Outcome, cost_change: i64, rule: Option<&str>) {
        if (key.decision, outcome) == (Decision::Escalate, Outcome::NotExecuted) {
            let rule = rule.unwrap_or(NO_RULE).to_owned();
            self.count((Facet::DenyReason, day_of(ts), key.agent, rule), 1);
        }
        let sums = self.sums.entry(key).or_default();
        add(&mut sums.outcomes, outcome_slot(Outcome::Pending), -1);
        add(&mut sums.outcomes, outcome_slot(outcome), 1);
        sums.cost_micro_usd = sums.cost_micro_usd.saturating_add(cost_change);
    }

    /// Adds everything to the table.
    pub(crate) async fn store(self, db: &mut Conn, tenant: TenantId) -> Result<(), StoreError> {
        const COLUMNS: usize = 17;
        let rows: Vec<Vec<Value>> = self.sums.into_iter().map(|(key, sums)| values(tenant, key, &sums)).collect();
        for chunk in rows.chunks(PLACEHOLDERS_MAX / COLUMNS) {
            let mut sql = Sql::new(
                "INSERT INTO rollup_hourly (tenant_id, hour, agent_id, tool, decision, calls, risk_sum, risk_low, \
                 risk_medium, risk_high, risk_critical, cost_micro_usd, pending, executed, not_executed, failed, \
                 unknown) VALUES ",
            );
            sql.push_rows(chunk.iter().cloned()).push(
                " ON CONFLICT (tenant_id, hour, agent_id, tool, decision) DO UPDATE SET \
                 calls = rollup_hourly.calls + excluded.calls, \
                 risk_sum = rollup_hourly.risk_sum + excluded.risk_sum, \
                 risk_low = rollup_hourly.risk_low + excluded.risk_low, \
                 risk_medium = rollup_hourly.risk_medium + excluded.risk_medium, \
                 risk_high = rollup_hourly.risk_high + excluded.risk_high, \
                 risk_critical = rollup_hourly.risk_critical + excluded.risk_critical, \
                 cost_micro_usd = rollup_hourly.cost_micro_usd + excluded.cost_micro_usd, \
                 pending = rollup_hourly.pending + excluded.pending, \
                 executed = rollup_hourly.executed + excluded.executed, \
                 not_executed = rollup_hourly.not_executed + excluded.not_executed, \
                 failed = rollup_hourly.failed + excluded.failed, \
                 unknown = rollup_hourly.unknown + excluded.unknown",
            );
            db.execute(sql).await?;
        }
        store_facets(db, tenant, self.facets).await
    }
}

async fn store_facets(db: &mut Conn, tenant: TenantId, facets: BTreeMap<FacetKey, i64>) -> Result<(), StoreError> {
    const COLUMNS: usize = 6;
    let row = |((facet, bucket, agent, value), calls): (FacetKey, i64)| -> Vec<Value> {
        vec![tenant.into(), facet.as_str().into(), bucket.into(), agent.into(), value.into(), calls.into()]
    };
    let rows: Vec<Vec<Value>> = facets.into_iter().map(row).collect();
    for chunk in rows.chunks(PLACEHOLDERS_MAX / COLUMNS) {
        let mut sql = Sql::new("INSERT INTO rollup_facets (tenant_id, facet, bucket, agent_id, value, calls) VALUES ");
        sql.push_rows(chunk.iter().cloned()).push(
            " ON CONFLICT (tenant_id, facet, bucket, agent_id, value) DO UPDATE \
             SET calls = rollup_facets.calls + excluded.calls",
        );
        db.execute(sql).await?;
    }
    Ok(())
}

fn add(slots: &mut [i64], slot: usize, amount: i64) {
    if let Some(value) = slots.get_mut(slot) {
        *value = value.saturating_add(amount);
    }
}

fn values(tenant: TenantId, key: Key, sums: &Sums) -> Vec<Value> {
    let mut row: Vec<Value> = vec![
        tenant.into(),
        key.hour.into(),
        key.agent.into(),
        key.tool.into(),
        key.decision.as_str().into(),
        sums.calls.into(),
        sums.risk_sum.into(),
    ];
    row.extend(sums.risk.map(Value::from));
    row.push(sums.cost_micro_usd.into());
    row.extend(sums.outcomes.map(Value::from));
    row
}
