//! Tag `events`: what happens in the tenant, as it happens.
//!
//! Events are the ledger's rows as they are committed, so they exist exactly when the thing they tell of does, on
//! every replica, and can be replayed: an event's id is its row's index. What is not in the ledger (a sidecar comes
//! or goes) is told live and has no id.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::decision::Outcome;
use aegis_core::id::{AgentId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_store::audit::{self, AuditRow, RowKind};
use aegis_store::ledger::Head;
use aegis_store::{ReadTx, StoreError};
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prometheus::IntGauge;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use crate::access::Level;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::extract::Query;
use crate::operation::{Operation, failure, get, tagged};
use crate::presence::Presence;
use crate::state::App;
use crate::tag::Tag;

/// Streams one process serves at most.
pub(crate) const STREAMS_MAX: usize = 2_000;
/// Events that wait for a slow client at most; a client that does not read for long is cut off.
const EVENTS_WAITING_MAX: usize = 64;
/// How long a client may take to accept an event.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle time after which a heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Rows that a client may have missed and gets again.
const REPLAY_MAX: u64 = 1_000;
/// Rows read at once.
const BATCH: u32 = 200;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    let stream = get("/events/stream", Level::Any, stream, "Tenant event stream (SSE)")
        .plain(
            "text/event-stream",
            "`connected`, `heartbeat` every 15 s of silence, and data frames `{type, data, ts}`",
        )
        .tenant_optional()
        .query_token()
        .fails(&[failure(403, "agent_mismatch", "an agent asks for another agent's events")]);
    tagged(Tag::Events, vec![stream])
}

/// What to hear.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Listen {
    /// The access token, for clients that cannot set headers.
    #[serde(rename = "token")]
    _token: Option<String>,
    /// The same by its other name.
    #[serde(rename = "access_token")]
    _access_token: Option<String>,
    /// Only this agent's events.
    #[param(value_type = Option<uuid::Uuid>)]
    agent_id: Option<AgentId>,
}

/// `GET /events/stream`.
async fn stream(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(listen): Query<Listen>,
) -> Result<Response, ApiError> {
    let agent_id = match (caller.only_agent(), listen.agent_id) {
        (Some(own), Some(asked)) if own != asked => return Err(ApiError::AgentMismatch),
        (Some(own), _) => Some(own),
        (None, asked) => asked,
    };
    let busy = |_| ApiError::Unavailable { cause: "too many event streams".into() };
    let permit = Arc::clone(&app.event_streams).try_acquire_owned().map_err(busy)?;
    let size = Head::read(&mut *app.store.read(caller.tenant_id()).await?, caller.tenant_id()).await?.size;
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    // Who missed more than we replay is told so by the gap between its last id and the next.
    let next = last.map_or(size, |last| last.saturating_add(1).clamp(size.saturating_sub(REPLAY_MAX), size));
    let (send, receive) = mpsc::channel(EVENTS_WAITING_MAX);
    let gauge = app.metrics.event_streams.clone();
    gauge.inc();
    let open = Open { gauge, _permit: permit };
    let listener = Listener { tenant: caller.tenant_id(), app, caller, agent_id, next, send, _open: open };
    tokio::spawn(listener.run());
    let mut response = Sse::new(ReceiverStream::new(receive)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Counts the stream until its end, whatever ends it.
struct Open {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

struct Listener {
    app: App,
    caller: Caller,
    tenant: TenantId,
    agent_id: Option<AgentId>,
    /// The next row to tell of.
    next: u64,
    send: mpsc::Sender<Result<Event, Infallible>>,
    _open: Open,
}

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client has gone or does not read")]
    Gone,
    #[error("the credential has ended or was revoked")]
    Credential,
    #[error("the process stops")]
    Stopping,
    #[error("store: {0}")]
    Store(#[from] StoreError),
}

impl Listener {
    async fn run(mut self) {
        let end = match self.listen().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        tracing::debug!(tenant_id = %self.tenant, reason = %end, "an event stream ended");
    }

    async fn listen(&mut self) -> Result<Infallible, End> {
        let mut ledgers = self.app.store.notices().ledgers();
        let mut credentials = self.app.directory.changes();
        let mut presences = self.app.presence.subscribe();
        let stopping = self.app.stopping.clone();
        let mut connected = json!({ "status": "connected", "tenant_id": self.tenant });
        if let (Some(map), Some(agent)) = (connected.as_object_mut(), self.agent_id) {
            map.insert("agent_id".into(), json!(agent));
        }
        self.tell(Event::default().event("connected").data(connected.to_string())).await?;
        self.catch_up().await?;
        loop {
            let left = self.caller.credential_left(self.app.clock.now());
            tokio::select! {
                grew = ledgers.recv() => match grew {
                    Ok(grew) if grew.tenant != self.tenant => {}
                    // A listener that fell behind reads what is there.
                    Ok(_) | Err(RecvError::Lagged(_)) => self.catch_up().await?,
                    Err(RecvError::Closed) => return Err(End::Stopping),
                },
                presence = presences.recv() => match presence {
                    Ok(presence) => self.tell_presence(&presence).await?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(End::Stopping),
                },
                changed = credentials.changed() => {
                    if changed.is_err() || !self.caller.still_holds(&self.app) {
                        return Err(End::Credential);
                    }
                }
                () = tokio::time::sleep(HEARTBEAT.min(left)) => {
                    if self.caller.credential_left(self.app.clock.now()).is_zero() {
                        return Err(End::Credential);
                    }
                    let beat = json!({ "ts": self.app.clock.now() });
                    self.tell(Event::default().event("heartbeat").data(beat.to_string())).await?;
                }
                () = stopping.cancelled() => return Err(End::Stopping),
                () = self.send.closed() => return Err(End::Gone),
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let mut db = self.app.store.read(self.tenant).await?;
            let rows = audit::since(&mut db, self.tenant, self.next, BATCH).await?;
            let mut told = Vec::new();
            for row in &rows {
                if let Some(event) = self.event_of(&mut db, row).await? {
                    told.push(Event::default().id(row.index.to_string()).data(event.to_string()));
                }
            }
            // The view is given back before a slow client is waited for.
            drop(db);
            for event in told {
                self.tell(event).await?;
            }
            match rows.last() {
                Some(last) => self.next = last.index + 1,
                None => return Ok(()),
            }
        }
    }

    async fn tell_presence(&self, presence: &Presence) -> Result<(), End> {
        if self.agent_id.is_some() || !presence.tenants.contains(&self.tenant) {
            return Ok(());
        }
        let kind = if presence.connected { "sidecar_connected" } else { "sidecar_lost" };
        let data = json!({ "sidecar_id": presence.source, "name": presence.name });
        self.tell(Event::default().data(frame(kind, &data, presence.at).to_string())).await
    }

    async fn tell(&self, event: Event) -> Result<(), End> {
        self.send.send_timeout(Ok(event), SEND_TIMEOUT).await.map_err(|_| End::Gone)
    }

    /// The event that a row is, if it is one and concerns the listener.
    async fn event_of(&self, db: &mut ReadTx, row: &AuditRow) -> Result<Option<Value>, StoreError> {
        // The end of a call names the call only: whose it was stands in its decision.
        let decision = match (row.kind, row.execution_id) {
            (RowKind::Outcome, Some(call)) => audit::by_execution(db, self.tenant, call).await?,
            _ => None,
        };
        let about = decision.as_ref().unwrap_or(row);
        if self.agent_id.is_some() && about.agent_id != self.agent_id {
            return Ok(None);
        }
        Ok(match row.kind {
            RowKind::Decision => Some(call_event(row, row)),
            RowKind::Outcome => Some(call_event(about, row)),
            RowKind::Admin => admin_event(row),
            RowKind::Kill | RowKind::Policy | RowKind::DailyStatement => body_event(row)?,
            RowKind::Enrol
            | RowKind::Key
            | RowKind::Open
            | RowKind::Close
            | RowKind::Heartbeat
            | RowKind::Gap
            | RowKind::Note => None,
        })
    }
}

fn frame(kind: &str, data: &Value, ts: Timestamp) -> Value {
    json!({ "type": kind, "data": data, "ts": ts })
}

/// A decision, or the end of a call: `decided` says who and what, `row` what became of it.
fn call_event(decided: &AuditRow, row: &AuditRow) -> Value {
    let kind = match row.outcome {
        Some(Outcome::Executed | Outcome::Failed | Outcome::Unknown) => "tool_executed",
        Some(Outcome::NotExecuted | Outcome::Pending) | None => "policy_decision",
    };
    let data = json!({
        "audit_id": decided.audit_id,
        "execution_id": decided.execution_id,
        "agent_id": decided.agent_id,
        "tool_name": decided.tool,
        "decision": decided.decision,
        "outcome": row.outcome,
        "risk_score": decided.risk_score,
        "reason": row.reason,
        "count": decided.count,
    });
    frame(kind, &data, row.ts)
}

fn admin_event(row: &AuditRow) -> Option<Value> {
    let kind = match row.action.as_str() {
        "agent.create" => "agent_created",
        "agent.delete" => "agent_deleted",
        action if action.starts_with("agent.") || action.starts_with("permission.") => "agent_updated",
        _ => return None,
    };
    let data =
        json!({ "agent_id": row.agent_id, "action": row.action, "actor": row.principal, "audit_id": row.audit_id });
    Some(frame(kind, &data, row.ts))
}

fn body_event(row: &AuditRow) -> Result<Option<Value>, StoreError> {
    Ok(match row.entry()?.body {
        Body::Kill(kill) => {
            let reason = kill.engaged.as_ref().map(|k| k.reason.clone());
            let data = json!({ "engaged": kill.engaged.is_some(), "reason": reason, "actor": kill.actor, "audit_id": row.audit_id });
            Some(frame("kill_switch", &data, row.ts))
        }
        Body::Policy(policy) if policy.mode == "active" => {
            let data = json!({ "name": policy.name, "version": policy.version, "revision": policy.revision,
                "actor": policy.actor, "audit_id": row.audit_id });
            Some(frame("policy_activated", &data, row.ts))
        }
        Body::DailyStatement(day) => {
            let data = json!({ "root_date": day.date, "root_hash": day.root.to_hex(),
                "leaf_count": day.size_to.saturating_sub(day.size_from), "audit_id": row.audit_id });
            Some(frame("root_sealed", &data, row.ts))
        }
        _ => None,
    })
}
