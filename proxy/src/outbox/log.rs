//! The log as its writer sees it: the active segment, and the way on when a segment fails.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::disk::DiskFile;
use super::record::{Head, put_head};
use super::segments::{CUTS_MAX, HEAD_MAX, Position, Segment, Spare, name, usable};
use super::shared::Shared;
use super::space::Health;

/// Why records could not be written.
#[derive(Debug)]
pub(super) enum LogError {
    /// No spare segment is left.
    Full,
    /// The disk failed.
    Io(io::Error),
}

struct Active {
    number: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
}

/// Records that are written and not known to last: written again if their segment fails.
struct Chunk {
    segment: u64,
    end: u64,
    bytes: Vec<u8>,
}

/// The writer's end of the log.
pub(super) struct Log {
    shared: Arc<Shared>,
    active: Option<Active>,
    unsynced: VecDeque<Chunk>,
    unsynced_bytes: u64,
    /// Segments that failed, and how many of their bytes hold.
    cuts: Vec<(u64, u64)>,
    /// The segment that was active when the disk failed, until a fresh one is in use.
    failed: Option<u64>,
}

impl Log {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, active: None, unsynced: VecDeque::new(), unsynced_bytes: 0, cuts: Vec::new(), failed: None }
    }

    /// Bytes of records that the active segment still takes.
    pub(super) fn room(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| {
            let head = if active.end == 0 { HEAD_MAX } else { 0 };
            self.shared.options.segment_bytes.saturating_sub(active.end + head)
        })
    }

    /// Moves on to the next spare segment.
    pub(super) fn advance(&mut self) -> Result<(), LogError> {
        let spare = self.take_spare().ok_or(LogError::Full)?;
        let mut segments = self.shared.segments.lock();
        if let Some(old) = self.active.take()
            && let Some(segment) = segments.get_mut(old.number)
        {
            segment.end = Some(old.end);
        }
        self.active = Some(begin(&mut segments.written, spare, 0));
        Ok(())
    }

    /// Writes records with one write. They fit, by [`Self::room`].
    pub(super) fn write(&mut self, records: &[u8]) -> Result<(Position, Arc<dyn DiskFile>), LogError> {
        self.wait_for_sync();
        let active = self.active.as_mut().ok_or(LogError::Full)?;
        let mut bytes = Vec::new();
        if active.end == 0 {
            put_head(&mut bytes, &Head { number: active.number, cuts: self.cuts.clone(), carried: 0 });
        }
        let head = bytes.len();
        bytes.extend_from_slice(records);
        // Dying inside the write leaves a torn record that nobody was told of; it is cut at the next start.
        active.file.write_at(&bytes, active.end).map_err(LogError::Io)?;
        // Dying from here on loses nothing: the records have left the process.
        active.end += bytes.len() as u64;
        let position = Position { segment: active.number, offset: active.end };
        let file = Arc::clone(&active.file);
        self.unsynced_bytes += records.len() as u64;
        self.unsynced.push_back(Chunk {
            segment: position.segment,
            end: position.offset,
            bytes: bytes.split_off(head),
        });
        let room = self.room();
        self.shared.space.lock().active_free = room;
        Ok((position, file))
    }

    /// Puts a fresh segment in use after a failure, with every record that may have been lost, and makes it last.
    pub(super) fn mend(&mut self) -> Result<(), LogError> {
        self.shared.sync.halt();
        self.forget_synced();
        self.cut_failed();
        if self.cuts.len() > CUTS_MAX {
            return Err(LogError::Io(io::Error::other("too many segments have failed")));
        }
        let spare = self.take_spare().ok_or(LogError::Full)?;
        let mut bytes = Vec::new();
        let head = Head { number: spare.number, cuts: self.cuts.clone(), carried: self.unsynced_bytes };
        put_head(&mut bytes, &head);
        for chunk in &self.unsynced {
            bytes.extend_from_slice(&chunk.bytes);
        }
        // Dying before this is whole: the head does not count without all it carries, so the old segments are
        // read as far as they go. Dying after: they are read up to their cuts, then this one. Same records.
        if let Err(e) = spare.file.write_at(&bytes, 0).and_then(|()| spare.file.sync()) {
            if self.shared.disk.remove(&name(spare.number)).is_err() {
                // It stays, void, until the keeper can remove it.
                self.cuts.push((spare.number, 0));
                let void = Segment { number: spare.number, file: spare.file, synced: 0, end: Some(0) };
                self.shared.segments.lock().written.push_back(void);
            }
            return Err(LogError::Io(e));
        }
        self.end_failed();
        let end = bytes.len() as u64;
        self.active = Some(begin(&mut self.shared.segments.lock().written, spare, end));
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        let active_free = self.room();
        let mut account = self.shared.space.lock();
        account.active_free = active_free;
        if account.health == Health::Failed {
            account.health = Health::Good;
        }
        drop(account);
        self.shared.sync.resume();
        self.shared.shippable.notify_one();
        Ok(())
    }

    fn take_spare(&self) -> Option<Spare> {
        let spare = self.shared.segments.lock().spares.pop_front();
        if spare.is_some() {
            let mut room = self.shared.space.lock();
            room.spare_free = room.spare_free.saturating_sub(usable(self.shared.options.segment_bytes));
        }
        // The keeper makes the next one.
        self.shared.keeper.ring();
        spare
    }

    /// Holds the writer while too much would have to be written again.
    fn wait_for_sync(&mut self) {
        let max = self.shared.options.segment_bytes / 2;
        self.forget_synced();
        while self.unsynced_bytes > max && !self.shared.sync.failed() {
            self.shared.sync.wait_progress();
            self.forget_synced();
        }
    }

    fn forget_synced(&mut self) {
        let segments = self.shared.segments.lock();
        while let Some(chunk) = self.unsynced.front() {
            if segments.synced(chunk.segment) < chunk.end {
                break;
            }
            self.unsynced_bytes -= chunk.bytes.len() as u64;
            self.unsynced.pop_front();
        }
    }

    /// Where every segment with records that may be lost surely lasts. Only the fresh segment's head makes that
    /// their end: until it is whole, they are read as far as they go if the process dies.
    fn cut_failed(&mut self) {
        let segments = self.shared.segments.lock();
        let mut failed: Vec<u64> = self.unsynced.iter().map(|chunk| chunk.segment).collect();
        failed.extend(self.failed.take());
        failed.extend(self.active.take().map(|active| active.number));
        self.failed = failed.last().copied();
        for number in failed {
            self.cuts.retain(|(other, _)| *other != number);
            self.cuts.push((number, segments.synced(number)));
        }
        // A cut is told by every later head until its segment is gone.
        self.cuts.retain(|(number, _)| segments.written.iter().any(|s| s.number == *number));
    }

    /// The cuts are on disk: the segments end there.
    fn end_failed(&mut self) {
        let mut segments = self.shared.segments.lock();
        self.failed = None;
        for (number, end) in &self.cuts {
            if let Some(segment) = segments.get_mut(*number) {
                segment.end = Some(*end);
            }
        }
    }
}

fn begin(written: &mut VecDeque<Segment>, spare: Spare, end: u64) -> Active {
    written.push_back(Segment { number: spare.number, file: Arc::clone(&spare.file), synced: end, end: None });
    Active { number: spare.number, file: spare.file, end }
}
