//! The registry: tools that sidecars announce, that are granted, and that were called.

use std::collections::BTreeMap;

use aegis_core::id::TenantId;
use aegis_core::pattern::ToolPattern;
use aegis_core::sidecar::ToolAnnouncement;
use aegis_core::time::{MICROS_PER_DAY, Timestamp};

use crate::conn::Conn;
use crate::error::StoreError;
use crate::source::{self, SourceStatus};
use crate::sql::Sql;

/// Days that calls of a tool are counted over.
pub const WINDOW_DAYS: i64 = 30;
/// Tools of one kind the registry tells at most.
pub const LISTED_MAX: u32 = 5_000;

/// A tool that was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTool {
    /// Its name as it was called.
    pub tool: String,
    /// Calls of the last [`WINDOW_DAYS`] days.
    pub calls: u64,
    /// Those that were denied: KILL, and escalations that were not approved.
    pub denied: u64,
    /// Its last call of all time, by the sidecar's clock.
    pub last_used_at: Option<Timestamp>,
}

/// What the tenant's active sidecars announce, by tool; where several announce the same, the one enrolled last counts.
pub async fn announced(db: &mut Conn, tenant: TenantId) -> Result<Vec<ToolAnnouncement>, StoreError> {
    let mut tools = BTreeMap::new();
    for source in source::list(db, tenant).await? {
        match source.status {
            SourceStatus::Active => tools.extend(source.tools.into_iter().map(|tool| (tool.tool.clone(), tool))),
            SourceStatus::Revoked => {}
        }
    }
    Ok(tools.into_values().collect())
}

/// The tools that grants in force name, allowed or denied.
pub async fn granted(db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<Vec<ToolPattern>, StoreError> {
    let sql = Sql::new(
        "SELECT DISTINCT g.tool FROM grants g \
         JOIN agents a ON a.tenant_id = g.tenant_id AND a.agent_id = g.agent_id AND a.deleted_at IS NULL \
         WHERE g.tenant_id = $1 AND (g.expires_at IS NULL OR g.expires_at > $2) ORDER BY g.tool LIMIT $3",
    );
    let rows = db.fetch_all(sql.bind(tenant).bind(now).bind(LISTED_MAX)).await?;
    rows.iter().map(|row| ToolPattern::parse(&row.get::<String>("tool")?).map_err(StoreError::corrupt)).collect()
}

/// The tools that were called in the last [`WINDOW_DAYS`] days, by name.
pub async fn seen(db: &mut Conn, tenant: TenantId, now: Timestamp) -> Result<Vec<SeenTool>, StoreError> {
    let since = now.as_micros() - WINDOW_DAYS * MICROS_PER_DAY;
    let sql = Sql::new(
        "SELECT r.tool, r.calls, r.denied, (SELECT a.ts FROM audit_rows a WHERE a.tenant_id = $1 AND a.tool = r.tool \
         AND a.kind = 'decision' ORDER BY a.idx DESC LIMIT 1) AS last_used_at FROM (SELECT tool, \
         CAST(SUM(calls) AS BIGINT) AS calls, CAST(SUM(CASE WHEN decision = 'KILL' THEN calls \
         WHEN decision = 'ESCALATE' THEN not_executed ELSE 0 END) AS BIGINT) AS denied FROM rollup_hourly \
         WHERE tenant_id = $1 AND hour >= $2 GROUP BY tool ORDER BY tool LIMIT $3) r ORDER BY r.tool",
    );
    let rows = db.fetch_all(sql.bind(tenant).bind(since).bind(LISTED_MAX)).await?;
    rows.iter()
        .map(|row| {
            Ok(SeenTool {
                tool: row.get("tool")?,
                calls: row.get("calls")?,
                denied: row.get("denied")?,
                last_used_at: row.maybe("last_used_at")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
