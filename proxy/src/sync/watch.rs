//! The watch stream: a snapshot, then changes as they happen, pushed.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::sidecar::{WATCH_PING_S, WatchFrame};
use aegis_core::snapshot::Change;
use reqwest::{Method, Response};

use super::Sync;
use super::backoff::Backoff;
use super::client::{SyncError, accepted};

/// A stream that is silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(3 * WATCH_PING_S);
/// Bytes one line may have: a policy file, escaped.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Changes one delta may hold.
const CHANGES_MAX: usize = 1_000_000;
/// Pings between two writings of the time of confirmation.
const PINGS_PER_CONFIRMATION: u32 = 6;

/// Changes that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delta {
    /// Forget everything before.
    pub(super) full: bool,
    /// In the order of their versions.
    pub(super) changes: Vec<Change>,
    /// The version reached.
    pub(super) version: u64,
}

/// What the stream has come to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Delta(Delta),
    /// The version in force still holds.
    Confirmed,
}

/// Puts frames together. Anything that does not fit drops the whole delta: never half a snapshot.
#[derive(Debug)]
pub(super) struct Assembler {
    /// The version in force.
    version: u64,
    open: Option<(bool, Vec<Change>)>,
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, SyncError> {
    Err(SyncError::Protocol(problem.into()))
}

impl Assembler {
    pub(super) fn new(version: u64) -> Self {
        Self { version, open: None }
    }

    /// Takes the next frame in.
    pub(super) fn push(&mut self, frame: WatchFrame) -> Result<Option<Event>, SyncError> {
        match frame {
            WatchFrame::Begin { full } => match self.open.replace((full, Vec::new())) {
                None => Ok(None),
                Some(_) => wrong("a delta begins inside another"),
            },
            WatchFrame::Change(change) => self.change(change),
            WatchFrame::Commit { version, .. } => self.commit(version),
            WatchFrame::Ping { version, .. } if version < self.version => {
                wrong(format!("the control plane is at {version}, behind {}", self.version))
            }
            WatchFrame::Ping { .. } if self.open.is_some() => wrong("a ping inside a delta"),
            WatchFrame::Ping { .. } => Ok(Some(Event::Confirmed)),
        }
    }

    fn change(&mut self, change: Change) -> Result<Option<Event>, SyncError> {
        let Some((full, changes)) = &mut self.open else { return wrong("a change outside a delta") };
        if changes.len() >= CHANGES_MAX {
            return wrong("a delta has too many changes");
        }
        if change.item.as_ref().is_some_and(|item| item.key() != change.key) {
            return wrong(format!("the change of {} holds another item", change.key));
        }
        if !*full && change.version <= self.version {
            return wrong(format!("change {} comes after version {}", change.version, self.version));
        }
        changes.push(change);
        Ok(None)
    }

    fn commit(&mut self, version: u64) -> Result<Option<Event>, SyncError> {
        let Some((full, mut changes)) = self.open.take() else { return wrong("a commit without a delta") };
        // Of two changes of one item the later must win.
        changes.sort_by_key(|change| change.version);
        let reached = changes.last().map_or(0, |change| change.version);
        if version < reached || (!full && version < self.version) {
            return wrong(format!("commit of {version} after {}", reached.max(self.version)));
        }
        self.version = version;
        Ok(Some(Event::Delta(Delta { full, changes, version })))
    }
}

/// Follows the stream for ever, with back-off between attempts.
pub(super) async fn run(sync: &Sync) {
    let mut backoff = Backoff::new(&sync.entropy);
    let mut resync = false;
    loop {
        match follow(sync, &mut backoff, &mut resync).await {
            Ok(()) => tracing::info!("the watch stream ended"),
            Err(error) => {
                tracing::warn!(%error, "the watch stream broke");
                match error {
                    SyncError::Unauthorized(_) => sync.session.forget_credential().await,
                    // What does not fit may be our own misunderstanding: ask for everything.
                    SyncError::Protocol(_) => resync = true,
                    SyncError::Settings(_)
                    | SyncError::Transport(_)
                    | SyncError::Refused { .. }
                    | SyncError::Local(_) => {}
                }
            }
        }
        backoff.pause().await;
    }
}

async fn follow(sync: &Sync, backoff: &mut Backoff, resync: &mut bool) -> Result<(), SyncError> {
    let since = if *resync { 0 } else { sync.applier.applied().version };
    let request = sync.session.request(Method::GET, &format!("/internal/sidecar/watch?since={since}")).await?;
    let answer = tokio::time::timeout(SILENCE_MAX, request.send());
    let response = answer.await.map_err(|_| SyncError::Transport("no answer in time".into()))??;
    let mut lines = Lines { response: accepted(response).await?, buffer: Vec::new() };
    let mut assembler = Assembler::new(since);
    let mut pings = 0;
    while let Some(line) = lines.next().await? {
        let frame = serde_json::from_slice(&line).map_err(|e| SyncError::Protocol(e.to_string()))?;
        match assembler.push(frame)? {
            None => {}
            Some(Event::Delta(delta)) => {
                let full = delta.full;
                let applier = Arc::clone(&sync.applier);
                blocking(move || applier.apply(&delta)).await?;
                *resync &= !full;
                backoff.reset();
            }
            Some(Event::Confirmed) => {
                let (applier, keep) = (Arc::clone(&sync.applier), pings % PINGS_PER_CONFIRMATION == 0);
                blocking(move || applier.confirm(keep)).await?;
                pings += 1;
                backoff.reset();
            }
        }
    }
    Ok(())
}

async fn blocking(work: impl FnOnce() + Send + 'static) -> Result<(), SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| SyncError::Local(e.to_string()))
}

/// The stream's lines.
struct Lines {
    response: Response,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line that is not empty; `None` at the stream's end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SyncError> {
        let mut searched = 0;
        loop {
            let found = self.buffer.get(searched..).and_then(|rest| rest.iter().position(|b| *b == b'\n'));
            if let Some(at) = found {
                let rest = self.buffer.split_off(searched + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > LINE_BYTES_MAX {
                return wrong("a line is too long");
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk());
            match chunk.await.map_err(|_| SyncError::Transport("the stream fell silent".into()))?? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
