//! The registry: tools that sidecars announce, that are granted, and that were called.

use aegis_core::id::{SourceId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolPattern;
use aegis_core::sidecar::{AuditMode, Effect, TOOLS_MAX, ToolAnnouncement};
use aegis_core::time::{MICROS_PER_DAY, Timestamp};

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{PLACEHOLDERS_MAX, Sql, Value};

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

/// Replaces what a sidecar announces.
///
/// # Errors
/// [`StoreError::Invalid`] `too_many` above [`TOOLS_MAX`].
pub async fn announce(
    db: &mut Conn,
    source: SourceId,
    tools: &[ToolAnnouncement],
    now: Timestamp,
) -> Result<(), StoreError> {
    const COLUMNS: usize = 6;
    if tools.len() > TOOLS_MAX {
        return Err(StoreError::Invalid { what: "tools", reason: "too_many" });
    }
    db.execute(Sql::new("DELETE FROM source_tools WHERE source_id = $1").bind(source)).await?;
    let rows: Vec<Vec<Value>> = tools.iter().map(|tool| values(source, tool, now)).collect();
    for chunk in rows.chunks(PLACEHOLDERS_MAX / COLUMNS) {
        let mut sql = Sql::new(
            "INSERT INTO source_tools (source_id, tool, effect, cost_micro_usd, audit_mode, announced_at) VALUES ",
        );
        // The same pattern twice is one tool; the first stands, as in the sidecar's routing.
        sql.push_rows(chunk.iter().cloned()).push(" ON CONFLICT (source_id, tool) DO NOTHING");
        db.execute(sql).await?;
    }
    Ok(())
}

fn values(source: SourceId, tool: &ToolAnnouncement, now: Timestamp) -> Vec<Value> {
    vec![
        source.into(),
        tool.tool.to_string().into(),
        tool.effect.as_str().into(),
        tool.cost_micro_usd.into(),
        tool.audit_mode.as_str().into(),
        now.into(),
    ]
}

/// What the tenant's sidecars announce, by tool; where several announce the same, the latest word counts.
pub async fn announced(db: &mut Conn, tenant: TenantId) -> Result<Vec<ToolAnnouncement>, StoreError> {
    let sql = Sql::new(
        "SELECT t.tool, t.effect, t.cost_micro_usd, t.audit_mode FROM source_tools t \
         JOIN source_tenants st ON st.source_id = t.source_id \
         JOIN sources s ON s.source_id = t.source_id AND s.status = 'active' \
         WHERE st.tenant_id = $1 ORDER BY t.tool, t.announced_at DESC, t.source_id LIMIT $2",
    );
    let mut tools: Vec<ToolAnnouncement> = Vec::new();
    for row in db.fetch_all(sql.bind(tenant).bind(LISTED_MAX)).await? {
        let text: String = row.get("tool")?;
        let tool = ToolAnnouncement {
            tool: ToolPattern::parse(&text).map_err(StoreError::corrupt)?,
            effect: row.word("effect", Effect::parse)?,
            cost_micro_usd: row.get::<MicroUsd>("cost_micro_usd")?,
            audit_mode: row.word("audit_mode", AuditMode::parse)?,
        };
        if tools.last().is_none_or(|last| last.tool != tool.tool) {
            tools.push(tool);
        }
    }
    Ok(tools)
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
