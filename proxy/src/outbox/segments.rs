//! Which segments exist, how far they can be read, and how far the control plane has acknowledged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use aegis_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::disk::DiskFile;
use super::record::RECORD_MAX;

/// Bytes a segment's head may have at most.
pub(super) const HEAD_MAX: u64 = 4_096;
/// Failed segments one outbox remembers at most; their list must fit a head.
pub(super) const CUTS_MAX: usize = 64;

const PREFIX: &str = "segment-";

/// The file name of a segment.
pub(super) fn name(number: u64) -> String {
    format!("{PREFIX}{number:020}")
}

/// The number in a segment's file name.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX).filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Bytes of rows that a fresh segment surely takes: its head, and a tail shorter than one record, are lost.
pub(super) fn usable(size: u64) -> u64 {
    size.saturating_sub(HEAD_MAX + RECORD_MAX as u64)
}

/// A place in the log, between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Position {
    /// Bytes of its stored form.
    pub(super) const BYTES: usize = 20;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let body = [self.segment.to_le_bytes(), self.offset.to_le_bytes()].concat();
        for (to, from) in bytes.iter_mut().zip(body.iter().chain(&crc32fast::hash(&body).to_le_bytes())) {
            *to = *from;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.get(..Self::BYTES)?.split_at(16);
        let (segment, offset) = body.split_at(8);
        (crc32fast::hash(body).to_le_bytes() == checksum).then_some(())?;
        Some(Self {
            segment: u64::from_le_bytes(segment.try_into().ok()?),
            offset: u64::from_le_bytes(offset.try_into().ok()?),
        })
    }
}

/// An empty, preallocated segment.
pub(super) struct Spare {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
}

/// A segment with records.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes that are known to last; nothing beyond is shipped.
    pub(super) synced: u64,
    /// Its final length, once nothing more is written to it.
    pub(super) end: Option<u64>,
}

/// The segments, oldest first, and the spares.
#[derive(Default)]
pub(super) struct Segments {
    pub(super) written: VecDeque<Segment>,
    pub(super) spares: VecDeque<Spare>,
    pub(super) next_number: u64,
    /// Everything before is acknowledged.
    pub(super) acked: Position,
    /// Rows written and not acknowledged.
    pub(super) rows: u64,
    /// Bytes of those rows.
    pub(super) bytes: u64,
    /// When the oldest of them was written.
    pub(super) oldest: Option<Timestamp>,
}

impl Segments {
    /// Files that hold space.
    pub(super) fn count(&self) -> u64 {
        (self.written.len() + self.spares.len()) as u64
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Segment> {
        self.written.iter_mut().find(|s| s.number == number)
    }

    pub(super) fn synced(&self, number: u64) -> u64 {
        self.written.iter().find(|s| s.number == number).map_or(0, |s| s.synced)
    }

    pub(super) fn add_row(&mut self, bytes: u64, written_at: Timestamp) {
        self.rows += 1;
        self.bytes += bytes;
        self.oldest.get_or_insert(written_at);
    }

    /// The place where the next unacknowledged record begins, and how far its segment can be read.
    pub(super) fn readable(&mut self) -> Option<(Position, Arc<dyn DiskFile>, u64)> {
        loop {
            let acked = self.acked;
            let segment = self.written.iter().find(|s| s.number >= acked.segment)?;
            if segment.number > acked.segment {
                self.acked = Position { segment: segment.number, offset: 0 };
            } else if acked.offset < segment.synced {
                return Some((acked, Arc::clone(&segment.file), segment.synced));
            } else if segment.end.is_some_and(|end| acked.offset >= end) {
                // Another begins behind it, or will.
                self.acked = Position { segment: segment.number + 1, offset: 0 };
            } else {
                return None;
            }
        }
    }

    /// The oldest segment, if all of it is acknowledged and nothing more will be written to it.
    pub(super) fn disposable(&self) -> Option<u64> {
        let first = self.written.front()?;
        let past = self.acked.segment > first.number
            || (self.acked.segment == first.number && first.end.is_some_and(|end| self.acked.offset >= end));
        (first.end.is_some() && past).then_some(first.number)
    }
}

/// Where the watermark is kept. Losing it only ships rows again that the control plane knows.
pub(super) struct Watermark(pub(super) Arc<dyn DiskFile>);

impl Watermark {
    pub(super) fn read(&self) -> Option<Position> {
        let mut bytes = [0; Position::BYTES];
        self.0.read_at(&mut bytes, 0).ok()?;
        Position::from_bytes(&bytes)
    }

    pub(super) fn write(&self, position: Position) -> io::Result<()> {
        self.0.write_at(&position.to_bytes(), 0)
    }
}
