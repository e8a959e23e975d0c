//! Aggregates from the hourly rollups: they cost by window and cardinality, never by rows.

use aegis_core::decision::Decision;
use aegis_core::id::{AgentId, TenantId};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::ledger::rollup::hour_of;
use crate::sql::{Row, Sql};

/// Groups one answer has at most; the ones with most calls are kept.
pub const GROUPS_MAX: u32 = 1_000;

/// Which hours, and of whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    /// From the hour of this time on.
    pub from: Option<Timestamp>,
    /// Before the hour of this time.
    pub until: Option<Timestamp>,
    /// Of this agent only.
    pub agent_id: Option<AgentId>,
}

/// Sums over a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Calls, and refusals as often as they were counted.
    pub calls: u64,
    /// Sum of their scores (0–100 each).
    pub risk_sum: u64,
    /// Calls by severity of their score.
    pub risk_low: u64,
    /// Score 30–59.
    pub risk_medium: u64,
    /// Score 60–84.
    pub risk_high: u64,
    /// Score 85 and above.
    pub risk_critical: u64,
    /// What they cost.
    pub cost_micro_usd: u64,
    /// Whose outcome is still to come.
    pub pending: u64,
    /// Whose tool answered.
    pub executed: u64,
    /// Whose tool was never called.
    pub not_executed: u64,
    /// Whose tool failed.
    pub failed: u64,
    /// Of which nobody knows whether the tool acted.
    pub unknown: u64,
}

const SUMS: &str = "CAST(COALESCE(SUM(calls), 0) AS BIGINT) AS calls, \
     CAST(COALESCE(SUM(risk_sum), 0) AS BIGINT) AS risk_sum, \
     CAST(COALESCE(SUM(risk_low), 0) AS BIGINT) AS risk_low, \
     CAST(COALESCE(SUM(risk_medium), 0) AS BIGINT) AS risk_medium, \
     CAST(COALESCE(SUM(risk_high), 0) AS BIGINT) AS risk_high, \
     CAST(COALESCE(SUM(risk_critical), 0) AS BIGINT) AS risk_critical, \
     CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) AS cost_micro_usd, \
     CAST(COALESCE(SUM(pending), 0) AS BIGINT) AS pending, \
     CAST(COALESCE(SUM(executed), 0) AS BIGINT) AS executed, \
     CAST(COALESCE(SUM(not_executed), 0) AS BIGINT) AS not_executed, \
     CAST(COALESCE(SUM(failed), 0) AS BIGINT) AS failed, \
     CAST(COALESCE(SUM(unknown), 0) AS BIGINT) AS unknown";

/// Sums over the whole window.
pub async fn total(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Sums, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(SUMS);
    narrow(&mut sql, tenant, window);
    sums(&db.fetch_one(sql).await?)
}

/// Sums by verdict.
pub async fn by_decision(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Vec<(Decision, Sums)>, StoreError> {
    let rows = grouped(db, tenant, window, "decision").await?;
    rows.iter().map(|row| Ok((row.word("decision", Decision::parse)?, sums(row)?))).collect()
}

/// Sums by agent, most calls first.
pub async fn by_agent(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Vec<(AgentId, Sums)>, StoreError> {
    let rows = grouped(db, tenant, window, "agent_id").await?;
    rows.iter().map(|row| Ok((row.get("agent_id")?, sums(row)?))).collect()
}

/// Sums by tool, most calls first.
pub async fn by_tool(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Vec<(String, Sums)>, StoreError> {
    let rows = grouped(db, tenant, window, "tool").await?;
    rows.iter().map(|row| Ok((row.get("tool")?, sums(row)?))).collect()
}

/// Sums by hour (its first instant), oldest first; hours without calls are absent.
pub async fn by_hour(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Vec<(Timestamp, Sums)>, StoreError> {
    let mut sql = Sql::new("SELECT hour, ");
    sql.push(SUMS);
    narrow(&mut sql, tenant, window);
    sql.push(" GROUP BY hour ORDER BY hour DESC LIMIT ").push_bind(GROUPS_MAX);
    let rows = db.fetch_all(sql).await?;
    rows.iter().rev().map(|row| Ok((row.get("hour")?, sums(row)?))).collect()
}

/// How many agents called anything.
pub async fn agent_count(db: &mut Conn, tenant: TenantId, window: Window) -> Result<u64, StoreError> {
    let mut sql = Sql::new("SELECT COUNT(DISTINCT agent_id) AS n");
    narrow(&mut sql, tenant, window);
    db.fetch_one(sql).await?.get("n")
}

/// How many agents made a call of high or critical risk.
pub async fn risky_agent_count(db: &mut Conn, tenant: TenantId, window: Window) -> Result<u64, StoreError> {
    let mut sql = Sql::new("SELECT COUNT(DISTINCT agent_id) AS n");
    narrow(&mut sql, tenant, window);
    sql.push(" AND risk_high + risk_critical > 0");
    db.fetch_one(sql).await?.get("n")
}

async fn grouped(db: &mut Conn, tenant: TenantId, window: Window, by: &'static str) -> Result<Vec<Row>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(by).push(", ").push(SUMS);
    narrow(&mut sql, tenant, window);
    sql.push(" GROUP BY ").push(by).push(" ORDER BY SUM(calls) DESC, ").push(by).push(" LIMIT ");
    sql.push_bind(GROUPS_MAX);
    db.fetch_all(sql).await
}

pub(crate) fn narrow(sql: &mut Sql, tenant: TenantId, window: Window) {
    sql.push(" FROM rollup_hourly WHERE tenant_id = ").push_bind(tenant);
    if let Some(from) = window.from {
        sql.push(" AND hour >= ").push_bind(hour_of(from));
    }
    if let Some(until) = window.until {
        sql.push(" AND hour < ").push_bind(hour_of(until));
    }
    if let Some(agent) = window.agent_id {
        sql.push(" AND agent_id = ").push_bind(agent);
    }
}

fn sums(row: &Row) -> Result<Sums, StoreError> {
    Ok(Sums {
        calls: row.get("calls")?,
        risk_sum: row.get("risk_sum")?,
        risk_low: row.get("risk_low")?,
        risk_medium: row.get("risk_medium")?,
        risk_high: row.get("risk_high")?,
        risk_critical: row.get("risk_critical")?,
        cost_micro_usd: row.get("cost_micro_usd")?,
        pending: row.get("pending")?,
        executed: row.get("executed")?,
        not_executed: row.get("not_executed")?,
        failed: row.get("failed")?,
        unknown: row.get("unknown")?,
    })
}
