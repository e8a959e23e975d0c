//! What statements about the unusual are computed from: an agent's hours, what it did for the first time, and the
//! rows behind.

use aegis_core::id::{AgentId, AuditId, TenantId};
use aegis_core::time::{MICROS_PER_HOUR, Timestamp};

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;

/// Hours of agents one answer has at most: a week of three hundred busy agents.
pub const HOURS_MAX: u32 = 50_000;
/// Firsts one answer has at most, the newest.
pub const FIRSTS_MAX: u32 = 200;

/// One hour of one agent with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentHour {
    /// The agent.
    pub agent: AgentId,
    /// The hour's first instant.
    pub hour: Timestamp,
    /// Calls of every kind.
    pub calls: u64,
    /// What they cost.
    pub cost_micro_usd: u64,
}

/// An agent with one of its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The agent.
    pub agent: AgentId,
    /// The tool.
    pub tool: String,
    /// The hour of the agent's first call of any tool.
    pub agent_since: Timestamp,
    /// The hour of its first call of this one.
    pub first_call: Timestamp,
    /// The hour in which a call of this one was first denied.
    pub first_denial: Option<Timestamp>,
    /// Its calls of this one.
    pub calls: u64,
    /// Those that were denied.
    pub denied: u64,
}

/// Which rows.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Of this agent.
    pub agent: AgentId,
    /// In the hour that begins here.
    pub hour: Timestamp,
    /// Of this tool only.
    pub tool: Option<&'a str>,
    /// Denied ones only.
    pub denied: bool,
}

/// Every hour with calls from `since` on, by agent and time.
pub async fn agent_hours(
    db: &mut Conn,
    tenant: TenantId,
    agent: Option<AgentId>,
    since: Timestamp,
) -> Result<Vec<AgentHour>, StoreError> {
    let mut sql = Sql::new(
        "SELECT agent_id, hour, CAST(SUM(calls) AS BIGINT) AS calls, \
         CAST(SUM(cost_micro_usd) AS BIGINT) AS cost_micro_usd FROM rollup_hourly WHERE tenant_id = ",
    );
    sql.push_bind(tenant).push(" AND hour >= ").push_bind(since);
    if let Some(agent) = agent {
        sql.push(" AND agent_id = ").push_bind(agent);
    }
    sql.push(" GROUP BY agent_id, hour ORDER BY agent_id, hour LIMIT ").push_bind(HOURS_MAX);
    let rows = db.fetch_all(sql).await?;
    rows.iter()
        .map(|row| {
            Ok(AgentHour {
                agent: row.get("agent_id")?,
                hour: row.get("hour")?,
                calls: row.get("calls")?,
                cost_micro_usd: row.get("cost_micro_usd")?,
            })
        })
        .collect()
}

/// Pairs of agent and tool that called, or were denied, for the first time from `since` on.
pub async fn firsts(
    db: &mut Conn,
    tenant: TenantId,
    agent: Option<AgentId>,
    since: Timestamp,
) -> Result<Vec<Pair>, StoreError> {
    let mut sql = Sql::new(
        "SELECT p.agent_id, p.tool, p.first_call, p.first_denial, p.calls, p.denied, s.agent_since FROM ( \
         SELECT agent_id, tool, MIN(hour) AS first_call, CAST(SUM(calls) AS BIGINT) AS calls, \
         MIN(CASE WHEN decision = 'KILL' OR (decision = 'ESCALATE' AND not_executed > 0) THEN hour END) AS first_denial, \
         CAST(SUM(CASE WHEN decision = 'KILL' THEN calls WHEN decision = 'ESCALATE' THEN not_executed ELSE 0 END) \
         AS BIGINT) AS denied FROM rollup_hourly WHERE tenant_id = ",
    );
    sql.push_bind(tenant).push(
        " GROUP BY agent_id, tool) p JOIN (SELECT agent_id, MIN(hour) AS agent_since FROM rollup_hourly WHERE tenant_id = ",
    );
    sql.push_bind(tenant).push(" GROUP BY agent_id) s ON s.agent_id = p.agent_id WHERE (p.first_call >= ");
    sql.push_bind(since).push(" OR p.first_denial >= ").push_bind(since).push(")");
    if let Some(agent) = agent {
        sql.push(" AND p.agent_id = ").push_bind(agent);
    }
    sql.push(" ORDER BY p.first_call DESC, p.agent_id, p.tool LIMIT ").push_bind(FIRSTS_MAX);
    let rows = db.fetch_all(sql).await?;
    rows.iter()
        .map(|row| {
            Ok(Pair {
                agent: row.get("agent_id")?,
                tool: row.get("tool")?,
                agent_since: row.get("agent_since")?,
                first_call: row.get("first_call")?,
                first_denial: row.maybe("first_denial")?,
                calls: row.get("calls")?,
                denied: row.get("denied")?,
            })
        })
        .collect()
}

/// The first of the rows, with when each was.
pub async fn rows(
    db: &mut Conn,
    tenant: TenantId,
    sample: Sample<'_>,
    limit: u32,
) -> Result<Vec<(AuditId, Timestamp)>, StoreError> {
    let mut sql = Sql::new("SELECT audit_id, ts FROM audit_rows WHERE kind = 'decision' AND tenant_id = ");
    let end = Timestamp::from_micros(sample.hour.as_micros() + MICROS_PER_HOUR);
    sql.push_bind(tenant).push(" AND agent_id = ").push_bind(sample.agent);
    sql.push(" AND ts >= ").push_bind(sample.hour).push(" AND ts < ").push_bind(end);
    if let Some(tool) = sample.tool {
        sql.push(" AND tool = ").push_bind(tool);
    }
    if sample.denied {
        sql.push(" AND (decision = 'KILL' OR (decision = 'ESCALATE' AND outcome = 'not_executed'))");
    }
    sql.push(" ORDER BY idx LIMIT ").push_bind(limit);
    let rows = db.fetch_all(sql).await?;
    rows.iter().map(|row| Ok((row.get("audit_id")?, row.get("ts")?))).collect()
}
