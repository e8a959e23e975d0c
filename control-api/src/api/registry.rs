//! Tag `registry`: every tool that sidecars announce, that is granted, or that was called.

use aegis_core::pattern::{ToolName, ToolPattern};
use aegis_core::sidecar::{AuditMode, Effect, ToolAnnouncement};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::registry::{self, SeenTool};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Level;
use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::operation::{Operation, get, tagged};
use crate::state::App;
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(Tag::Registry, vec![get("/registry/tools", Level::Read, tools, "Known tools: announced, granted, seen")])
}

words! {
    /// How a tool is known, strongest first.
    pub(crate) enum ToolSource {
        /// A sidecar announces it.
        Route = "route",
        /// A permission names it.
        Grant = "grant",
        /// It was called.
        Seen = "seen",
    }
}

/// A known tool or tool pattern.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ToolView {
    /// A tool, `prefix.*`, or `*`.
    name: ToolPattern,
    source: ToolSource,
    /// The announced route that serves it; `null` if no sidecar of the tenant can reach it.
    route: Option<ToolPattern>,
    /// What the tool does to the world, as announced.
    effect: Option<Effect>,
    /// What one call costs, as announced.
    #[schema(examples("0.002000"))]
    cost_usd: Option<String>,
    /// How its rows are kept, as announced.
    audit_mode: Option<AuditMode>,
    /// Its last call of all time; for a pattern the last of any tool it covers that was called in 30 days.
    last_used_at: Option<Timestamp>,
    /// Calls of the last 30 days; for a pattern of every tool it covers.
    calls: u64,
    /// Share of them that was denied: KILL, and escalations that were not approved. `null` without calls.
    deny_rate: Option<f64>,
}

async fn tools(State(app): State<App>, caller: Caller) -> Result<Answer<Vec<ToolView>>, ApiError> {
    let (tenant, now) = (caller.tenant_id(), app.store.now());
    let mut tx = app.store.read(tenant).await?;
    let announced = registry::announced(&mut tx, tenant).await?;
    let granted = registry::granted(&mut tx, tenant, now).await?;
    let seen = registry::seen(&mut tx, tenant, now).await?;
    let views = join(&announced, granted, &seen);
    let total = views.len() as u64;
    Ok(Answer::ok(views).paged(total, None))
}

/// Each tool once, by name, with the strongest source that knows it.
fn join(announced: &[ToolAnnouncement], granted: Vec<ToolPattern>, seen: &[SeenTool]) -> Vec<ToolView> {
    let seen: Vec<(ToolName, &SeenTool)> =
        seen.iter().filter_map(|tool| ToolName::parse(&tool.tool).ok().map(|name| (name, tool))).collect();
    let mut known: Vec<(ToolPattern, ToolSource)> =
        announced.iter().map(|tool| (tool.tool.clone(), ToolSource::Route)).collect();
    known.extend(granted.into_iter().map(|tool| (tool, ToolSource::Grant)));
    known.extend(seen.iter().map(|(name, _)| (ToolPattern::Exact(name.clone()), ToolSource::Seen)));
    known.sort_by(|(a, by_a), (b, by_b)| a.to_string().cmp(&b.to_string()).then(by_a.cmp(by_b)));
    known.dedup_by(|(later, _), (first, _)| later == first);
    known.into_iter().map(|(name, source)| view(name, source, announced, &seen)).collect()
}

fn view(
    name: ToolPattern,
    source: ToolSource,
    announced: &[ToolAnnouncement],
    seen: &[(ToolName, &SeenTool)],
) -> ToolView {
    let route = serving(&name, announced);
    let covered = || seen.iter().filter(|(tool, _)| name.matches(tool)).map(|(_, sums)| *sums);
    let calls: u64 = covered().map(|tool| tool.calls).sum();
    let denied: u64 = covered().map(|tool| tool.denied).sum();
    #[expect(clippy::cast_precision_loss, reason = "shown to people, not decided on")]
    let deny_rate = (calls > 0).then(|| denied as f64 / calls as f64);
    ToolView {
        route: route.map(|tool| tool.tool.clone()),
        effect: route.map(|tool| tool.effect),
        cost_usd: route.map(|tool| tool.cost_micro_usd.to_string()),
        audit_mode: route.map(|tool| tool.audit_mode),
        last_used_at: covered().filter_map(|tool| tool.last_used_at).max(),
        name,
        source,
        calls,
        deny_rate,
    }
}

/// The most specific announced route that serves the tool, or all that the pattern covers.
fn serving<'a>(name: &ToolPattern, announced: &'a [ToolAnnouncement]) -> Option<&'a ToolAnnouncement> {
    let serves = |route: &ToolPattern| match name {
        ToolPattern::Exact(tool) => route.matches(tool),
        ToolPattern::Any | ToolPattern::Below(_) => route == name,
    };
    announced.iter().filter(|tool| serves(&tool.tool)).max_by_key(|tool| match &tool.tool {
        ToolPattern::Exact(_) => usize::MAX,
        ToolPattern::Below(prefix) => prefix.as_str().len(),
        ToolPattern::Any => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::money::MicroUsd;

    fn pattern(text: &str) -> ToolPattern {
        ToolPattern::parse(text).unwrap()
    }

    fn route(text: &str, cost: u64) -> ToolAnnouncement {
        ToolAnnouncement {
            tool: pattern(text),
            effect: Effect::Read,
            cost_micro_usd: MicroUsd::from_micros(cost),
            audit_mode: AuditMode::Bounded,
        }
    }

    fn called(tool: &str, calls: u64, denied: u64, at: i64) -> SeenTool {
        SeenTool { tool: tool.into(), calls, denied, last_used_at: Some(Timestamp::from_seconds(at)) }
    }

    #[test]
    fn each_tool_stands_once_with_its_strongest_source_and_nearest_route() {
        let views = join(
            &[route("db.*", 5), route("db.query", 7), route("mail.send", 0)],
            vec![pattern("db.query"), pattern("fs.*")],
            &[called("db.query", 8, 2, 10), called("db.dump", 2, 2, 20), called("fs.read", 1, 0, 5)],
        );
        let told: Vec<_> = views.iter().map(|v| (v.name.to_string(), v.source, v.calls, v.deny_rate)).collect();
        assert_eq!(
            told,
            [
                ("db.*".into(), ToolSource::Route, 10, Some(0.4)),
                ("db.dump".into(), ToolSource::Seen, 2, Some(1.0)),
                ("db.query".into(), ToolSource::Route, 8, Some(0.25)),
                ("fs.*".into(), ToolSource::Grant, 1, Some(0.0)),
                ("fs.read".into(), ToolSource::Seen, 1, Some(0.0)),
                ("mail.send".into(), ToolSource::Route, 0, None),
            ]
        );
        assert_eq!(views[0].last_used_at, Some(Timestamp::from_seconds(20)));
        assert_eq!(views[1].route, Some(pattern("db.*")));
        assert_eq!(views[2].cost_usd.as_deref(), Some("0.000007"));
        assert_eq!((&views[4].route, &views[5].last_used_at), (&None, &None));
    }
}
