//! The outbox when the disk fails, the process dies or the power goes, at every operation.

use super::*;
use proptest::prelude::*;

const CALLS: u128 = 12;

/// A small, mixed workload; which calls were answered.
fn workload(outbox: &Outbox, first: u128) -> Vec<u128> {
    block_on(async {
        let mut answered = Vec::new();
        for n in first..first + CALLS {
            let plan = if n % 3 == 0 { Plan::DecisionThenOutcome } else { Plan::OneRow };
            let durability = if n % 4 == 0 { Durability::Strict } else { Durability::Bounded };
            if call(outbox, n, plan, durability).await.is_ok() {
                answered.push(n);
            }
        }
        answered
    })
}

/// Starts again on what is left and ships everything; checks that the answered calls have their own row, and
/// that every call has one account at most.
fn check(bench: &Bench, mut shipped: Shipped, answered: &[u128], all: u128, at: &str) {
    let (outbox, _) = bench.open();
    // Whatever was left unsettled is written before this call.
    for n in [all + 2, all + 3] {
        block_on(call(&outbox, n, Plan::OneRow, Durability::Bounded)).unwrap();
    }
    shipped.drain(&outbox);
    drop(outbox);
    for n in 1..=all {
        assert!(shipped.accounts(n), "{at}: call {n} has {:?}", shipped.of(n));
    }
    for n in answered {
        let (decisions, outcomes) = shipped.of(*n);
        let own =
            decisions == [Outcome::Executed] || (decisions == [Outcome::Pending] && outcomes == [Outcome::Executed]);
        assert!(own, "{at}: answered call {n} has {decisions:?} {outcomes:?}");
    }
    // A second start finds nothing left to settle.
    let (_, recovery) = bench.open();
    assert_eq!(recovery.unknown, [], "{at}");
}

fn operations_of_a_run() -> u64 {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let start = bench.disk.operations();
    workload(&outbox, 1);
    drop(outbox);
    bench.disk.operations() - start
}

#[test]
fn a_kill_at_any_operation_loses_nothing_answered_and_doubles_nothing() {
    for part in [0, 100, 256] {
        for from in 0..operations_of_a_run() + 5 {
            let bench = Bench::new(SMALL);
            let (outbox, _) = bench.open();
            bench.disk.set_fault(Fault::Die { from, part });
            let answered = workload(&outbox, 1);
            drop(outbox);
            bench.disk.set_fault(Fault::None);
            check(&bench, Shipped::default(), &answered, CALLS, &format!("killed at {from}, part {part}"));
        }
    }
}

#[test]
fn a_kill_during_recovery_changes_nothing() {
    for first in [3, 9, 15, 22, 30] {
        let bench = Bench::new(SMALL);
        let (outbox, _) = bench.open();
        bench.disk.set_fault(Fault::Die { from: first, part: 200 });
        let answered = workload(&outbox, 1);
        drop(outbox);
        for second in 0..12 {
            let again = Bench {
                disk: bench.disk.copy(),
                identity: Arc::clone(&bench.identity),
                clock: Arc::clone(&bench.clock),
                options: SMALL,
                _folder: tempfile::tempdir().unwrap(),
            };
            again.disk.set_fault(Fault::Die { from: second, part: 128 });
            drop(again.try_open());
            again.disk.set_fault(Fault::None);
            check(&again, Shipped::default(), &answered, CALLS, &format!("killed at {first}, again at {second}"));
        }
    }
}

#[test]
fn an_error_at_any_operation_is_refused_or_survived() {
    for (kind, count) in [(ErrorKind::StorageFull, 1), (ErrorKind::Other, 1), (ErrorKind::Other, 3)] {
        for part in [0, 100] {
            for from in 0..operations_of_a_run() + 5 {
                let bench = Bench::new(SMALL);
                let (outbox, _) = bench.open();
                bench.disk.set_fault(Fault::Fail { from, count, kind, part });
                let answered = workload(&outbox, 1);
                bench.disk.set_fault(Fault::None);
                drop(outbox);
                check(&bench, Shipped::default(), &answered, CALLS, &format!("{kind} ×{count} at {from}, part {part}"));
            }
        }
    }
}

#[test]
fn a_failed_outbox_refuses_and_comes_back_in_a_fresh_segment() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let mut answered = workload(&outbox, 1);
    assert_eq!(answered.len() as u128, CALLS);
    bench.disk.set_fault(Fault::Fail { from: 0, count: u64::MAX, kind: ErrorKind::Other, part: 50 });
    // The first that meets the broken disk is refused, and so are all after it.
    assert!(workload(&outbox, CALLS + 1).is_empty());
    assert!(!outbox.facts().available && outbox.facts().failures > 0);
    bench.disk.set_fault(Fault::None);
    while !outbox.facts().available {
        std::thread::yield_now();
    }
    let n = 2 * CALLS + 1;
    block_on(call(&outbox, n, Plan::OneRow, Durability::Strict)).unwrap();
    answered.push(n);
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    drop(outbox);
    check(&bench, shipped, &answered, n, "after the disk came back");
}

#[test]
fn a_power_cut_keeps_strict_rows() {
    for from in (0..operations_of_a_run()).step_by(3) {
        let bench = Bench::new(SMALL);
        let (outbox, _) = bench.open();
        bench.disk.set_fault(Fault::Die { from, part: 0 });
        let answered = workload(&outbox, 1);
        drop(outbox);
        bench.disk.lose_power();
        bench.disk.set_fault(Fault::None);
        let (outbox, _) = bench.open();
        block_on(call(&outbox, CALLS + 2, Plan::OneRow, Durability::Bounded)).unwrap();
        let mut shipped = Shipped::default();
        shipped.drain(&outbox);
        for n in answered.iter().filter(|n| *n % 4 == 0) {
            assert_ne!(shipped.of(*n).0, [], "cut at {from}: strict call {n} is gone");
        }
    }
}

#[test]
fn a_torn_tail_is_cut_at_any_byte() {
    let bench = Bench::new(Options {
        segment_bytes: 4 * SEGMENT_BYTES_MIN,
        max_bytes: 16 * SEGMENT_BYTES_MIN,
        in_flight_max: 4,
    });
    let (outbox, _) = bench.open();
    for n in [2, 4, 6] {
        block_on(call(&outbox, n, Plan::OneRow, Durability::Bounded)).unwrap();
    }
    drop(outbox);
    let name = bench.disk.names().into_iter().find(|name| name.starts_with("segment-")).unwrap();
    let used = {
        let mut used = 0;
        bench.disk.damage(&name, |bytes| used = bytes.iter().rposition(|b| *b != 0).unwrap() + 1);
        used
    };
    let mut rows_before = 0;
    for cut in (0..used).step_by(7).chain(used - 9..=used) {
        let torn = Bench {
            disk: bench.disk.copy(),
            identity: Arc::clone(&bench.identity),
            clock: Arc::clone(&bench.clock),
            options: bench.options,
            _folder: tempfile::tempdir().unwrap(),
        };
        torn.disk.damage(&name, |bytes| bytes[cut..].fill(0));
        let (outbox, recovery) = torn.open();
        assert!(recovery.rows >= rows_before, "byte {cut}");
        rows_before = recovery.rows;
        block_on(call(&outbox, 8, Plan::OneRow, Durability::Bounded)).unwrap();
        let mut shipped = Shipped::default();
        shipped.drain(&outbox);
        assert_eq!(shipped.rows.len() as u64, recovery.rows + 2, "byte {cut}");
    }
    assert_eq!(rows_before, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_of_deaths_and_failures_keeps_every_answered_row(
        starts in proptest::collection::vec((0_u64..60, 0_usize..=256, any::<bool>(), any::<bool>()), 1..5)
    ) {
        let bench = Bench::new(SMALL);
        let mut shipped = Shipped::default();
        let (mut answered, mut next) = (Vec::new(), 1);
        for (from, part, dies, ships) in starts {
            let (outbox, _) = bench.open();
            let fault = if dies {
                Fault::Die { from, part }
            } else {
                Fault::Fail { from, count: 2, kind: ErrorKind::Other, part }
            };
            bench.disk.set_fault(fault);
            answered.extend(workload(&outbox, next));
            next += CALLS;
            if ships && let Ok(Some(batch)) = outbox.read_batch(9, 1 << 20) {
                let acks = shipped.take(&batch);
                outbox.acknowledge(&batch, &acks);
            }
            drop(outbox);
            bench.disk.set_fault(Fault::None);
        }
        check(&bench, shipped, &answered, next - 1, "after all");
    }
}
