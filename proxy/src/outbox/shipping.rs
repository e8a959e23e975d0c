//! What the shipper asks of the outbox: the oldest unacknowledged rows, and that they may go.

use std::io;

use aegis_core::id::{BootId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::wire::Ack;

use super::record::{Kind, Next, RECORD_MAX, get};
use super::segments::Position;
use super::shared::Shared;

/// A row of a batch.
#[derive(Debug, Clone, Copy)]
struct Row {
    tenant: TenantId,
    boot: BootId,
    seq: u64,
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

/// Reads a batch of at most `rows_max` rows and about `bytes_max` bytes; `None` if nothing waits.
pub(super) fn read(shared: &Shared, rows_max: usize, bytes_max: usize) -> io::Result<Option<Batch>> {
    loop {
        let Some((start, file, readable)) = shared.segments.lock().readable() else { return Ok(None) };
        let window = usize::try_from(readable - start.offset).unwrap_or(usize::MAX).min(bytes_max.max(RECORD_MAX));
        let mut bytes = vec![0; window];
        let read = file.read_at(&mut bytes, start.offset)?;
        bytes.truncate(read);
        let (batch, end) = collect(&bytes, start, rows_max);
        if !batch.is_empty() {
            return Ok(Some(batch));
        }
        let mut segments = shared.segments.lock();
        if segments.acked != start {
            continue;
        }
        if end.offset > start.offset {
            // Only the segment's head stood there.
            segments.acked = end;
        } else {
            // Damage in what was read as good before. The rows behind it in this segment cannot be found; the
            // control plane will see their numbers missing, and says so.
            tracing::error!(segment = start.segment, offset = start.offset, "a segment of the outbox is damaged");
            shared.failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            segments.acked = Position { segment: start.segment, offset: readable };
        }
    }
}

fn collect(bytes: &[u8], start: Position, rows_max: usize) -> (Batch, Position) {
    let mut batch = Batch { lines: Vec::with_capacity(bytes.len()), start, rows: Vec::new() };
    let (mut at, mut position) = (0, start);
    while batch.rows.len() < rows_max
        && let Next::Record { facts, line, end } = get(bytes, at)
    {
        position.offset = start.offset + end as u64;
        if facts.kind != Kind::Head {
            batch.lines.extend_from_slice(line);
            batch.lines.push(b'\n');
            let bytes = (end - at) as u64;
            let (tenant, boot, seq) = (facts.tenant, facts.boot, facts.seq);
            batch.rows.push(Row { tenant, boot, seq, bytes, end: position });
        }
        at = end;
    }
    (batch, position)
}

/// Forgets the rows of the batch that the control plane has committed, up to the first that it has not; how many.
pub(super) fn acknowledge(shared: &Shared, batch: &Batch, acks: &[Ack]) -> usize {
    let covered =
        |row: &&Row| acks.iter().any(|ack| ack.tenant_id == row.tenant && ack.boot == row.boot && ack.seq >= row.seq);
    let done: Vec<&Row> = batch.rows.iter().take_while(covered).collect();
    let Some(last) = done.last() else { return 0 };
    let mut segments = shared.segments.lock();
    if segments.acked != batch.start {
        return 0;
    }
    segments.acked = last.end;
    segments.rows = segments.rows.saturating_sub(done.len() as u64);
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
pub(super) fn written_at(file: &dyn super::disk::DiskFile, at: Position) -> Option<Timestamp> {
    let mut bytes = vec![0; RECORD_MAX];
    let read = file.read_at(&mut bytes, at.offset).ok()?;
    match get(bytes.get(..read)?, 0) {
        Next::Record { facts, .. } if facts.kind != Kind::Head => Some(facts.written_at),
        Next::Record { .. } | Next::End | Next::Short | Next::Broken => None,
    }
}
