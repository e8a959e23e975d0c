//! Calls by verdict, summed by day, hour, agent or tool from the hourly rollups: the one reader behind every series
//! and ranking. It costs by window and cardinality, never by rows.
//!
//! "Denied" is one set everywhere: KILL, and ESCALATE that was not approved. THROTTLE and refusals of gates are
//! classes of their own.

use std::collections::BTreeMap;

use aegis_core::id::{AgentId, TenantId};
use aegis_core::time::{MICROS_PER_DAY, MICROS_PER_HOUR, Timestamp};

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};
use crate::usage::{Window, narrow};

/// Groups one answer has at most; the first of its order are kept.
pub const TALLIES_MAX: u32 = 50_000;
/// Hours of a day.
pub const DAY_HOURS: usize = 24;
/// Hours of a week.
pub const WEEK_HOURS: usize = 7 * DAY_HOURS;

/// Calls of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of every kind, refusals as often as they were counted.
    pub calls: u64,
    /// ALLOW.
    pub allowed: u64,
    /// MONITOR.
    pub monitored: u64,
    /// THROTTLE.
    pub throttled: u64,
    /// ESCALATE, approved or not.
    pub escalated: u64,
    /// ESCALATE that was not approved.
    pub unapproved: u64,
    /// KILL.
    pub killed: u64,
    /// Refused by a gate.
    pub refused: u64,
    /// Sum of the calls' scores (0–100 each).
    pub risk_sum: u64,
    /// What they cost.
    pub cost_micro_usd: u64,
    /// Agents that called.
    pub agents: u64,
    /// Tools that were called.
    pub tools: u64,
}

impl Tally {
    /// KILL, and ESCALATE that was not approved.
    pub const fn denied(&self) -> u64 {
        self.killed + self.unapproved
    }

    /// ALLOW, MONITOR, and ESCALATE that was approved.
    pub const fn went_on(&self) -> u64 {
        self.allowed + self.monitored + self.escalated.saturating_sub(self.unapproved)
    }

    /// KILL and ESCALATE, approved or not: calls that were held to be a threat.
    pub const fn threats(&self) -> u64 {
        self.killed + self.escalated
    }
}

/// What a series is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// UTC day; the key is its first instant, in microseconds.
    Day,
    /// UTC hour; the key is its first instant, in microseconds.
    Hour,
    /// Hour of the UTC day, 0–23.
    HourOfDay,
    /// Hour of the UTC week, 0–167; Monday 00:00 is 0.
    HourOfWeek,
}

impl Grain {
    /// 1970-01-01 was a Thursday: three days after Monday.
    const fn key(self) -> &'static str {
        match self {
            Self::Day => "hour / 86400000000 * 86400000000",
            Self::Hour => "hour",
            Self::HourOfDay => "hour / 3600000000 % 24",
            Self::HourOfWeek => "(hour / 3600000000 + 72) % 168",
        }
    }
}

/// What a ranking puts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Most calls.
    Calls,
    /// Most denied calls, then most calls.
    Denied,
    /// Most KILL and ESCALATE verdicts, then the highest mean risk.
    Threats,
    /// Highest mean risk, then most calls.
    Risk,
}

impl Order {
    const fn sql(self) -> &'static str {
        match self {
            Self::Calls => "calls DESC",
            Self::Denied => "killed + unapproved DESC, calls DESC",
            Self::Threats => "killed + escalated DESC, risk_sum * 1000 / calls DESC",
            Self::Risk => "risk_sum * 1000 / calls DESC, calls DESC",
        }
    }
}

const SUMS: &str = "CAST(COALESCE(SUM(calls), 0) AS BIGINT) AS calls, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'ALLOW' THEN calls ELSE 0 END), 0) AS BIGINT) AS allowed, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'MONITOR' THEN calls ELSE 0 END), 0) AS BIGINT) AS monitored, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'THROTTLE' THEN calls ELSE 0 END), 0) AS BIGINT) AS throttled, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'ESCALATE' THEN calls ELSE 0 END), 0) AS BIGINT) AS escalated, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'ESCALATE' THEN not_executed ELSE 0 END), 0) AS BIGINT) AS unapproved, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'KILL' THEN calls ELSE 0 END), 0) AS BIGINT) AS killed, \
     CAST(COALESCE(SUM(CASE WHEN decision = 'REFUSED' THEN calls ELSE 0 END), 0) AS BIGINT) AS refused, \
     CAST(COALESCE(SUM(risk_sum), 0) AS BIGINT) AS risk_sum, \
     CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) AS cost_micro_usd, \
     COUNT(DISTINCT agent_id) AS agents, COUNT(DISTINCT tool) AS tools";

/// The last `days` UTC days until `now`, today included.
pub fn days_until(now: Timestamp, days: u32, agent_id: Option<AgentId>) -> Window {
    Window { from: Some(day_start(now, i64::from(days) - 1)), until: None, agent_id }
}

/// The first instant of the UTC day that lies so many days before the one of `now`.
pub fn day_start(now: Timestamp, days_before: i64) -> Timestamp {
    Timestamp::from_micros((now.day() - days_before) * MICROS_PER_DAY)
}

/// The first instants of the last `days` UTC days until `now`, oldest first, today last.
pub fn days_of(now: Timestamp, days: u32) -> impl Iterator<Item = Timestamp> {
    (0..i64::from(days)).rev().map(move |before| day_start(now, before))
}

/// The first instant of the UTC hour that `now` lies in.
pub const fn hour_start(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.as_micros().div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR)
}

/// Everything in the window.
pub async fn total(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Tally, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(SUMS);
    narrow(&mut sql, tenant, window);
    tally(&db.fetch_one(sql).await?)
}

/// By time; keys without calls are absent.
pub async fn by_time(
    db: &mut Conn,
    tenant: TenantId,
    window: Window,
    grain: Grain,
) -> Result<BTreeMap<i64, Tally>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(grain.key()).push(" AS slot, ").push(SUMS);
    narrow(&mut sql, tenant, window);
    sql.push(" GROUP BY 1 ORDER BY 1 DESC LIMIT ").push_bind(TALLIES_MAX);
    db.fetch_all(sql).await?.iter().map(|row| Ok((row.get("slot")?, tally(row)?))).collect()
}

/// The agents that come first in this order.
pub async fn by_agent(
    db: &mut Conn,
    tenant: TenantId,
    window: Window,
    order: Order,
    limit: u32,
) -> Result<Vec<(AgentId, Tally)>, StoreError> {
    let rows = ranked(db, tenant, window, "agent_id", order, limit).await?;
    rows.iter().map(|row| Ok((row.get("agent_id")?, tally(row)?))).collect()
}

/// The tools that come first in this order.
pub async fn by_tool(
    db: &mut Conn,
    tenant: TenantId,
    window: Window,
    order: Order,
    limit: u32,
) -> Result<Vec<(String, Tally)>, StoreError> {
    let rows = ranked(db, tenant, window, "tool", order, limit).await?;
    rows.iter().map(|row| Ok((row.get("tool")?, tally(row)?))).collect()
}

async fn ranked(
    db: &mut Conn,
    tenant: TenantId,
    window: Window,
    by: &'static str,
    order: Order,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    // Sorted outside, where the sums have names.
    let mut sql = Sql::new("SELECT * FROM (SELECT ");
    sql.push(by).push(", ").push(SUMS);
    narrow(&mut sql, tenant, window);
    sql.push(" GROUP BY ").push(by).push(") g WHERE calls > 0 ORDER BY ").push(order.sql()).push(", ").push(by);
    sql.push(" LIMIT ").push_bind(limit.min(TALLIES_MAX));
    db.fetch_all(sql).await
}

fn tally(row: &Row) -> Result<Tally, StoreError> {
    Ok(Tally {
        calls: row.get("calls")?,
        allowed: row.get("allowed")?,
        monitored: row.get("monitored")?,
        throttled: row.get("throttled")?,
        escalated: row.get("escalated")?,
        unapproved: row.get("unapproved")?,
        killed: row.get("killed")?,
        refused: row.get("refused")?,
        risk_sum: row.get("risk_sum")?,
        cost_micro_usd: row.get("cost_micro_usd")?,
        agents: row.get("agents")?,
        tools: row.get("tools")?,
    })
}

#[cfg(test)]
mod tests;
