//! The outbox: the sidecar's durable log. Every governed call leaves exactly one row here, whatever dies when.
//!
//! A call reserves room and writes an intent before its tool is called; its row is numbered, linked, signed
//! and written before its answer is released; the shipper sends rows on, and what the control plane has
//! committed is deleted. After a crash, an intent without its row becomes a row with outcome `unknown`.
//!
//! Three threads: the writer owns the chains and the log's end, the syncer makes records last within
//! milliseconds, the keeper makes spare segments ahead of need and deletes acknowledged ones.
//! Crash points are commented where they are: `writer`, `log`, `space`, `keeper`, `recovery`, `losses`.

mod chains;
pub mod disk;
mod heads;
mod intent;
mod keeper;
mod log;
mod losses;
mod record;
mod recovery;
mod segments;
mod shared;
mod shipping;
#[cfg(test)]
mod sim;
mod space;
mod sync_desk;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use aegis_core::decision::Level;
use aegis_core::entropy::Entropy;
use aegis_core::id::{AuditId, BootId, SourceId, TenantId};
use aegis_core::time::Clock;
use aegis_ledger::commitment::Salt;
use aegis_ledger::entry::Body;
use aegis_ledger::wire::{Ack, SignedEntry};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

pub use self::intent::{Intent, Plan};
pub use self::recovery::{Recovery, UnknownCall};
pub use self::shipping::Batch;
pub use self::space::{AuditUnavailable, ROW_RESERVE, Reservation};

use self::chains::Chains;
use self::disk::Disk;
use self::intent::Slots;
use self::segments::{Position, Watermark};
use self::shared::{Bell, Done, Inbox, Job, Shared};
use self::space::{Health, Space};
use self::sync_desk::SyncDesk;
use self::writer::Writer;
use crate::identity::Identity;

const WATERMARK_FILE: &str = "watermark";
/// Bytes a segment must have at least: four of the longest records.
pub const SEGMENT_BYTES_MIN: u64 = 4 * ROW_RESERVE;
/// Part of the bound, in percent, from which the alarm is on.
const ALARM_PERCENT: u64 = 80;

/// How large the outbox may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of one segment file, at least [`SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// Bytes of all segment files. Beyond, calls are refused with `audit_unavailable`.
    pub max_bytes: u64,
    /// Calls under way at once. Room for two of the longest rows each is reserved on disk up front.
    pub in_flight_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20, max_bytes: 1 << 30, in_flight_max: 1_024 }
    }
}

/// In whose name rows are written.
#[derive(Debug, Clone)]
pub struct Author {
    /// The identity that vouches for the boot's key.
    pub identity: Arc<Identity>,
    /// The source.
    pub source: SourceId,
    /// This process start.
    pub boot: BootId,
    /// The binary and its version, for `open` entries.
    pub software: String,
}

/// When a row must last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Out of the process when answered, synced within 5 ms.
    Bounded,
    /// Synced when answered.
    Strict,
}

/// A row to be written.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whose chain.
    pub tenant: TenantId,
    /// The row's id.
    pub audit_id: AuditId,
    /// What it says.
    pub body: Body,
    /// The salt of its commitments.
    pub salt: Option<Salt>,
    /// When it must last.
    pub durability: Durability,
}

/// A row that was written.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The signed entry: what the receipt is made of.
    pub signed: SignedEntry,
    /// The row's id.
    pub audit_id: AuditId,
    /// Its number in the tenant's chain of this boot.
    pub seq: u64,
    /// The durability it has reached.
    pub level: Level,
}

/// What was counted for one tenant since this boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls whose tool was called.
    pub forwarded: u64,
    /// Calls refused, each of a counted row.
    pub denied: u64,
    /// Calls that failed or whose outcome is unknown.
    pub errored: u64,
}

/// The outbox's state, for metrics, readiness and heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxFacts {
    /// Rows that wait to be shipped.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
    /// Age of the oldest of them, milliseconds.
    pub oldest_age_ms: u64,
    /// Bytes of all segment files.
    pub disk_bytes: u64,
    /// Whether rows fill 80 % of the bound, or spare segments cannot be made.
    pub alarm: bool,
    /// Whether rows can be written now.
    pub available: bool,
    /// Failures of the disk since the start.
    pub failures: u64,
    /// Rows found lost since the start. Each loss is declared in the ledger.
    pub lost: u64,
}

/// Why the outbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk says no.
    #[error("the outbox cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// The limits contradict each other.
    #[error("outbox: {0}")]
    Options(String),
}

/// The outbox. Dropping it without [`Outbox::close`] is like a crash: the chains stay open.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    boot: BootId,
    source: SourceId,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Outbox {
    /// Opens the outbox: reads what is there, reserves room, starts the threads. The rows of calls that the
    /// process before left behind are the first to be written.
    ///
    /// # Errors
    /// If the limits contradict each other, or the disk cannot be read or written.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        author: Author,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Self, Recovery), OpenError> {
        check_options(&options)?;
        let slots = Slots::open(&*disk, options.in_flight_max)?;
        let watermark = match disk.open(WATERMARK_FILE)? {
            Some(file) => Watermark(file),
            None => Watermark(disk.create(WATERMARK_FILE, Position::BYTES as u64)?),
        };
        let found = recovery::read(&*disk, &slots, watermark.read())?;
        let mut space = Space::new(slots.count());
        for (slot, flags) in found.unsettled {
            space.adopt(slot, flags);
        }
        let shared = Arc::new(Shared {
            disk,
            clock: Arc::clone(&clock),
            options,
            inbox: Inbox::default(),
            space: Mutex::new(space),
            slots,
            segments: Mutex::new(found.segments),
            watermark,
            losses: Mutex::new(found.losses),
            sync: SyncDesk::default(),
            keeper: Bell::default(),
            shippable: Notify::new(),
            failures: AtomicU64::new(0),
            counts: dashmap::DashMap::new(),
        });
        keeper::make_spares(&shared);
        let (boot, source) = (author.boot, author.source);
        let chains = Chains::new(author, found.heads.clone(), clock, Arc::clone(&entropy));
        let writer = Writer::new(Arc::clone(&shared), chains, entropy);
        // The heads that deletions build on are those on disk, and grow by what is deleted.
        let kept = heads::Heads::load(&*shared.disk)?;
        let (syncing, keeping) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread("outbox-writer", move || writer.run())?,
            thread("outbox-syncer", move || sync_desk::run(&syncing))?,
            thread("outbox-keeper", move || keeper::run(&keeping, kept))?,
        ];
        shared.inbox.poke();
        shared.shippable.notify_one();
        Ok((Self { shared, boot, source, threads: Mutex::new(threads) }, found.recovery))
    }

    /// This process start.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// The source in whose name rows are written.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Reserves room for a call's rows and writes its intent: out of the process when this returns, so that
    /// after a crash the call has a row. No waiting, a microsecond or two.
    ///
    /// # Errors
    /// If the row could not be kept later: no room, a failed disk, too many calls under way.
    pub fn intend(&self, intent: &Intent) -> Result<Reservation, AuditUnavailable> {
        let rows = match intent.plan {
            Plan::OneRow => 1,
            Plan::DecisionThenOutcome => 2,
        };
        Reservation::intent(&self.shared, rows, |slot| self.shared.slots.write(slot, intent))
    }

    /// Reserves room for one row of a call that never reaches its tool.
    ///
    /// # Errors
    /// As [`Self::intend`].
    pub fn reserve(&self) -> Result<Reservation, AuditUnavailable> {
        Reservation::room(&self.shared)
    }

    /// Writes a call's last row. When this returns the row has left the process, and lasts if `strict`.
    ///
    /// # Errors
    /// If it was not written. A call with an intent then gets a row with outcome `unknown` as soon as the disk
    /// works again.
    pub async fn append(&self, draft: Draft, reservation: Reservation) -> Result<Appended, AuditUnavailable> {
        self.send(draft, reservation, false).await.map(|done| done.appended)
    }

    /// Writes the `decision` row of a call whose `outcome` row follows; its reservation serves both.
    ///
    /// # Errors
    /// If it was not written, or not synced though `strict`: the tool must not be called.
    pub async fn append_pending(
        &self,
        draft: Draft,
        reservation: Reservation,
    ) -> Result<(Appended, Reservation), AuditUnavailable> {
        let done = self.send(draft, reservation, true).await?;
        done.reservation.map(|reservation| (done.appended, reservation)).ok_or(AuditUnavailable::Closed)
    }

    async fn send(&self, draft: Draft, reservation: Reservation, pending: bool) -> Result<Done, AuditUnavailable> {
        let (reply, answer) = oneshot::channel();
        self.shared.inbox.push(Job { draft, reservation, pending, reply: Some(reply) })?;
        answer.await.map_err(|_| AuditUnavailable::Closed)?
    }

    /// The oldest unacknowledged rows, at most `rows_max` and about `bytes_max` bytes; `None` if nothing waits.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn read_batch(&self, rows_max: usize, bytes_max: usize) -> io::Result<Option<Batch>> {
        shipping::read(&self.shared, rows_max, bytes_max)
    }

    /// Forgets the batch's rows that the control plane has committed; how many.
    pub fn acknowledge(&self, batch: &Batch, acks: &[Ack]) -> usize {
        shipping::acknowledge(&self.shared, batch, acks)
    }

    /// Returns when rows may have become ready to be shipped.
    pub async fn shippable(&self) {
        self.shared.shippable.notified().await;
    }

    /// Its state now.
    pub fn facts(&self) -> OutboxFacts {
        let now = self.shared.clock.now();
        let space = self.shared.space.lock();
        let available = space.health == Health::Good && space.unmarked().is_empty();
        let room = space.fits(ROW_RESERVE);
        drop(space);
        let lost = self.shared.losses.lock().rows();
        let segments = self.shared.segments.lock();
        let age = segments.oldest.map_or(0, |oldest| now.since(oldest).as_millis());
        let full = segments.bytes.saturating_mul(100) >= self.shared.options.max_bytes.saturating_mul(ALARM_PERCENT);
        OutboxFacts {
            rows: segments.rows,
            bytes: segments.bytes,
            oldest_age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            disk_bytes: segments.count() * self.shared.options.segment_bytes,
            alarm: full || !room || !available,
            available: available && room,
            failures: self.shared.failures.load(Ordering::Relaxed),
            lost,
        }
    }

    /// What was counted since this boot, by tenant.
    pub fn counts(&self) -> Vec<(TenantId, Counts)> {
        self.shared.counts.iter().map(|entry| (*entry.key(), *entry.value())).collect()
    }

    /// Writes what is queued, ends every chain with `close`, and stops. Later rows are refused.
    pub async fn close(&self, reason: &str) {
        let (done, closed) = oneshot::channel();
        self.shared.inbox.close(reason.to_owned(), done);
        // An error means that the writer is gone already.
        drop(closed.await);
        self.stop();
    }

    fn stop(&self) {
        self.shared.inbox.stop();
        self.shared.sync.stop();
        self.shared.keeper.stop();
        for thread in self.threads.lock().drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.stop();
    }
}

fn check_options(options: &Options) -> Result<(), OpenError> {
    if options.segment_bytes < SEGMENT_BYTES_MIN {
        return Err(OpenError::Options(format!("segment_bytes must be at least {SEGMENT_BYTES_MIN}")));
    }
    if options.max_bytes < 2 * options.segment_bytes {
        return Err(OpenError::Options("max_bytes must be at least twice segment_bytes".into()));
    }
    if options.in_flight_max == 0 {
        return Err(OpenError::Options("in_flight_max must be at least 1".into()));
    }
    Ok(())
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}
