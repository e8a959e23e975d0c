//! Opening: reads what the process before left, and hands it to the code that runs normally.
//!
//! Nothing is appended to an old segment. Its torn tail, which nobody was told of, is left unread; the new
//! boot's entries go to fresh segments, the rows of its unsettled calls first. Damage before whole entries is passed
//! over: the shipper notices which numbers are gone, and has them declared.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use aegis_core::id::{AgentId, BootId, ExecutionId, TenantId};
use aegis_core::pattern::ToolName;
use aegis_ledger::hash::Hash;

use super::disk::{Disk, DiskFile, read_whole};
use super::heads::Heads;
use super::intent::{Flags, Held, Slot, Slots};
use super::losses::{Losses, Track};
use super::record::{self, Facts, Kind, Next, Piece};
use super::segments::{Position, Segment, Segments, name, number};

/// A call that the process before left without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCall {
    /// The call.
    pub execution_id: ExecutionId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// On behalf of whom.
    pub agent_id: AgentId,
    /// The tool.
    pub tool: ToolName,
    /// SHA-256 of its idempotency key, if it had one: a repetition must be answered `outcome_unknown`.
    pub idempotency: Option<Hash>,
}

/// What was found at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Calls whose outcome is unknown; their rows are being written.
    pub unknown: Vec<UnknownCall>,
    /// Rows that wait to be shipped.
    pub rows: u64,
    /// Segments that ended in a torn record.
    pub torn: u64,
    /// Places of damage, with whole entries behind them.
    pub damaged: u64,
}

/// What the log says of the calls whose slots are held.
#[derive(Default)]
struct Seen(HashMap<ExecutionId, Option<Kind>>);

impl Seen {
    fn note(&mut self, execution: ExecutionId, kind: Kind) {
        if let Some(seen) = self.0.get_mut(&execution) {
            // Order of the log: `pending` before `outcome`.
            *seen = Some(kind);
        }
    }

    fn last(&self, execution: ExecutionId) -> Option<Kind> {
        self.0.get(&execution).copied().flatten()
    }
}

/// How far the chains are acknowledged and how far they reach.
struct Tracks {
    acked: Track,
    read: Track,
    ends: HashMap<(TenantId, BootId), u64>,
}

/// What opening found.
pub(super) struct Found {
    pub(super) segments: Segments,
    pub(super) losses: Losses,
    /// Where the chains of the boots before ended.
    pub(super) heads: Heads,
    /// Slots whose calls must be settled.
    pub(super) unsettled: Vec<(u32, Flags)>,
    pub(super) recovery: Recovery,
}

/// Reads slots and segments.
pub(super) fn read(disk: &dyn Disk, slots: &Slots, watermark: Option<Position>) -> io::Result<Found> {
    let held = held_slots(slots)?;
    let mut seen = Seen(held.iter().map(|(_, held)| (held.intent.execution_id, None)).collect());
    let heads = Heads::load(disk)?;
    let mut tracks = Tracks { acked: Track::behind(&heads), read: Track::behind(&heads), ends: HashMap::new() };
    let mut found = Found {
        segments: Segments::default(),
        losses: Losses::default(),
        heads,
        unsettled: Vec::new(),
        recovery: Recovery::default(),
    };
    scan(disk, watermark, &mut seen, &mut tracks, &mut found)?;
    found.losses = Losses::found(tracks.acked, tracks.ends);
    for (slot, held) in held {
        let mut flags = held.flags;
        let settled = match seen.last(held.intent.execution_id) {
            Some(Kind::Decision | Kind::Outcome) => true,
            Some(Kind::Pending) => {
                flags.decided = true;
                slots.mark(slot, flags)?;
                false
            }
            Some(Kind::Close | Kind::Other | Kind::Head) | None => false,
        };
        if settled {
            // The process died between the row and the clearing of the slot.
            slots.clear(slot)?;
            continue;
        }
        found.unsettled.push((slot, flags));
        if !flags.not_called {
            let intent = held.intent;
            found.recovery.unknown.push(UnknownCall {
                execution_id: intent.execution_id,
                tenant_id: intent.tenant_id,
                agent_id: intent.agent_id,
                tool: intent.tool,
                idempotency: intent.idempotency,
            });
        }
    }
    found.recovery.rows = found.segments.rows;
    Ok(found)
}

fn held_slots(slots: &Slots) -> io::Result<Vec<(u32, Held)>> {
    let mut held = Vec::new();
    for (index, slot) in (0_u32..).zip(slots.read_all()?) {
        match slot {
            Slot::Free => {}
            Slot::Held(call) => held.push((index, *call)),
            Slot::Broken => slots.clear(index)?,
        }
    }
    Ok(held)
}

/// Reads all segments, oldest first; deletes those that were never used.
fn scan(
    disk: &dyn Disk,
    watermark: Option<Position>,
    seen: &mut Seen,
    tracks: &mut Tracks,
    found: &mut Found,
) -> io::Result<()> {
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|file| number(file)).collect();
    numbers.sort_unstable();
    found.segments.acked = watermark.unwrap_or_default();
    // Never a number again: everything before the watermark counts as acknowledged.
    found.segments.next_number = numbers.last().copied().unwrap_or(0).max(found.segments.acked.segment) + 1;
    let (files, cuts) = read_heads(disk, &numbers)?;
    for (number, file) in files {
        let bytes = read_whole(&*file)?;
        let cut = cuts.get(&number).and_then(|cut| bytes.get(..usize::try_from(*cut).ok()?));
        let end = scan_segment(cut.unwrap_or(&bytes), number, seen, tracks, found);
        let segment = Segment { number, file, synced: end, end: Some(end) };
        found.segments.written.push_back(segment);
    }
    // What is read as good must not vanish with a power cut after it was shipped: the new boot names it.
    for segment in &found.segments.written {
        segment.file.sync()?;
    }
    Ok(())
}

type Files = Vec<(u64, Arc<dyn DiskFile>)>;

/// The segments in use, and what later segments say about the ends of earlier ones.
fn read_heads(disk: &dyn Disk, numbers: &[u64]) -> io::Result<(Files, BTreeMap<u64, u64>)> {
    let (mut files, mut cuts) = (Files::new(), BTreeMap::new());
    for number in numbers {
        let Some(file) = disk.open(&name(*number))? else { continue };
        let bytes = read_whole(&*file)?;
        match record::head(&bytes) {
            Some((head, _)) if head.number == *number => {
                cuts.extend(head.cuts);
                files.push((*number, file));
            }
            // The head alone is damaged: what it said of other segments is lost, which only reads rows twice.
            None if !record::has_head(&bytes) && record::resync(&bytes, 0).is_some() => files.push((*number, file)),
            // Never used, or torn before anyone was told of its records.
            Some(_) | None => disk.remove(&name(*number))?,
        }
    }
    Ok((files, cuts))
}

/// Takes in the records of one segment; where they end.
fn scan_segment(bytes: &[u8], number: u64, seen: &mut Seen, tracks: &mut Tracks, found: &mut Found) -> u64 {
    let acked = found.segments.acked;
    let is_acked = |end: usize| Position { segment: number, offset: end as u64 } <= acked;
    let mut pieces = record::pieces(bytes);
    for piece in &mut pieces {
        match piece {
            Piece::Record { facts: Facts { kind: Kind::Head, .. }, .. } => {}
            Piece::Record { facts, at, end, .. } => {
                // Behind a damaged head rows may stand that another segment has too.
                if !tracks.read.is_repeated(&facts) {
                    found.heads.note(&facts);
                    seen.note(facts.execution, facts.kind);
                }
                if is_acked(end) {
                    tracks.acked.follow(&facts);
                } else {
                    found.segments.add_row((end - at) as u64, facts.written_at);
                    // Lost rows count as waiting until what is behind them is acknowledged.
                    found.segments.rows += tracks.read.hole(&facts).map_or(0, |hole| hole.rows());
                    tracks.ends.insert((facts.tenant, facts.boot), facts.seq);
                }
                tracks.read.follow(&facts);
            }
            Piece::Damage { at, end } => {
                found.recovery.damaged += 1;
                tracing::error!(segment = number, offset = at, bytes = end - at, "a segment of the outbox is damaged");
                if !is_acked(end) {
                    found.segments.bytes += (end - at) as u64;
                }
            }
        }
    }
    let end = pieces.end();
    if matches!(record::get(bytes, end), Next::Broken) {
        found.recovery.torn += 1;
        tracing::warn!(segment = number, offset = end, "a segment ends in a torn record");
    }
    end as u64
}
