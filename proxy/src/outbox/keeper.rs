//! The keeper: makes spare segments ahead of need and deletes acknowledged ones.

use std::time::Duration;

use super::disk::read_whole;
use super::heads::Heads;
use super::segments::{Spare, name, usable};
use super::shared::Shared;
use super::space::ROW_RESERVE;

/// How often the keeper looks without being rung for.
const INTERVAL: Duration = Duration::from_secs(1);

/// The keeper's thread.
pub(super) fn run(shared: &Shared, mut heads: Heads) {
    while shared.keeper.wait(INTERVAL) {
        while delete_oldest(shared, &mut heads) {}
        make_spares(shared);
    }
}

/// Makes spare segments until every call that may be under way finds room, the bound allowing.
pub(super) fn make_spares(shared: &Shared) {
    let options = &shared.options;
    let wanted = u64::from(options.in_flight_max) * 2 * ROW_RESERVE + options.segment_bytes;
    while shared.space.lock().free() < wanted {
        let number = {
            let mut segments = shared.segments.lock();
            if (segments.count() + 1) * options.segment_bytes > options.max_bytes {
                return;
            }
            let number = segments.next_number;
            segments.next_number += 1;
            number
        };
        match shared.disk.create(&name(number), options.segment_bytes) {
            Ok(file) => {
                // Dying here leaves a file of zeros, which the next start deletes.
                let mut segments = shared.segments.lock();
                segments.spares.push_back(Spare { number, file });
                shared.space.lock().spare_free += usable(options.segment_bytes);
            }
            Err(e) => {
                shared.failed("reserve a segment", &e);
                return;
            }
        }
    }
}

/// Deletes the oldest segment, if every entry in it is acknowledged; whether it did.
fn delete_oldest(shared: &Shared, heads: &mut Heads) -> bool {
    let Some((number, file)) = ({
        let segments = shared.segments.lock();
        let number = segments.disposable();
        number.and_then(|n| segments.written.front().map(|s| (n, std::sync::Arc::clone(&s.file))))
    }) else {
        return false;
    };
    if !shared.space.lock().unmarked().is_empty() {
        // The row that a slot should tell of may be in there.
        shared.inbox.poke();
        return false;
    }
    // First what the segment alone knew, and that its calls' slots are clear; then the deletion. Dying in
    // between keeps the segment: its entries are noted again, and the watermark says they are acknowledged.
    let deleted = read_whole(&*file)
        .map(|bytes| heads.note_segment(&bytes))
        .and_then(|()| heads.store(&*shared.disk))
        .and_then(|()| shared.slots.sync())
        .and_then(|()| shared.disk.remove(&name(number)));
    match deleted {
        Ok(()) => {
            shared.segments.lock().written.pop_front();
            true
        }
        Err(e) => {
            shared.failed("delete a segment", &e);
            false
        }
    }
}
