//! The outbox when its disk gives back something else than was written: what is gone is declared, the rest arrives.

use super::*;
use proptest::prelude::*;

use crate::outbox::record::{Piece, pieces};
use crate::outbox::segments;

/// Segments large enough for all rows of a test.
const ROOMY: Options =
    Options { segment_bytes: 8 * SEGMENT_BYTES_MIN, max_bytes: 64 * SEGMENT_BYTES_MIN, in_flight_max: 4 };

/// Calls of one tenant, one row each.
fn calls(outbox: &Outbox, numbers: impl IntoIterator<Item = u128>) {
    for n in numbers {
        block_on(call(outbox, 2 * n, Plan::OneRow, Durability::Strict)).unwrap();
    }
}

/// The first segment's name.
fn first_segment(bench: &Bench) -> String {
    let mut names = bench.disk.names();
    names.sort();
    names.into_iter().find(|name| segments::number(name).is_some()).unwrap()
}

/// Changes the records of these numbers in the first segment.
fn damage(bench: &Bench, seqs: std::ops::RangeInclusive<u64>, change: impl Fn(&mut [u8])) {
    bench.disk.damage(&first_segment(bench), |bytes| {
        let whole = bytes.clone();
        for piece in pieces(&whole) {
            if let Piece::Record { facts, at, end, .. } = piece
                && facts.kind != crate::outbox::record::Kind::Head
                && seqs.contains(&facts.seq)
            {
                change(&mut bytes[at..end]);
            }
        }
    });
}

fn declared(shipped: &Shipped) -> Vec<(BootId, u64, u64)> {
    shipped.declared.iter().map(|(_, gap)| (gap.lost_boot, gap.from, gap.to)).collect()
}

fn seqs(shipped: &Shipped, boot: BootId) -> Vec<u64> {
    shipped.rows.iter().filter(|row| row.header.boot == boot).map(|row| row.header.seq).collect()
}

/// Every kind of damage to a record: its text, its length, all of it.
const CHANGES: [fn(&mut [u8]); 4] =
    [|record| record[200] ^= 1, |record| record[0] = 255, |record| record[..8].fill(255), |record| record.fill(0)];

#[test]
fn rows_damaged_before_a_start_are_declared_and_the_rest_arrives() {
    for change in CHANGES {
        let bench = Bench::new(ROOMY);
        let (outbox, _) = bench.open();
        let boot = outbox.boot();
        calls(&outbox, 1..=9);
        drop(outbox);
        damage(&bench, 4..=5, change);
        let (outbox, recovery) = bench.open();
        assert_eq!((recovery.damaged, recovery.torn, recovery.rows), (1, 0, 10));
        calls(&outbox, 10..=11);
        let mut shipped = Shipped::default();
        shipped.drain(&outbox);
        assert_eq!(declared(&shipped), [(boot, 4, 5)]);
        assert_eq!(seqs(&shipped, boot), [0, 1, 2, 3, 6, 7, 8, 9]);
        // `open`, two calls, the gap in its own place, and perhaps the heartbeat that damage calls for.
        assert!(seqs(&shipped, outbox.boot()).starts_with(&[0, 1, 2, 3]));
        assert!(shipped.rows.iter().any(|row| matches!(row.body, Body::Gap(_))));
        assert_eq!(outbox.facts().lost, 2);
    }
}

#[test]
fn rows_damaged_while_running_are_declared_even_at_the_end_of_their_chain() {
    for (seqs_lost, expected) in [(2..=3, [0, 1, 4, 5]), (4..=5, [0, 1, 2, 3])] {
        let bench = Bench::new(ROOMY);
        let (outbox, _) = bench.open();
        let boot = outbox.boot();
        calls(&outbox, 1..=5);
        damage(&bench, seqs_lost.clone(), CHANGES[0]);
        let mut shipped = Shipped::default();
        shipped.drain(&outbox);
        assert_eq!(declared(&shipped), [(boot, *seqs_lost.start(), *seqs_lost.end())]);
        assert!(seqs(&shipped, boot).starts_with(&expected));
        // The chain goes on, and closes.
        calls(&outbox, 6..=7);
        block_on(outbox.close("done"));
        shipped.drain(&outbox);
        assert!(matches!(shipped.rows.last().unwrap().body, Body::Close(_)));
        assert_eq!((outbox.facts().lost, outbox.facts().rows, outbox.facts().bytes), (2, 0, 0));
    }
}

#[test]
fn the_end_of_the_boot_before_is_declared_if_it_was_there_at_start() {
    let bench = Bench::new(ROOMY);
    let (outbox, _) = bench.open();
    let boot = outbox.boot();
    calls(&outbox, 1..=5);
    drop(outbox);
    let (outbox, recovery) = bench.open();
    assert_eq!(recovery.rows, 6);
    damage(&bench, 4..=5, CHANGES[3]);
    calls(&outbox, 6..=6);
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    assert_eq!(declared(&shipped), [(boot, 4, 5)]);
    assert_eq!(outbox.facts().rows, 0);
}

#[test]
fn a_segment_with_a_damaged_head_keeps_its_rows() {
    let bench = Bench::new(ROOMY);
    let (outbox, _) = bench.open();
    let boot = outbox.boot();
    calls(&outbox, 1..=3);
    drop(outbox);
    bench.disk.damage(&first_segment(&bench), |bytes| bytes[..20].fill(7));
    let (outbox, recovery) = bench.open();
    assert_eq!((recovery.rows, recovery.unknown.len()), (4, 0));
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    assert_eq!((seqs(&shipped, boot), declared(&shipped)), (vec![0, 1, 2, 3], vec![]));
}

#[test]
fn a_lost_segment_is_declared() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let boot = outbox.boot();
    calls(&outbox, 1..=400);
    drop(outbox);
    let segment = {
        let mut used: Vec<String> = Vec::new();
        for name in bench.disk.names() {
            if segments::number(&name).is_some() {
                bench.disk.damage(&name, |bytes| {
                    if pieces(bytes).next().is_some() {
                        used.push(name.clone());
                    }
                });
            }
        }
        used.sort();
        assert!(used.len() > 2, "{used:?}");
        used.remove(1)
    };
    bench.disk.damage(&segment, |bytes| bytes.fill(0));
    let (outbox, _) = bench.open();
    calls(&outbox, 401..=401);
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    let [(lost_boot, from, to)] = declared(&shipped)[..] else { panic!("{:?}", shipped.declared) };
    assert_eq!(lost_boot, boot);
    let expected: Vec<u64> = (0..=400).filter(|seq| !(from..=to).contains(seq)).collect();
    assert_eq!(seqs(&shipped, boot), expected);
}

#[test]
fn a_loss_found_again_by_the_next_start_is_declared_again_and_harms_nothing() {
    let bench = Bench::new(ROOMY);
    let (outbox, _) = bench.open();
    let boot = outbox.boot();
    calls(&outbox, 1..=5);
    damage(&bench, 2..=2, CHANGES[0]);
    let mut shipped = Shipped::default();
    let first = outbox.read_batch(100, 1 << 20).unwrap().unwrap();
    outbox.acknowledge(&first, &shipped.take(&first));
    // The loss is found and declared; nothing more is shipped.
    while outbox.read_batch(100, 1 << 20).unwrap().is_none() {
        block_on(outbox.shippable());
    }
    calls(&outbox, 6..=6);
    drop(outbox);
    let (outbox, _) = bench.open();
    calls(&outbox, 7..=7);
    shipped.drain(&outbox);
    assert_eq!(declared(&shipped), [(boot, 2, 2)]);
    let gaps = shipped.rows.iter().filter(|row| matches!(row.body, Body::Gap(_))).map(|row| row.header.boot);
    assert_eq!(gaps.collect::<Vec<_>>(), [boot, outbox.boot()]);
    assert_eq!(outbox.facts().rows, 0);
}

#[test]
fn a_full_outbox_ships_over_a_loss_and_declares_it_when_there_is_room() {
    let bench = Bench::new(ROOMY);
    let (outbox, _) = bench.open();
    calls(&outbox, 1..=5);
    damage(&bench, 2..=2, CHANGES[0]);
    // Calls under way that have taken all the room there is.
    let mut held = Vec::new();
    while let Ok(room) = outbox.reserve() {
        held.push(room);
    }
    let mut bare = 0;
    while bare < 5 {
        match outbox.read_batch(100, 1 << 20).unwrap() {
            Some(batch) => {
                bare += batch.len();
                let boot = outbox.boot();
                let acks = [Ack { tenant_id: tenant(0), source: source(), boot, seq: 5 }];
                outbox.acknowledge(&batch, &acks);
            }
            None => block_on(outbox.shippable()),
        }
    }
    drop(held);
    calls(&outbox, 6..=6);
    while outbox.facts().rows < 2 {
        std::thread::yield_now();
    }
    let mut lines = Vec::new();
    while outbox.facts().rows > 0 {
        let Some(batch) = outbox.read_batch(100, 1 << 20).unwrap() else {
            block_on(outbox.shippable());
            continue;
        };
        lines.extend_from_slice(&batch.lines);
        outbox.acknowledge(&batch, &[Ack { tenant_id: tenant(0), source: source(), boot: outbox.boot(), seq: 99 }]);
    }
    assert!(String::from_utf8(lines).unwrap().contains(r#""kind":"gap""#));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_damaged_every_row_arrives_or_is_declared(
        spots in proptest::collection::vec((0_usize..40_000, 1_usize..3_000, any::<u8>()), 1..4)
    ) {
        let bench = Bench::new(ROOMY);
        let (outbox, _) = bench.open();
        let boot = outbox.boot();
        calls(&outbox, 1..=20);
        drop(outbox);
        bench.disk.damage(&first_segment(&bench), |bytes| {
            for (at, length, value) in &spots {
                bytes[*at..at + length].fill(*value);
            }
        });
        let (outbox, _) = bench.open();
        calls(&outbox, 21..=21);
        // Where not even an `open` is left nothing can be verified, which the control plane reports.
        let mut left = Vec::new();
        while outbox.facts().rows > 0 {
            match outbox.read_batch(1_000, 1 << 20).unwrap() {
                Some(batch) => {
                    left.extend_from_slice(&batch.lines);
                    let ack = |boot| Ack { tenant_id: tenant(0), source: source(), boot, seq: u64::MAX };
                    prop_assert_eq!(outbox.acknowledge(&batch, &[ack(boot), ack(outbox.boot())]), batch.len());
                }
                None => block_on(outbox.shippable()),
            }
        }
        let mut covered = std::collections::BTreeSet::new();
        let mut last = None;
        for line in left.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let signed: SignedEntry = serde_json::from_slice(line).unwrap();
            let entry = Entry::decode(signed.bytes()).unwrap();
            if entry.header.boot == boot {
                covered.insert(entry.header.seq);
                last = last.max(Some(entry.header.seq));
            }
            if let Body::Gap(gap) = entry.body
                && gap.lost_boot == boot
            {
                covered.extend(gap.from..=gap.to);
            }
        }
        // What was lost at the very end looks like a torn tail.
        prop_assert!(last.is_none_or(|last| (0..=last).all(|seq| covered.contains(&seq))), "{covered:?}");
    }
}
