//! The outbox's records: length, checksum, facts that recovery needs, and the signed entry's line.
//!
//! `len u32 | crc32 u32 | facts (88 bytes) | line`, little-endian; `len` and the checksum cover facts and
//! line. Segments are born full of zeros, so a length of zero is the end. A record is whole or it is not there;
//! behind one that is damaged, the next whole one is searched for.

use aegis_core::decision::Outcome;
use aegis_core::id::{BootId, ExecutionId, SourceId, TenantId};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::{Body, ENTRY_BYTES_MAX, Entry};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes before the facts.
const FRAME: usize = 8;
/// Bytes of the facts.
const FACTS: usize = 88;
/// Bytes that stand beside the entry in its line at most: signature, batch path, salt, names.
const BESIDE_MAX: usize = 1_536;
/// Bytes one record may have at most.
pub(super) const RECORD_MAX: usize = FRAME + FACTS + ENTRY_BYTES_MAX + BESIDE_MAX;

/// What kind of record it is, as far as recovery must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A source's last entry.
    Close = 2,
    /// A call with its outcome.
    Decision = 4,
    /// A call whose outcome follows.
    Pending = 5,
    /// The outcome of a pending call.
    Outcome = 6,
    /// Any other entry.
    Other = 1,
    /// Not an entry: the head of a segment.
    Head = 7,
}

impl Kind {
    fn of(body: &Body) -> Self {
        match body {
            Body::Decision(row) if row.outcome == Outcome::Pending => Self::Pending,
            Body::Decision(_) => Self::Decision,
            Body::Outcome(_) => Self::Outcome,
            Body::Close(_) => Self::Close,
            Body::Open(_)
            | Body::Heartbeat(_)
            | Body::Gap(_)
            | Body::Admin(_)
            | Body::Key(_)
            | Body::Enrol(_)
            | Body::Policy(_)
            | Body::Kill(_)
            | Body::DailyStatement(_)
            | Body::Note(_) => Self::Other,
        }
    }

    fn read(byte: u8) -> Option<Self> {
        [Self::Close, Self::Decision, Self::Pending, Self::Outcome, Self::Other, Self::Head]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What a record says without reading its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) tenant: TenantId,
    pub(super) source: SourceId,
    pub(super) boot: BootId,
    pub(super) seq: u64,
    pub(super) written_at: Timestamp,
    /// The call it is about; nil if none.
    pub(super) execution: ExecutionId,
}

impl Facts {
    pub(super) fn of(entry: &Entry) -> Self {
        let execution = match &entry.body {
            Body::Decision(row) => row.execution_id,
            Body::Outcome(row) => row.execution_id,
            Body::Open(_)
            | Body::Close(_)
            | Body::Heartbeat(_)
            | Body::Gap(_)
            | Body::Admin(_)
            | Body::Key(_)
            | Body::Enrol(_)
            | Body::Policy(_)
            | Body::Kill(_)
            | Body::DailyStatement(_)
            | Body::Note(_) => ExecutionId::from_uuid(Uuid::nil()),
        };
        let header = &entry.header;
        Self {
            kind: Kind::of(&entry.body),
            tenant: header.tenant_id,
            source: header.source,
            boot: header.boot,
            seq: header.seq,
            written_at: header.ts,
            execution,
        }
    }

    fn head() -> Self {
        Self {
            kind: Kind::Head,
            tenant: TenantId::from_uuid(Uuid::nil()),
            source: SourceId::from_uuid(Uuid::nil()),
            boot: BootId::from_uuid(Uuid::nil()),
            seq: 0,
            written_at: Timestamp::default(),
            execution: ExecutionId::from_uuid(Uuid::nil()),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.kind as u8, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(self.tenant.as_uuid().as_bytes());
        out.extend(self.source.as_uuid().as_bytes());
        out.extend(self.boot.as_uuid().as_bytes());
        out.extend(self.execution.as_uuid().as_bytes());
        out.extend(self.seq.to_le_bytes());
        out.extend(self.written_at.as_micros().to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let uuid = |at: usize| bytes.get(at..at + 16).and_then(|b| Uuid::from_slice(b).ok());
        let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
        Some(Self {
            kind: Kind::read(*bytes.first()?)?,
            tenant: TenantId::from_uuid(uuid(8)?),
            source: SourceId::from_uuid(uuid(24)?),
            boot: BootId::from_uuid(uuid(40)?),
            execution: ExecutionId::from_uuid(uuid(56)?),
            seq: u64::from_le_bytes(word(72)?),
            written_at: Timestamp::from_micros(i64::from_le_bytes(word(80)?)),
        })
    }
}

/// The head of a segment: which it is, and what its making says about segments before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The segment's number.
    pub(super) number: u64,
    /// Segments that ended in a failure, and how many of their bytes hold.
    pub(super) cuts: Vec<(u64, u64)>,
    /// Bytes right after this record that were carried over from cut segments. The head counts only if they
    /// are all there: else the cut would lose what the older segment may still hold.
    pub(super) carried: u64,
}

/// Appends a record.
pub(super) fn put(out: &mut Vec<u8>, facts: &Facts, line: &[u8]) {
    let start = out.len();
    out.extend([0; FRAME]);
    facts.write(out);
    out.extend(line);
    let body = out.get(start + FRAME..).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(body).to_le_bytes();
    if let Some(frame) = out.get_mut(start..start + FRAME) {
        frame.copy_from_slice(&[length, checksum].concat());
    }
}

/// The line of a record made by [`put`].
pub(super) fn line(record: &[u8]) -> &[u8] {
    record.get(FRAME + FACTS..).unwrap_or_default()
}

/// Appends a segment's head.
pub(super) fn put_head(out: &mut Vec<u8>, head: &Head) {
    // A struct of numbers always serialises.
    let line = serde_json::to_vec(head).unwrap_or_default();
    put(out, &Facts::head(), &line);
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A whole record.
    Record {
        facts: Facts,
        line: &'a [u8],
        /// Where the next one begins.
        end: usize,
    },
    /// Nothing was written here.
    End,
    /// More bytes are needed to tell.
    Short,
    /// Not a record: a torn write, or damage.
    Broken,
}

/// Reads the record at `at`.
pub(super) fn get(bytes: &[u8], at: usize) -> Next<'_> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let (Some(length), Some(checksum)) = (word(at), word(at + 4)) else {
        return Next::Short;
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 {
        return if checksum == 0 { Next::End } else { Next::Broken };
    }
    if !(FACTS..=RECORD_MAX).contains(&length) {
        return Next::Broken;
    }
    let end = at + FRAME + length;
    let Some(body) = bytes.get(at + FRAME..end) else { return Next::Short };
    if crc32fast::hash(body) != checksum {
        return Next::Broken;
    }
    match (Facts::read(body), body.get(FACTS..)) {
        (Some(facts), Some(line)) => Next::Record { facts, line, end },
        (None, _) | (_, None) => Next::Broken,
    }
}

/// A part of a segment.
#[derive(Debug)]
pub(super) enum Piece {
    /// A whole record.
    Record {
        facts: Facts,
        /// Where it begins and where the next one does.
        at: usize,
        end: usize,
    },
    /// Bytes that are no record, before one that is.
    Damage { at: usize, end: usize },
}

/// The parts of a segment, in order. A torn end is none of them.
pub(super) struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Reads a segment, or the beginning of one.
pub(super) fn pieces(bytes: &[u8]) -> Pieces<'_> {
    Pieces { bytes, at: 0 }
}

impl Pieces<'_> {
    /// Where the last part ended.
    pub(super) fn end(&self) -> usize {
        self.at
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let at = self.at;
        if let Next::Record { facts, end, .. } = get(self.bytes, at) {
            self.at = end;
            return Some(Piece::Record { facts, at, end });
        }
        self.at = resync(self.bytes, at)?;
        Some(Piece::Damage { at, end: self.at })
    }
}

/// Where the next whole entry begins behind `from`, at which there is none. An entry's text cannot hold what looks
/// like a record: control characters are escaped in it.
pub(super) fn resync(bytes: &[u8], from: usize) -> Option<usize> {
    const BLOCK: usize = 4_096;
    let mut at = from + 1;
    while at + FRAME + FACTS <= bytes.len() {
        if bytes.get(at..at + BLOCK).is_some_and(|block| block == [0; BLOCK]) {
            // A record may begin with the zeros that end the block.
            at += BLOCK - FRAME;
            continue;
        }
        if matches!(get(bytes, at), Next::Record { facts, .. } if facts.kind != Kind::Head) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Whether a head stands at the beginning, whatever it says.
pub(super) fn has_head(bytes: &[u8]) -> bool {
    matches!(get(bytes, 0), Next::Record { facts: Facts { kind: Kind::Head, .. }, .. })
}

/// Reads the head of a segment and checks that all it carried over is there; where the entries begin.
pub(super) fn head(bytes: &[u8]) -> Option<(Head, usize)> {
    let Next::Record { facts: Facts { kind: Kind::Head, .. }, line, end } = get(bytes, 0) else {
        return None;
    };
    let head: Head = serde_json::from_slice(line).ok()?;
    let carried_end = end.checked_add(usize::try_from(head.carried).ok()?)?;
    let mut at = end;
    while at < carried_end {
        match get(bytes, at) {
            Next::Record { end, .. } => at = end,
            Next::End | Next::Short | Next::Broken => return None,
        }
    }
    (at == carried_end).then_some((head, end))
}
