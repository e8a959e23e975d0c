//! The writer: the one thread that owns the chains. Takes what is queued, signs it once, writes it once, answers.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::AuditId;
use aegis_ledger::signing::BATCH_MAX;
use tokio::sync::oneshot;

use super::chains::{Chains, Ready};
use super::intent::Slot;
use super::log::{Log, LogError};
use super::record::RECORD_MAX;
use super::shared::{Done, Job, Shared};
use super::space::{AuditUnavailable, Health, Reservation, mark_slot};
use super::sync_desk::Waiter;
use super::{Appended, Draft, Durability};
use aegis_core::decision::Level;
use aegis_core::entropy::Entropy;

/// How often the writer looks for heartbeats that are due.
const TICK: Duration = Duration::from_secs(1);
/// How often a failed outbox tries a fresh segment.
const MEND_INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    shared: Arc<Shared>,
    chains: Chains,
    log: Log,
    entropy: Arc<dyn Entropy>,
    /// The last rows could not be written: what nobody waits for is tried again only after a pause.
    stalled: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, chains: Chains, entropy: Arc<dyn Entropy>) -> Self {
        Self { log: Log::new(Arc::clone(&shared)), shared, chains, entropy, stalled: false }
    }

    /// The writer's thread.
    pub(super) fn run(mut self) {
        loop {
            let wait = if self.health() == Health::Failed { MEND_INTERVAL } else { TICK };
            let turn = self.shared.inbox.wait(BATCH_MAX, wait);
            if turn.stop {
                break;
            }
            self.stalled &= !turn.idle;
            self.check_sync();
            if self.health() == Health::Failed && turn.idle {
                self.mend();
            }
            self.take(turn.jobs);
            self.settle_orphans();
            self.declare();
            if self.health() == Health::Good {
                self.beat();
            }
            if let Some((reason, done)) = turn.close {
                self.close(&reason, done);
            }
        }
        for job in self.shared.inbox.drain() {
            refuse(job, AuditUnavailable::Closed);
        }
    }

    fn health(&self) -> Health {
        self.shared.space.lock().health
    }

    /// A sync that failed is found here: go on in a fresh segment at once.
    fn check_sync(&mut self) {
        if self.shared.sync.failed() && self.health() == Health::Good {
            self.shared.space.lock().health = Health::Failed;
            self.mend();
        }
    }

    fn mend(&mut self) {
        match self.log.mend() {
            Ok(()) => tracing::warn!("the outbox goes on in a fresh segment"),
            Err(LogError::Full) => tracing::error!("the outbox has no spare segment to go on in"),
            Err(LogError::Io(e)) => self.shared.failed("open a fresh segment", &e),
        }
    }

    fn take(&mut self, jobs: Vec<Job>) {
        let refusal = match self.health() {
            Health::Good => return self.write(jobs),
            Health::Failed => AuditUnavailable::Failed,
            Health::Closed => AuditUnavailable::Closed,
        };
        for job in jobs {
            refuse(job, refusal);
        }
    }

    fn write(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let (rows, unencodable) = self.chains.prepare(jobs);
        for (job, error) in unencodable {
            tracing::error!(%error, "a row cannot be encoded");
            self.stalled = true;
            refuse(job, AuditUnavailable::Row);
        }
        self.write_rows(rows);
    }

    /// Writes rows in runs that fit their segment. After a failure nothing later is written: the chains stand
    /// where the last written row left them.
    fn write_rows(&mut self, rows: Vec<Ready>) {
        let run_max = (self.shared.options.segment_bytes / 4).max(RECORD_MAX as u64);
        let mut rows = rows.into_iter().peekable();
        let mut failed: Option<AuditUnavailable> = None;
        while failed.is_none() && rows.peek().is_some() {
            let (mut run, mut bytes) = (Vec::new(), Vec::new());
            let room = self.log.room().min(run_max);
            while let Some(row) = rows.next_if(|row| (bytes.len() + row.record.len()) as u64 <= room) {
                bytes.extend_from_slice(&row.record);
                run.push(row);
            }
            let written =
                if run.is_empty() { self.log.advance().map(|()| None) } else { self.log.write(&bytes).map(Some) };
            match written {
                Ok(None) => {}
                Ok(Some((position, file))) => {
                    let waiters: Vec<Waiter> = run.into_iter().filter_map(|row| self.commit(row, position)).collect();
                    self.shared.sync.written(position.segment, &file, position.offset, waiters);
                }
                Err(error) => {
                    failed = Some(self.fail(error));
                    run.into_iter().filter_map(|row| row.job).for_each(|job| refuse(job, AuditUnavailable::Failed));
                }
            }
        }
        if let Some(refusal) = failed {
            self.stalled = true;
            rows.filter_map(|row| row.job).for_each(|job| refuse(job, refusal));
            if self.health() == Health::Failed {
                self.mend();
            }
        }
    }

    fn fail(&self, error: LogError) -> AuditUnavailable {
        match error {
            // Nothing is broken, there is just no room: the keeper makes some when rows are acknowledged.
            LogError::Full => AuditUnavailable::Full,
            LogError::Io(e) => {
                self.shared.failed("write a segment", &e);
                self.shared.space.lock().health = Health::Failed;
                AuditUnavailable::Failed
            }
        }
    }

    /// A row is written: its chain moves on, its intent is settled, its caller is answered; a strict caller
    /// only after the sync.
    fn commit(&mut self, mut row: Ready, position: super::segments::Position) -> Option<Waiter> {
        self.chains.commit(&row, &self.shared);
        self.shared.segments.lock().add_row(row.record.len() as u64, row.facts.written_at);
        if let Some(hole) = row.hole {
            // Dying from here on: the loss may be declared twice, and the second time changes nothing.
            let open = self.chains.open_line(hole.tenant);
            self.shared.losses.lock().declared(hole, [open, b"\n", row.line(), b"\n"].concat(), position);
        }
        let job = row.job.take()?;
        // Dying before the slot is cleared: the row is found in the log at the next start, so no second one is
        // written. It cannot have been shipped and deleted: that takes a cleared slot.
        let reservation = if job.pending {
            Some(job.reservation.decided())
        } else {
            job.reservation.settle();
            None
        };
        let level = match job.draft.durability {
            Durability::Bounded => Level::Signed,
            Durability::Strict => Level::Local,
        };
        let appended = Appended { signed: row.signed, audit_id: row.audit_id, seq: row.facts.seq, level };
        let (done, reply) = (Done { appended, reservation }, job.reply?);
        match job.draft.durability {
            Durability::Bounded => {
                // A caller that is gone drops its reservation, which leaves the outcome to us.
                drop(reply.send(Ok(done)));
                None
            }
            Durability::Strict => Some(Waiter { position, done, reply }),
        }
    }

    /// Writes the rows of calls that ended without one: aborted, dropped, or cut off by a crash. The same code
    /// serves a running sidecar and a restart.
    fn settle_orphans(&mut self) {
        if self.stalled || self.health() != Health::Good {
            return;
        }
        let unmarked = self.shared.space.lock().unmarked();
        for (slot, mark) in unmarked {
            mark_slot(&self.shared, slot, mark);
        }
        let orphans = self.shared.space.lock().take_orphans(BATCH_MAX);
        let mut jobs = Vec::with_capacity(orphans.len());
        for orphan in orphans {
            match self.shared.slots.read(orphan.slot) {
                Ok(Slot::Held(mut held)) => {
                    let reservation = Reservation::adopted(&self.shared, orphan);
                    // The slot may be behind, if it could not be marked.
                    held.flags = orphan.flags;
                    let (tenant, salt) = (held.intent.tenant_id, held.intent.salt);
                    let audit_id = AuditId::generate(self.shared.clock.now(), &*self.entropy);
                    let body = held.last_row();
                    let draft = Draft { tenant, audit_id, body, salt: Some(salt), durability: Durability::Bounded };
                    jobs.push(Job { draft, reservation, pending: false, reply: None });
                }
                // The intent was never written whole.
                Ok(Slot::Free | Slot::Broken) => Reservation::adopted(&self.shared, orphan).settle(),
                Err(e) => {
                    self.shared.failed("read an intent", &e);
                    self.stalled = true;
                    drop(Reservation::adopted(&self.shared, orphan));
                }
            }
        }
        self.write(jobs);
        if !self.stalled && self.shared.space.lock().has_orphans() {
            self.shared.inbox.poke();
        }
    }

    /// Declares rows that were found lost. What cannot be written now, for want of room or of a disk, is tried again
    /// later: shipping does not wait for it, because room may come from nothing else.
    fn declare(&mut self) {
        let holes = self.shared.losses.lock().undeclared();
        if holes.is_empty() {
            return;
        }
        if self.health() == Health::Good && !self.stalled {
            let rows = self.chains.gaps(&holes);
            if self.shared.space.lock().fits(rows.len() as u64 * RECORD_MAX as u64) {
                self.write_rows(rows);
            }
        }
        if self.shared.losses.lock().postpone() {
            self.shared.shippable.notify_one();
        }
    }

    /// Writes the heartbeats that are due, if there is room beyond what calls were promised. After damage all are: the
    /// number of each tells the shipper what is gone from its chain's end.
    fn beat(&mut self) {
        let damage = self.shared.losses.lock().take_damage();
        let rows = self.chains.heartbeats(&self.shared, damage);
        if self.shared.space.lock().fits(rows.len() as u64 * RECORD_MAX as u64) {
            self.write_rows(rows);
        } else if damage {
            self.shared.losses.lock().met_damage();
        }
    }

    /// Ends every chain, and waits until that lasts. Calls still under way keep their intents: their rows are
    /// written at the next start.
    fn close(&mut self, reason: &str, done: oneshot::Sender<()>) {
        if self.health() == Health::Good {
            let rows = self.chains.closes(reason);
            self.write_rows(rows);
            self.shared.sync.drained();
        }
        self.shared.space.lock().health = Health::Closed;
        // Whoever asked may have gone.
        let _gone = done.send(());
    }
}

/// A row was not written. If it came before its tool, the call's last row will say that the tool was not called.
fn refuse(job: Job, why: AuditUnavailable) {
    if job.pending {
        job.reservation.abandon();
    } else {
        drop(job.reservation);
    }
    if let Some(reply) = job.reply {
        drop(reply.send(Err(why)));
    }
}
