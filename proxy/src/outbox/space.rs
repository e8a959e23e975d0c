//! Room for rows: what is preallocated, what is promised to calls under way, and which intents nobody settles.

use std::sync::Arc;

use super::intent::Flags;
use super::record::RECORD_MAX;
use super::shared::Shared;

/// Bytes an `open` entry's record has at most; the first row of a tenant is written behind one.
const OPEN_MAX: usize = 4_096;
/// Bytes that are set aside for one row, whatever it will say.
pub const ROW_RESERVE: u64 = (RECORD_MAX + OPEN_MAX) as u64;

/// Why a row cannot be kept. The caller refuses with `audit_unavailable` before the tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditUnavailable {
    /// The disk is full or the outbox has reached its bound.
    #[error("no room is left for the row")]
    Full,
    /// The disk failed; a fresh segment is not yet in use.
    #[error("the outbox's disk fails")]
    Failed,
    /// As many calls are under way as there are slots, or as many rows wait as the queue holds.
    #[error("too many calls are under way")]
    Busy,
    /// The outbox is closed, or its writer is gone.
    #[error("the outbox is closed")]
    Closed,
    /// The intent or row is longer than its format allows.
    #[error("the row cannot be encoded")]
    Row,
}

/// Whether the outbox takes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// A write or sync failed; a fresh segment must be opened first.
    Failed,
    /// Closed in order: no row may follow.
    Closed,
}

/// The account of room and slots.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) health: Health,
    /// Bytes of rows the active segment still takes.
    pub(super) active_free: u64,
    /// Bytes of rows the spare segments take.
    pub(super) spare_free: u64,
    reserved: u64,
    free_slots: Vec<u32>,
    /// Slots whose call ended without its row: the writer settles them.
    orphans: Vec<Orphan>,
    /// What could not be written to slots: flags, or that they are free.
    unmarked: Vec<(u32, Mark)>,
}

/// What is to be written to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its call is settled: the slot is free.
    Free,
    /// How far its call has come.
    Flags(Flags),
}

/// A slot that nobody settles, with the room that its call had reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) slot: u32,
    pub(super) bytes: u64,
    pub(super) flags: Flags,
}

impl Space {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            health: Health::Good,
            active_free: 0,
            spare_free: 0,
            reserved: 0,
            free_slots: (0..slots).rev().collect(),
            orphans: Vec::new(),
            unmarked: Vec::new(),
        }
    }

    /// Whether rows beyond all promises still fit.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.reserved.saturating_add(bytes) <= self.active_free.saturating_add(self.spare_free)
    }

    /// Bytes of rows that could still be written.
    pub(super) fn free(&self) -> u64 {
        self.active_free.saturating_add(self.spare_free)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), AuditUnavailable> {
        match self.health {
            Health::Failed => Err(AuditUnavailable::Failed),
            Health::Closed => Err(AuditUnavailable::Closed),
            Health::Good if self.fits(bytes) => {
                self.reserved += bytes;
                Ok(())
            }
            Health::Good => Err(AuditUnavailable::Full),
        }
    }

    pub(super) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// A slot found held at start: its call ended with the process before.
    pub(super) fn adopt(&mut self, slot: u32, flags: Flags) {
        self.free_slots.retain(|free| *free != slot);
        self.reserved += ROW_RESERVE;
        self.orphans.push(Orphan { slot, bytes: ROW_RESERVE, flags });
    }

    pub(super) fn take_orphans(&mut self, max: usize) -> Vec<Orphan> {
        let from = self.orphans.len().saturating_sub(max);
        self.orphans.split_off(from)
    }

    pub(super) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Slots that do not say what they should. Until they do no segment is deleted: the rows that tell the
    /// same stay to be found at the next start.
    pub(super) fn unmarked(&self) -> Vec<(u32, Mark)> {
        self.unmarked.clone()
    }

    fn marked(&mut self, slot: u32, mark: Mark, done: bool) {
        self.unmarked.retain(|(other, _)| *other != slot);
        if !done {
            self.unmarked.push((slot, mark));
        } else if mark == Mark::Free {
            self.free_slots.push(slot);
        }
    }
}

/// The room for a call's rows, and its intent's slot. Consumed by appending.
///
/// Dropped with an intent in it, it leaves the call to the writer, which records the outcome `unknown`.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    slot: Option<u32>,
    bytes: u64,
    flags: Flags,
}

impl Reservation {
    /// Room for one row, without an intent.
    pub(super) fn room(shared: &Arc<Shared>) -> Result<Self, AuditUnavailable> {
        shared.space.lock().reserve(ROW_RESERVE)?;
        Ok(Self { shared: Arc::clone(shared), slot: None, bytes: ROW_RESERVE, flags: Flags::default() })
    }

    /// Room for `rows` rows and a slot that `write` fills.
    pub(super) fn intent(
        shared: &Arc<Shared>,
        rows: u64,
        write: impl FnOnce(u32) -> std::io::Result<bool>,
    ) -> Result<Self, AuditUnavailable> {
        let bytes = rows * ROW_RESERVE;
        let slot = {
            let mut space = shared.space.lock();
            let slot = space.free_slots.pop().ok_or(AuditUnavailable::Busy)?;
            if let Err(refused) = space.reserve(bytes) {
                space.free_slots.push(slot);
                return Err(refused);
            }
            slot
        };
        let refused = match write(slot) {
            Ok(true) => {
                let flags = Flags::default();
                return Ok(Self { shared: Arc::clone(shared), slot: Some(slot), bytes, flags });
            }
            Ok(false) => AuditUnavailable::Row,
            Err(e) => {
                shared.failed("write an intent", &e);
                AuditUnavailable::Failed
            }
        };
        shared.space.lock().release(bytes);
        mark_slot(shared, slot, Mark::Free);
        Err(refused)
    }

    /// A slot left by a call that nobody will settle.
    pub(super) fn adopted(shared: &Arc<Shared>, orphan: Orphan) -> Self {
        Self { shared: Arc::clone(shared), slot: Some(orphan.slot), bytes: orphan.bytes, flags: orphan.flags }
    }

    /// The row is in the log: the slot is cleared, the room given back. Dying before the slot is cleared is
    /// harmless: at the next start the row is found in the log, which cannot have been deleted yet.
    pub(super) fn settle(mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.shared.space.lock().release(bytes);
        if let Some(slot) = self.slot.take() {
            mark_slot(&self.shared, slot, Mark::Free);
        }
    }

    /// The `decision` row is in the log; the room for the `outcome` row stays.
    pub(super) fn decided(mut self) -> Self {
        // Dying before the mark: the pending row in the log says the same at the next start.
        self.flags.decided = true;
        self.mark();
        let freed = self.bytes.saturating_sub(ROW_RESERVE);
        self.bytes -= freed;
        self.shared.space.lock().release(freed);
        self
    }

    /// Gives the call up before its tool was called: the row will say so.
    pub(super) fn abandon(mut self) {
        self.flags.not_called = true;
        self.mark();
    }

    fn mark(&self) {
        if let Some(slot) = self.slot {
            mark_slot(&self.shared, slot, Mark::Flags(self.flags));
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.slot.take() {
            Some(slot) => {
                self.shared.space.lock().orphans.push(Orphan { slot, bytes: self.bytes, flags: self.flags });
                self.shared.inbox.poke();
            }
            None => self.shared.space.lock().release(self.bytes),
        }
    }
}

/// Writes to a slot what it must say; else remembers to try again.
pub(super) fn mark_slot(shared: &Shared, slot: u32, mark: Mark) {
    let written = match mark {
        Mark::Free => shared.slots.clear(slot),
        Mark::Flags(flags) => shared.slots.mark(slot, flags),
    };
    if let Err(e) = &written {
        shared.failed("mark an intent", e);
    }
    shared.space.lock().marked(slot, mark, written.is_ok());
}
