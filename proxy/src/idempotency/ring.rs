//! Which keyed calls were let through to their tools of late, on disk: after a crash their keys must not run again.
//!
//! A ring of fixed records, written with one positioned write before the tool is called, so that it has left the
//! process by then (`kill -9` loses nothing). It is not synced: after a power cut the intents of the outbox still
//! cover the calls that were under way. A torn record fails its checksum and is skipped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_core::id::ExecutionId;
use aegis_core::time::Timestamp;
use aegis_ledger::hash::Hash;
use uuid::Uuid;

use super::Fingerprint;
use crate::outbox::disk::{Disk, DiskFile};

/// Fingerprint 32, execution id 16, time 8, checksum 8.
const RECORD_BYTES: usize = 64;
const CHECKED_BYTES: usize = 56;
/// Records the ring may hold at most: 64 MiB.
const RECORDS_MAX: u64 = 1 << 20;

/// The ring.
pub struct KeyRing {
    file: Arc<dyn DiskFile>,
    records: u64,
    next: AtomicU64,
}

/// A keyed call of an earlier process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The key.
    pub fingerprint: Fingerprint,
    /// The call.
    pub execution_id: ExecutionId,
    /// When it was let through.
    pub at: Timestamp,
}

impl KeyRing {
    /// Opens the ring of this name, making it if absent, and tells which calls it holds that are younger than `ttl`,
    /// oldest first. A ring of another size is made anew: its calls are told all the same.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub fn open(
        disk: &dyn Disk,
        name: &str,
        records: usize,
        now: Timestamp,
        ttl: Duration,
    ) -> io::Result<(Self, Vec<Remembered>)> {
        let records = u64::try_from(records).unwrap_or(RECORDS_MAX).clamp(1, RECORDS_MAX);
        let bytes = records * RECORD_BYTES as u64;
        let found = disk.open(name)?;
        let mut known = match &found {
            Some(file) => read(&**file)?,
            None => Vec::new(),
        };
        let newest = known.iter().max_by_key(|(_, r)| r.at).map(|(place, _)| *place);
        let file = match found {
            Some(file) if file.size()? == bytes => file,
            stale => {
                // Dying in between forgets the calls of a minute at a change of size: an operator's restart.
                if stale.is_some() {
                    disk.remove(name)?;
                }
                disk.create(name, bytes)?
            }
        };
        known.retain(|(_, r)| now.since(r.at) < ttl);
        known.sort_by_key(|(_, r)| r.at);
        let next = AtomicU64::new(newest.map_or(0, |place| place + 1));
        Ok((Self { file, records, next }, known.into_iter().map(|(_, r)| r).collect()))
    }

    /// Notes a call, in the place of the oldest.
    pub(super) fn note(&self, call: Remembered) -> io::Result<()> {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.records;
        self.file.write_at(&encode(&call), place * RECORD_BYTES as u64)
    }
}

fn encode(call: &Remembered) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let (id, at) = (call.execution_id.as_uuid(), call.at.as_micros().to_be_bytes());
    let parts: [&[u8]; 3] = [call.fingerprint.0.as_bytes(), id.as_bytes(), &at];
    let checked = parts.concat();
    let sum = Hash::of(&[&checked]);
    for (to, from) in record.iter_mut().zip(checked.iter().chain(sum.as_bytes())) {
        *to = *from;
    }
    record
}

fn decode(record: &[u8]) -> Option<Remembered> {
    let (checked, sum) = record.split_at_checked(CHECKED_BYTES)?;
    if !Hash::of(&[checked]).as_bytes().starts_with(sum) {
        return None;
    }
    let (fingerprint, rest) = checked.split_at_checked(32)?;
    let (id, at) = rest.split_at_checked(16)?;
    Some(Remembered {
        fingerprint: Fingerprint(Hash::try_from(fingerprint).ok()?),
        execution_id: ExecutionId::from_uuid(Uuid::from_slice(id).ok()?),
        at: Timestamp::from_micros(i64::from_be_bytes(at.try_into().ok()?)),
    })
}

fn read(file: &dyn DiskFile) -> io::Result<Vec<(u64, Remembered)>> {
    let size = usize::try_from(file.size()?.min(RECORDS_MAX * RECORD_BYTES as u64)).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let filled = file.read_at(&mut bytes, 0)?;
    bytes.truncate(filled);
    let records = bytes.chunks_exact(RECORD_BYTES).zip(0..);
    Ok(records.filter_map(|(record, place)| decode(record).map(|call| (place, call))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::disk::Folder;

    const TTL: Duration = Duration::from_mins(1);

    fn call(n: u128, second: i64) -> Remembered {
        Remembered {
            fingerprint: Fingerprint(Hash::of(&[&n.to_be_bytes()])),
            execution_id: ExecutionId::from_uuid(Uuid::from_u128(n)),
            at: Timestamp::from_seconds(second),
        }
    }

    fn open(folder: &Folder, records: usize, second: i64) -> (KeyRing, Vec<Remembered>) {
        KeyRing::open(folder, "keys", records, Timestamp::from_seconds(second), TTL).unwrap()
    }

    #[test]
    fn young_calls_are_told_after_a_restart_and_old_ones_are_not() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let (ring, known) = open(&folder, 8, 1_000);
        assert_eq!(known, []);
        for (n, second) in [(1, 1_000), (2, 1_030), (3, 1_050)] {
            ring.note(call(n, second)).unwrap();
        }
        assert_eq!(open(&folder, 8, 1_070).1, [call(2, 1_030), call(3, 1_050)]);
    }

    #[test]
    fn the_newest_calls_stay_whatever_the_restarts() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        for n in 0..10 {
            open(&folder, 4, 1_000).0.note(call(n, 1_000 + i64::try_from(n).unwrap())).unwrap();
        }
        assert_eq!(open(&folder, 4, 1_010).1, [call(6, 1_006), call(7, 1_007), call(8, 1_008), call(9, 1_009)]);
    }

    #[test]
    fn a_torn_record_is_skipped_and_a_ring_of_another_size_is_read_first() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let (ring, _) = open(&folder, 4, 1_000);
        ring.note(call(1, 1_000)).unwrap();
        ring.note(call(2, 1_001)).unwrap();
        ring.file.write_at(&[0xff; 3], 5).unwrap();
        assert_eq!(open(&folder, 9, 1_002).1, [call(2, 1_001)]);
        assert_eq!(open(&folder, 9, 1_002).1, [], "made anew");
    }
}
