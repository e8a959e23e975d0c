//! The syncer: makes written records last, within milliseconds, without holding the writer up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::disk::DiskFile;
use super::segments::Position;
use super::shared::{Done, Reply, Shared};
use super::space::AuditUnavailable;

/// How long the first unsynced record waits for company; the sync itself must fit in what remains of 5 ms.
const SYNC_DELAY: Duration = Duration::from_millis(2);
/// How long the writer waits for room before it looks again.
const ROOM_WAIT: Duration = Duration::from_millis(100);

struct Dirty {
    segment: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
}

/// A strict row: written, not yet answered.
pub(super) struct Waiter {
    pub(super) position: Position,
    pub(super) done: Done,
    pub(super) reply: Reply,
}

#[derive(Default)]
struct State {
    dirty: VecDeque<Dirty>,
    waiters: Vec<Waiter>,
    busy: bool,
    /// A sync failed: nothing is synced until the writer has put a fresh segment in use.
    failed: bool,
    stop: bool,
}

/// Where writer and syncer meet.
#[derive(Default)]
pub(super) struct SyncDesk {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
}

impl SyncDesk {
    /// Records were written up to `end` of a segment.
    pub(super) fn written(&self, segment: u64, file: &Arc<dyn DiskFile>, end: u64, waiters: Vec<Waiter>) {
        let mut state = self.state.lock();
        match state.dirty.back_mut().filter(|dirty| dirty.segment == segment) {
            Some(dirty) => dirty.end = end,
            None => state.dirty.push_back(Dirty { segment, file: Arc::clone(file), end }),
        }
        state.waiters.extend(waiters);
        drop(state);
        self.work.notify_one();
    }

    /// Whether a sync failed.
    pub(super) fn failed(&self) -> bool {
        self.state.lock().failed
    }

    /// Stops syncing: waits for the sync under way and tells every waiter that its record may be lost.
    pub(super) fn halt(&self) {
        let mut state = self.state.lock();
        state.failed = true;
        while state.busy {
            self.done.wait(&mut state);
        }
        state.dirty.clear();
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        refuse(waiters);
    }

    /// A fresh segment is in use.
    pub(super) fn resume(&self) {
        self.state.lock().failed = false;
    }

    /// Waits until something was synced, or a moment.
    pub(super) fn wait_progress(&self) {
        let mut state = self.state.lock();
        if !state.failed && !state.dirty.is_empty() {
            self.done.wait_for(&mut state, ROOM_WAIT);
        }
    }

    /// Waits until everything written is synced; `false` if a sync failed.
    pub(super) fn drained(&self) -> bool {
        let mut state = self.state.lock();
        while !state.failed && (state.busy || !state.dirty.is_empty()) {
            self.work.notify_one();
            self.done.wait_for(&mut state, ROOM_WAIT);
        }
        !state.failed
    }

    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.work.notify_all();
    }

    /// The next file to sync: the oldest written to. `None` at the end.
    fn next(&self) -> Option<(u64, Arc<dyn DiskFile>, u64)> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return None;
            }
            if state.failed || state.dirty.is_empty() {
                self.work.wait(&mut state);
                continue;
            }
            if state.waiters.is_empty() {
                let idle = |s: &mut State| s.waiters.is_empty() && !s.stop && !s.failed;
                self.work.wait_while_for(&mut state, idle, SYNC_DELAY);
            }
            if let Some(dirty) = state.dirty.front().filter(|_| !state.failed) {
                let work = (dirty.segment, Arc::clone(&dirty.file), dirty.end);
                state.busy = true;
                return Some(work);
            }
        }
    }

    /// A sync has ended: the waiters it answers.
    fn finished(&self, segment: u64, end: u64, good: bool) -> Vec<Waiter> {
        let mut state = self.state.lock();
        state.busy = false;
        let answered = if good {
            if state.dirty.front().is_some_and(|dirty| dirty.segment == segment && dirty.end <= end) {
                state.dirty.pop_front();
            }
            let reached = Position { segment, offset: end };
            state.waiters.extract_if(.., |waiter| waiter.position <= reached).collect()
        } else {
            state.failed = true;
            state.dirty.clear();
            std::mem::take(&mut state.waiters)
        };
        drop(state);
        self.done.notify_all();
        answered
    }
}

/// The syncer's thread.
pub(super) fn run(shared: &Shared) {
    while let Some((segment, file, end)) = shared.sync.next() {
        match file.sync() {
            Ok(()) => {
                // From here the records last, and may be shipped.
                if let Some(segment) = shared.segments.lock().get_mut(segment) {
                    segment.synced = segment.synced.max(end);
                }
                let waiters = shared.sync.finished(segment, end, true);
                shared.shippable.notify_one();
                for Waiter { done, reply, .. } in waiters {
                    drop(reply.send(Ok(done)));
                }
            }
            Err(e) => {
                // A second sync may report success for pages that the kernel has dropped: never try again.
                shared.failed("sync a segment", &e);
                refuse(shared.sync.finished(segment, end, false));
                shared.inbox.poke();
            }
        }
    }
}

/// The callers hear that their rows may not last, so they will not call the tool.
fn refuse(waiters: Vec<Waiter>) {
    for Waiter { done, reply, .. } in waiters {
        if let Some(reservation) = done.reservation {
            reservation.abandon();
        }
        drop(reply.send(Err(AuditUnavailable::Failed)));
    }
}
