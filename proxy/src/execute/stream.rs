//! A tool's event stream on its way to the client: filtered piece by piece, recorded at the end.
//!
//! Its `decision` row is written before the tool is called. Its `outcome` row is written however it ends; if the
//! process dies, or this value is dropped unfinished, the outbox writes one with outcome `unknown`.

use aegis_core::decision::{Outcome, Stage};
use aegis_core::time::Monotonic;
use aegis_ledger::hash::Hash;
use aegis_pipeline::pipeline::Permit;
use aegis_pipeline::stages::output_filter::Redactor;
use aegis_pipeline::timeline::StageOutcome;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::case::{self, Case, Last, Room};
use super::redact;
use crate::reply::Reply;
use crate::row::Ending;
use crate::tools::answer::ToolFailure;
use crate::tools::bulkhead::Place;
use crate::tools::client::{self, Opened};
use crate::tools::decode::Body;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The tool was done.
    Complete,
    /// The tool failed, or the switch was engaged.
    Failed(ToolFailure),
    /// The client went away.
    ClientGone,
}

/// A stream under way.
pub struct Streaming {
    case: Case,
    permit: Permit,
    room: Room,
    _place: Place,
    status: u16,
    content_type: String,
    body: Body,
    redactor: Redactor,
    began: Monotonic,
    /// Commits to what was released: `aegis-commit/1`, over the stream as it went out.
    hasher: Sha256,
    end: Option<End>,
}

impl Streaming {
    pub(super) fn new(case: Case, permit: Permit, room: Room, place: Place, opened: Opened, began: Monotonic) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"aegis-commit/1\n");
        hasher.update(case.salt);
        Self {
            redactor: case.redactor(),
            status: opened.status,
            content_type: opened.content_type.unwrap_or_else(|| "text/event-stream".to_owned()),
            body: opened.body,
            case,
            permit,
            room,
            _place: place,
            began,
            hasher,
            end: None,
        }
    }

    /// The answer's header: the facts of the decision.
    pub fn head(&self) -> Reply {
        let mut about = self.case.about.clone();
        about.audit_id = self.room.decided.as_ref().map(|decided| decided.audit_id);
        Reply::stream_head(&about, &self.content_type)
    }

    /// The next piece to be released; `None` at the end. A failure ends the stream early.
    pub async fn next(&mut self) -> Option<Bytes> {
        let tenant = self.permit.record().tenant_id;
        while self.end.is_none() {
            let mut out = Vec::new();
            let next = tokio::select! {
                biased;
                _ = self.case.engine.snapshots.revoked(tenant) => Err(ToolFailure::Aborted),
                next = tokio::time::timeout(self.case.tool.route.timeout, self.body.next()) => match next {
                    Ok(read) => read.map_err(|e| client::body_failure(self.status, &e)),
                    Err(_) => Err(ToolFailure::Timeout { status: Some(self.status) }),
                },
            };
            match next {
                Ok(Some(chunk)) => self.redactor.push(&chunk, &mut out),
                Ok(None) => {
                    self.redactor.finish(&mut out);
                    self.end = Some(End::Complete);
                }
                // What the filter still holds back is not released.
                Err(failure) => self.end = Some(End::Failed(failure)),
            }
            if !out.is_empty() {
                self.hasher.update(&out);
                return Some(out.into());
            }
        }
        None
    }

    /// The client does not read any more.
    pub fn client_gone(&mut self) {
        self.end.get_or_insert(End::ClientGone);
    }

    /// Writes the `outcome` row; whether the stream was complete and its row is kept.
    pub async fn finish(mut self) -> bool {
        let took = self.case.engine.clock.monotonic().since(self.began);
        let end = self.end.unwrap_or(End::ClientGone);
        let redactions = redact::counts(&self.redactor);
        self.case.count_redactions(&redactions);
        let cost = self.permit.record().cost;
        let mut record = self.case.engine.settle(self.permit, cost);
        let (outcome, reason) = match end {
            End::Complete => (Outcome::Executed, record.reason.clone()),
            End::Failed(failure) => (failure.outcome(), failure.reason()),
            End::ClientGone => (Outcome::Executed, "client_gone: the client left before the stream's end".to_owned()),
        };
        record.reason = reason;
        record.timeline.push(Stage::Execution, case::step(end == End::Complete), took);
        record.timeline.push(Stage::OutputFilter, StageOutcome::Pass, std::time::Duration::ZERO);
        if let End::Failed(_) = end {
            let label = self.case.tool.label();
            self.case.engine.metrics.tool_errors.with_label_values(&[label.as_str(), "stream"]).inc();
        }
        self.case.engine.metrics.decision(record.decision);
        let ending = Ending {
            output_commitment: Some(Hash::from_bytes(self.hasher.finalize().into())),
            redactions,
            upstream: Some(case::upstream(Some(self.status), took)),
        };
        // A stream cannot be given again.
        self.case.remember(None);
        let last = Last { outcome, ending };
        let written = self.case.write(&mut record, self.room.reservation, self.room.decided.as_ref(), last).await;
        if let Err(error) = &written {
            tracing::error!(%error, execution_id = %self.case.execution_id, "a stream's outcome could not be recorded");
        }
        written.is_ok() && end == End::Complete
    }
}
