//! What the shipper asks of the outbox: the oldest unacknowledged rows, and that they may go.

use std::io;

use aegis_core::time::Timestamp;
use aegis_ledger::wire::Ack;

use super::disk::DiskFile;
use super::losses::{Hole, Losses, Passage};
use super::record::{self, Facts, Kind, Next, RECORD_MAX, get};
use super::segments::Position;
use super::shared::Shared;

/// A row of a batch.
#[derive(Debug, Clone, Copy)]
struct Row {
    facts: Facts,
    bytes: u64,
    end: Position,
}

/// The oldest unacknowledged rows, in the order they were written.
#[derive(Debug)]
pub struct Batch {
    /// One signed entry a line (NDJSON).
    pub lines: Vec<u8>,
    start: Position,
    rows: Vec<Row>,
}

impl Batch {
    /// How many rows it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Reads a batch of at most `rows_max` rows and about `bytes_max` bytes; `None` if nothing waits that can be shipped.
pub(super) fn read(shared: &Shared, rows_max: usize, bytes_max: usize) -> io::Result<Option<Batch>> {
    loop {
        let Some((start, file, readable)) = shared.segments.lock().readable() else { return Ok(None) };
        let window = usize::try_from(readable - start.offset).unwrap_or(usize::MAX).min(bytes_max.max(RECORD_MAX));
        let mut bytes = vec![0; window];
        let read = file.read_at(&mut bytes, start.offset)?;
        bytes.truncate(read);
        let (mut batch, end, holes) = collect(&bytes, start, rows_max, &shared.losses.lock());
        if !batch.is_empty() {
            return Ok(declarations(shared, &holes).map(|mut lines| {
                lines.append(&mut batch.lines);
                Batch { lines, ..batch }
            }));
        }
        if end.offset == start.offset {
            pass_damage(shared, &*file, start, readable)?;
            continue;
        }
        // Only the segment's head stood there.
        let mut segments = shared.segments.lock();
        if segments.acked == start {
            segments.acked = end;
        }
    }
}

/// The rows from `start` on, in as far as nothing is missing between them; and what is missing before the first.
fn collect(bytes: &[u8], start: Position, rows_max: usize, losses: &Losses) -> (Batch, Position, Vec<Hole>) {
    let mut batch = Batch { lines: Vec::with_capacity(bytes.len()), start, rows: Vec::new() };
    let (mut at, mut position) = (0, start);
    let (mut track, mut before) = (losses.acked.clone(), Vec::new());
    while batch.rows.len() < rows_max
        && let Next::Record { facts, line, end } = get(bytes, at)
    {
        if facts.kind != Kind::Head {
            let holes = losses.holes(&track, &facts);
            if batch.is_empty() {
                before = holes;
            } else if !holes.is_empty() {
                break;
            }
            track.follow(&facts);
            batch.lines.extend_from_slice(line);
            batch.lines.push(b'\n');
            let end = Position { offset: start.offset + end as u64, ..start };
            batch.rows.push(Row { facts, bytes: end.offset - position.offset, end });
        }
        position.offset = start.offset + end as u64;
        at = end;
    }
    (batch, position, before)
}

/// The declarations of these holes, to be shipped ahead of what is behind them; `None` until the writer has written
/// them.
fn declarations(shared: &Shared, holes: &[Hole]) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for hole in holes {
        let passage = shared.losses.lock().pass(*hole);
        match passage {
            Passage::Bare => {}
            Passage::Behind(declared, at) if shared.segments.lock().synced(at.segment) >= at.offset => {
                lines.extend_from_slice(&declared);
            }
            // The syncer rings when it has come so far.
            Passage::Behind(..) => return None,
            Passage::Wait => {
                shared.inbox.poke();
                return None;
            }
        }
    }
    Some(lines)
}

/// Nothing can be read here that was good before: goes on at the next whole entry of the segment, else at its end.
/// Which rows are gone is told by the number of the next one; the heartbeat that is written now has one.
fn pass_damage(shared: &Shared, file: &dyn DiskFile, start: Position, readable: u64) -> io::Result<()> {
    let mut rest = vec![0; usize::try_from(readable - start.offset).map_err(io::Error::other)?];
    let read = file.read_at(&mut rest, start.offset)?;
    let next = record::resync(rest.get(..read).unwrap_or_default(), 0).map(|at| start.offset + at as u64);
    let mut segments = shared.segments.lock();
    if segments.acked != start {
        return Ok(());
    }
    let offset = next.unwrap_or(readable);
    segments.acked = Position { segment: start.segment, offset };
    segments.bytes = segments.bytes.saturating_sub(offset - start.offset);
    drop(segments);
    tracing::error!(segment = start.segment, offset = start.offset, "a segment of the outbox is damaged");
    shared.failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    shared.losses.lock().met_damage();
    shared.inbox.poke();
    Ok(())
}

/// Forgets the rows of the batch that the control plane has committed, up to the first that it has not; how many.
pub(super) fn acknowledge(shared: &Shared, batch: &Batch, acks: &[Ack]) -> usize {
    let is_covered =
        |row: &Facts| acks.iter().any(|ack| ack.tenant_id == row.tenant && ack.boot == row.boot && ack.seq >= row.seq);
    let covered = |row: &&Row| is_covered(&row.facts);
    let done: Vec<&Row> = batch.rows.iter().take_while(covered).collect();
    let Some(last) = done.last() else { return 0 };
    let mut segments = shared.segments.lock();
    if segments.acked != batch.start {
        return 0;
    }
    segments.acked = last.end;
    let mut losses = shared.losses.lock();
    let gone: u64 = done.iter().map(|row| losses.acknowledge(&row.facts)).sum();
    drop(losses);
    segments.rows = segments.rows.saturating_sub(done.len() as u64 + gone);
    segments.bytes = segments.bytes.saturating_sub(done.iter().map(|row| row.bytes).sum());
    segments.oldest = None;
    let next = segments.readable();
    let reached = segments.acked;
    let waiting = segments.rows > 0;
    drop(segments);
    if waiting {
        let oldest = next.and_then(|(at, file, _)| written_at(&*file, at)).unwrap_or_else(|| shared.clock.now());
        let mut segments = shared.segments.lock();
        if segments.rows > 0 {
            segments.oldest = Some(oldest);
        }
    }
    // Losing the watermark costs a few duplicates, which the control plane recognises.
    if let Err(e) = shared.watermark.write(reached) {
        shared.failed("keep the watermark", &e);
    }
    shared.keeper.ring();
    done.len()
}

/// When the record at this place was written.
pub(super) fn written_at(file: &dyn DiskFile, at: Position) -> Option<Timestamp> {
    let mut bytes = vec![0; RECORD_MAX];
    let read = file.read_at(&mut bytes, at.offset).ok()?;
    match get(bytes.get(..read)?, 0) {
        Next::Record { facts, .. } if facts.kind != Kind::Head => Some(facts.written_at),
        Next::Record { .. } | Next::End | Next::Short | Next::Broken => None,
    }
}
