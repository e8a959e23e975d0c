//! What an agent did in the last seven days, from the hourly sums.

use aegis_core::decision::Decision;
use aegis_core::id::{AgentId, TenantId};
use aegis_core::time::{MICROS_PER_DAY, Timestamp};

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Row, Sql};

/// Days of an agent's activity, today included.
pub const DAYS: usize = 7;
/// Tools an agent's activity names at most.
pub const TOP_TOOLS_MAX: u32 = 5;

/// Sums of one UTC day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DaySums {
    /// Calls of every kind.
    pub calls: u64,
    /// Calls that went on: ALLOW, MONITOR, and escalations that were approved.
    pub allowed: u64,
    /// Calls that were denied: KILL, and escalations that were not approved.
    pub denied: u64,
    /// Calls that were slowed down.
    pub throttled: u64,
    /// Calls that a gate refused.
    pub refused: u64,
    /// Sum of the calls' 0–100 risk scores.
    pub risk_sum: u64,
}

impl DaySums {
    /// The sums of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            allowed: self.allowed + other.allowed,
            denied: self.denied + other.denied,
            throttled: self.throttled + other.throttled,
            refused: self.refused + other.refused,
            risk_sum: self.risk_sum + other.risk_sum,
        }
    }
}

/// What an agent did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentActivity {
    /// UTC days, oldest first; the last is today.
    pub days: [DaySums; DAYS],
    /// The tools it called most, with how often.
    pub top_tools: Vec<(String, u64)>,
    /// Its last call of all time, by its sidecar's clock.
    pub last_active: Option<Timestamp>,
}

/// What the agent did until `now`.
pub async fn of_agent(
    db: &mut Conn,
    tenant: TenantId,
    agent: AgentId,
    now: Timestamp,
) -> Result<AgentActivity, StoreError> {
    let since = (now.day() - 6) * MICROS_PER_DAY;
    let sql = Sql::new(
        "SELECT hour, decision, CAST(SUM(calls) AS BIGINT) AS calls, CAST(SUM(risk_sum) AS BIGINT) AS risk_sum, \
         CAST(SUM(not_executed) AS BIGINT) AS not_executed FROM rollup_hourly \
         WHERE tenant_id = $1 AND agent_id = $2 AND hour >= $3 GROUP BY hour, decision",
    );
    let mut days = [DaySums::default(); DAYS];
    for row in db.fetch_all(sql.bind(tenant).bind(agent).bind(since)).await? {
        let hour: i64 = row.get("hour")?;
        // Hours that a sidecar's clock puts into the future count as today.
        let day = usize::try_from((hour - since).div_euclid(MICROS_PER_DAY)).unwrap_or(0).min(DAYS - 1);
        if let Some(sums) = days.get_mut(day) {
            *sums = sums.plus(sums_of(&row)?);
        }
    }
    let sql = Sql::new(
        "SELECT tool, CAST(SUM(calls) AS BIGINT) AS calls FROM rollup_hourly \
         WHERE tenant_id = $1 AND agent_id = $2 AND hour >= $3 GROUP BY tool ORDER BY calls DESC, tool LIMIT $4",
    );
    let rows = db.fetch_all(sql.bind(tenant).bind(agent).bind(since).bind(TOP_TOOLS_MAX)).await?;
    let top_tools =
        rows.iter().map(|row| Ok((row.get("tool")?, row.get("calls")?))).collect::<Result<_, StoreError>>()?;
    let sql = Sql::new(
        "SELECT ts FROM audit_rows WHERE tenant_id = $1 AND agent_id = $2 AND kind = 'decision' ORDER BY idx DESC LIMIT 1",
    );
    let last = db.fetch_optional(sql.bind(tenant).bind(agent)).await?;
    Ok(AgentActivity { days, top_tools, last_active: last.map(|row| row.get("ts")).transpose()? })
}

/// When an agent was first and last seen calling, by its sidecar's clock.
pub async fn seen(
    db: &mut Conn,
    tenant: TenantId,
    agent: AgentId,
) -> Result<(Option<Timestamp>, Option<Timestamp>), StoreError> {
    let mut ends = [None, None];
    for (end, order) in ends.iter_mut().zip([" ORDER BY idx LIMIT 1", " ORDER BY idx DESC LIMIT 1"]) {
        let mut sql = Sql::new("SELECT ts FROM audit_rows WHERE kind = 'decision' AND tenant_id = ");
        sql.push_bind(tenant).push(" AND agent_id = ").push_bind(agent).push(order);
        *end = db.fetch_optional(sql).await?.map(|row| row.get("ts")).transpose()?;
    }
    let [first, last] = ends;
    Ok((first, last))
}

fn sums_of(row: &Row) -> Result<DaySums, StoreError> {
    let calls: u64 = row.get("calls")?;
    let unapproved = row.get::<u64>("not_executed")?.min(calls);
    let sums = DaySums { calls, risk_sum: row.get("risk_sum")?, ..DaySums::default() };
    Ok(match row.word("decision", Decision::parse)? {
        Decision::Allow | Decision::Monitor => DaySums { allowed: calls, ..sums },
        Decision::Escalate => DaySums { allowed: calls - unapproved, denied: unapproved, ..sums },
        Decision::Kill => DaySums { denied: calls, ..sums },
        Decision::Throttle => DaySums { throttled: calls, ..sums },
        Decision::Refused => DaySums { refused: calls, ..sums },
    })
}
