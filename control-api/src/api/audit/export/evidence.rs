//! Evidence: the ledger up to its newest checkpoint, for `aegis-verify`.

use std::collections::HashSet;

use aegis_core::json;
use aegis_core::time::Timestamp;
use aegis_ledger::checkpoint::{FIRST_EPOCH, origin};
use aegis_store::ledger::checkpoint::{self, Stored};
use aegis_store::ledger::day;
use aegis_store::ledger::evidence::{self, Evidence};
use aegis_store::{Conn, StoreError};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::bundle::Bundle;
use super::{Broken, Export, Send, answer, finished};
use crate::error::ApiError;

/// Entries that prove others: they are never withheld.
const CONTEXT: [&str; 9] = ["open", "close", "heartbeat", "gap", "enrol", "key", "policy", "kill", "daily_statement"];
/// Calls whose outcome may still come at most; beyond, outcomes are all shown.
const PENDING_MAX: usize = 100_000;

/// Begins the archive.
pub(super) async fn begin(
    export: Export,
    receive: mpsc::Receiver<Result<Bytes, std::io::Error>>,
) -> Result<Response, ApiError> {
    let (app, tenant) = (&export.app, export.tenant);
    let mut tx = app.store.read(tenant).await?;
    let newest = checkpoint::latest(&mut tx, tenant).await?;
    let Some(newest) = newest else {
        return Err(ApiError::conflict("no_checkpoint", "no checkpoint covers the ledger yet"));
    };
    let size = newest.size;
    let rows = if export.is_whole { size } else { export.rows };
    let manifest = json!({
        "exported_at": app.clock.now(),
        "format": "aegis-bundle/1",
        "origin": origin(&app.config.deployment, tenant, FIRST_EPOCH),
        "rows": rows,
        "size": size,
        "tenant_id": tenant,
    });
    let members = [
        ("manifest.json", json::canonical(&manifest).into_bytes()),
        ("checkpoints.ndjson", checkpoints(&mut tx, &export, newest).await?),
        ("statements.ndjson", statements(&mut tx, &export, size).await?),
    ];
    drop(tx);
    let bundle = Bundle::begin(&members).map_err(|e| ApiError::bug("an archive could not be begun", &e))?;
    tokio::spawn(finished(run(export, bundle, size)));
    Ok(answer(receive, "application/zip", &format!("evidence-{tenant}.zip"), rows))
}

fn lines(values: impl Iterator<Item = Value>) -> Vec<u8> {
    values.map(|value| json::canonical(&value) + "\n").collect::<String>().into_bytes()
}

/// Every kept checkpoint up to the newest, by size.
async fn checkpoints(tx: &mut Conn, export: &Export, newest: Stored) -> Result<Vec<u8>, StoreError> {
    let (last, size) = (newest.epoch, newest.size);
    let mut all = vec![newest];
    for epoch in FIRST_EPOCH..=checkpoint::epoch(tx, export.tenant).await? {
        let kept = checkpoint::list(tx, export.tenant, epoch, 0).await?;
        all.extend(kept.into_iter().filter(|c| c.size < size || (c.size == size && c.epoch != last)));
    }
    all.sort_by_key(|c| (c.size, c.epoch));
    Ok(lines(all.into_iter().map(|c| json!({ "note": c.note }))))
}

/// Where daily statements stand, so that a reader in one pass knows which roots to remember.
async fn statements(tx: &mut Conn, export: &Export, size: u64) -> Result<Vec<u8>, StoreError> {
    let days = day::list(tx, export.tenant, None, None, day::DAYS_MAX).await?;
    let within = days.into_iter().rev().filter(|day| day.index < size);
    Ok(lines(within.map(|day| json!({ "index": day.index, "size_to": day.size_to }))))
}

async fn run(export: Export, bundle: Bundle, size: u64) -> Result<(), (Broken, Send)> {
    match Box::pin(entries(&export, bundle, size)).await {
        Ok(()) => Ok(()),
        Err(broken) => Err((broken, export.send)),
    }
}

async fn entries(export: &Export, mut bundle: Bundle, size: u64) -> Result<(), Broken> {
    let Export { app, tenant, send, .. } = export;
    let mut choice = Choice::new(export);
    let mut next = 0;
    while next < size {
        // A transaction a page: the ledger only grows, so the pages agree, and none is held open for long.
        let mut tx = app.store.read(*tenant).await?;
        let page = evidence::page(&mut tx, *tenant, (next, size), size).await?;
        drop(tx);
        let Some(last) = page.last() else { break };
        next = last.index + 1;
        let shown: Vec<bool> = page.iter().map(|evidence| choice.shows(evidence)).collect();
        bundle = tokio::task::spawn_blocking(move || {
            for (evidence, shown) in page.iter().zip(shown) {
                bundle.entry(evidence.leaf, shown.then_some(evidence))?;
            }
            Ok::<_, Broken>(bundle)
        })
        .await??;
        send.piece(bundle.take()).await?;
    }
    send.piece(bundle.finish()?).await
}

/// Which entries are shown; of the others only the leaf hash is.
struct Choice {
    is_narrow: bool,
    agent: Option<String>,
    action: Option<String>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    left: u64,
    pending: HashSet<String>,
}

impl Choice {
    fn new(export: &Export) -> Self {
        let filter = &export.filter;
        Self {
            is_narrow: !export.is_whole,
            agent: filter.agent_id.map(|agent| agent.to_string()),
            action: filter.action.clone(),
            from: filter.from,
            until: filter.until,
            left: export.rows,
            pending: HashSet::new(),
        }
    }

    fn shows(&mut self, evidence: &Evidence) -> bool {
        let column = |name: &str| evidence.row.get(name).and_then(Value::as_str);
        let kind = column("kind").unwrap_or_default();
        if !self.is_narrow || CONTEXT.contains(&kind) {
            return true;
        }
        let call = column("execution_id").unwrap_or_default();
        if kind == "outcome" && (self.pending.remove(call) || self.pending.len() >= PENDING_MAX) {
            return true;
        }
        let ts = column("ts").and_then(|ts| Timestamp::parse(ts).ok());
        let shows = self.left > 0
            && self.agent.as_deref().is_none_or(|agent| column("agent_id") == Some(agent))
            && self.action.as_deref().is_none_or(|action| column("action") == Some(action))
            && self.from.is_none_or(|from| ts.is_some_and(|ts| ts >= from))
            && self.until.is_none_or(|until| ts.is_some_and(|ts| ts < until));
        if shows {
            self.left -= 1;
            if kind == "decision" && evidence.row.contains_key("outcome_index") && self.pending.len() < PENDING_MAX {
                self.pending.insert(call.to_owned());
            }
        }
        shows
    }
}
