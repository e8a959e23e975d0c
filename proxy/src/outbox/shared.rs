//! What the outbox's threads and its callers share.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_core::time::Clock;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::disk::Disk;
use super::intent::Slots;
use super::losses::Losses;
use super::segments::{Segments, Watermark};
use super::space::{AuditUnavailable, Reservation, Space};
use super::sync_desk::SyncDesk;
use super::{Appended, Counts, Draft, Options};

/// Rows that wait for the writer at most.
pub(super) const QUEUE_MAX: usize = 8_192;

/// The state behind the outbox.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    pub(super) inbox: Inbox,
    pub(super) space: Mutex<Space>,
    pub(super) slots: Slots,
    pub(super) segments: Mutex<Segments>,
    pub(super) watermark: Watermark,
    /// Locked after `segments`, where both are.
    pub(super) losses: Mutex<Losses>,
    pub(super) sync: SyncDesk,
    pub(super) keeper: Bell,
    /// Rung when rows can be shipped.
    pub(super) shippable: Notify,
    pub(super) failures: AtomicU64,
    pub(super) counts: dashmap::DashMap<aegis_core::id::TenantId, Counts>,
}

impl Shared {
    /// Counts and logs a failure of the disk.
    pub(super) fn failed(&self, doing: &'static str, error: &io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(doing, %error, "the outbox's disk failed");
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(outbox)")
    }
}

/// What the writer answers.
pub(super) struct Done {
    pub(super) appended: Appended,
    /// The reservation, if an `outcome` row will follow.
    pub(super) reservation: Option<Reservation>,
}

/// Who waits for a row.
pub(super) type Reply = oneshot::Sender<Result<Done, AuditUnavailable>>;

/// A row on its way to the writer.
pub(super) struct Job {
    pub(super) draft: Draft,
    pub(super) reservation: Reservation,
    /// The row is a `decision` whose `outcome` will follow.
    pub(super) pending: bool,
    /// Absent for rows that the writer itself wants.
    pub(super) reply: Option<Reply>,
}

/// The writer's queue.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    bell: Condvar,
}

#[derive(Default)]
struct InboxState {
    jobs: VecDeque<Job>,
    poked: bool,
    stop: bool,
    close: Option<(String, oneshot::Sender<()>)>,
}

/// What the writer found to do.
pub(super) struct Turn {
    pub(super) jobs: Vec<Job>,
    /// Nothing came within the time.
    pub(super) idle: bool,
    pub(super) stop: bool,
    /// Close the chains; only once nothing is queued any more.
    pub(super) close: Option<(String, oneshot::Sender<()>)>,
}

impl Inbox {
    /// Queues a row.
    pub(super) fn push(&self, job: Job) -> Result<(), AuditUnavailable> {
        let mut state = self.state.lock();
        let refused = if state.stop {
            AuditUnavailable::Closed
        } else if state.jobs.len() >= QUEUE_MAX {
            AuditUnavailable::Busy
        } else {
            state.jobs.push_back(job);
            drop(state);
            self.bell.notify_one();
            return Ok(());
        };
        // The job's reservation locks the inbox when it is dropped.
        drop(state);
        drop(job);
        Err(refused)
    }

    /// Wakes the writer.
    pub(super) fn poke(&self) {
        self.state.lock().poked = true;
        self.bell.notify_one();
    }

    pub(super) fn close(&self, reason: String, done: oneshot::Sender<()>) {
        self.state.lock().close = Some((reason, done));
        self.bell.notify_one();
    }

    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.bell.notify_one();
    }

    /// Waits for work: at most `max` rows, those queued now.
    pub(super) fn wait(&self, max: usize, at_most: Duration) -> Turn {
        let mut state = self.state.lock();
        let nothing = |s: &mut InboxState| s.jobs.is_empty() && !s.poked && !s.stop && s.close.is_none();
        let idle = self.bell.wait_while_for(&mut state, nothing, at_most).timed_out();
        state.poked = false;
        let take = state.jobs.len().min(max);
        let jobs = state.jobs.drain(..take).collect();
        let close = if state.jobs.is_empty() { state.close.take() } else { None };
        Turn { jobs, idle, stop: state.stop, close }
    }

    /// Everything still queued.
    pub(super) fn drain(&self) -> Vec<Job> {
        self.state.lock().jobs.drain(..).collect()
    }
}

/// A bell that a thread waits for.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<(bool, bool)>,
    bell: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.state.lock().0 = true;
        self.bell.notify_one();
    }

    pub(super) fn stop(&self) {
        self.state.lock().1 = true;
        self.bell.notify_one();
    }

    /// Waits for a ring; whether to go on.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let mut state = self.state.lock();
        self.bell.wait_while_for(&mut state, |(rung, stop)| !*rung && !*stop, at_most);
        state.0 = false;
        !state.1
    }
}
