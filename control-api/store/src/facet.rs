//! What calls were about: counts per finding, denying rule and score, from the facet rollups.

use aegis_core::decision::Decision;
use aegis_core::id::TenantId;
use aegis_core::time::{MICROS_PER_DAY, Timestamp};
use aegis_core::words;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;
use crate::usage::Window;

/// Values one answer has at most.
pub const VALUES_MAX: u32 = 10_000;

words! {
    /// What is counted.
    pub enum Facet {
        /// Calls with a finding; the value is its id. Per day.
        Finding = "finding",
        /// Denied calls by the rule that denied; the value is its id. Per day.
        DenyReason = "deny_reason",
        /// Calls by score; the value is 0 to 100. Per day.
        Risk = "risk",
        /// Calls judged beside by a shadow version; the value is `name@version old>new`. Per hour.
        Shadow = "shadow",
    }
}

/// The value of a denied call for which no rule spoke: its score alone denied it.
pub const NO_RULE: &str = "score";

/// The values with most calls, and how many calls all values have together.
pub async fn ranked(
    db: &mut Conn,
    tenant: TenantId,
    facet: Facet,
    window: Window,
    limit: u32,
) -> Result<(Vec<(String, u64)>, u64), StoreError> {
    let mut sql = Sql::new("SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) AS calls");
    narrow(&mut sql, tenant, facet, window);
    let total = db.fetch_one(sql).await?.get("calls")?;
    let mut sql = Sql::new("SELECT value, CAST(SUM(calls) AS BIGINT) AS calls");
    narrow(&mut sql, tenant, facet, window);
    sql.push(" GROUP BY value ORDER BY 2 DESC, 1 LIMIT ").push_bind(limit.min(VALUES_MAX));
    let rows = db.fetch_all(sql).await?;
    let values =
        rows.iter().map(|row| Ok((row.get("value")?, row.get("calls")?))).collect::<Result<_, StoreError>>()?;
    Ok((values, total))
}

/// Calls by score, 0 to 100.
pub async fn scores(db: &mut Conn, tenant: TenantId, window: Window) -> Result<Vec<(u8, u64)>, StoreError> {
    let (values, _) = ranked(db, tenant, Facet::Risk, window, VALUES_MAX).await?;
    let mut scores =
        values.into_iter().map(|(value, calls)| Ok((score(&value)?, calls))).collect::<Result<Vec<_>, StoreError>>()?;
    scores.sort_unstable();
    Ok(scores)
}

/// Calls by day (its first instant) and score, both rising.
pub async fn daily_scores(
    db: &mut Conn,
    tenant: TenantId,
    window: Window,
) -> Result<Vec<(Timestamp, u8, u64)>, StoreError> {
    let mut sql = Sql::new("SELECT bucket, value, CAST(SUM(calls) AS BIGINT) AS calls");
    narrow(&mut sql, tenant, Facet::Risk, window);
    sql.push(" GROUP BY bucket, value LIMIT ").push_bind(VALUES_MAX);
    let rows = db.fetch_all(sql).await?;
    let mut scores = rows
        .iter()
        .map(|row| Ok((row.get("bucket")?, score(&row.get::<String>("value")?)?, row.get("calls")?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    scores.sort_unstable();
    Ok(scores)
}

/// Calls that a shadow version was judged beside, by what was decided and what it would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowCount {
    /// The shadow version.
    pub version: u32,
    /// What was decided.
    pub old: Decision,
    /// What it would have been.
    pub new: Decision,
    /// How often.
    pub calls: u64,
}

/// What the shadow versions of a policy would have decided.
pub async fn shadow_counts(
    db: &mut Conn,
    tenant: TenantId,
    name: &str,
    window: Window,
) -> Result<Vec<ShadowCount>, StoreError> {
    let prefix = format!("{name}@");
    let mut sql = Sql::new("SELECT value, CAST(SUM(calls) AS BIGINT) AS calls");
    narrow(&mut sql, tenant, Facet::Shadow, window);
    // Not LIKE: a name may have underscores.
    sql.push(" AND substr(value, 1, CAST(").push_bind(prefix.len() as u64);
    sql.push(" AS INTEGER)) = ").push_bind(prefix.as_str());
    sql.push(" GROUP BY value ORDER BY value LIMIT ").push_bind(VALUES_MAX);
    let rows = db.fetch_all(sql).await?;
    rows.iter()
        .map(|row| {
            let value: String = row.get("value")?;
            let unknown = || StoreError::corrupt(format!("a shadow count over {value}"));
            let (version, verdicts) = value.get(prefix.len()..).and_then(|v| v.split_once(' ')).ok_or_else(unknown)?;
            let (old, new) = verdicts.split_once('>').ok_or_else(unknown)?;
            Ok(ShadowCount {
                version: version.parse().map_err(StoreError::corrupt)?,
                old: Decision::parse(old).ok_or_else(unknown)?,
                new: Decision::parse(new).ok_or_else(unknown)?,
                calls: row.get("calls")?,
            })
        })
        .collect()
}

fn score(value: &str) -> Result<u8, StoreError> {
    value.parse().map_err(StoreError::corrupt)
}

/// The first instant of the day an instant lies in.
pub(crate) const fn day_of(ts: Timestamp) -> i64 {
    ts.as_micros().div_euclid(MICROS_PER_DAY) * MICROS_PER_DAY
}

fn narrow(sql: &mut Sql, tenant: TenantId, facet: Facet, window: Window) {
    sql.push(" FROM rollup_facets WHERE tenant_id = ")
        .push_bind(tenant)
        .push(" AND facet = ")
        .push_bind(facet.as_str());
    let Window { from, until, agent_id } = window;
    if let Some(from) = from {
        sql.push(" AND bucket >= ").push_bind(from);
    }
    if let Some(until) = until {
        sql.push(" AND bucket < ").push_bind(until);
    }
    if let Some(agent) = agent_id {
        sql.push(" AND agent_id = ").push_bind(agent);
    }
}

#[cfg(test)]
mod tests;
