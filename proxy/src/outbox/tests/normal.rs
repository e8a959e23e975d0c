//! The outbox when nothing fails.

use super::*;

#[test]
fn rows_are_chained_signed_and_shipped_in_order() {
    let bench = Bench::new(SMALL);
    let (outbox, recovery) = bench.open();
    assert_eq!(recovery, Recovery::default());
    block_on(async {
        for n in 1..=40 {
            let plan = if n % 3 == 0 { Plan::DecisionThenOutcome } else { Plan::OneRow };
            let durability = if n % 5 == 0 { Durability::Strict } else { Durability::Bounded };
            call(&outbox, n, plan, durability).await.unwrap();
        }
    });
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    for n in 1..=40 {
        let (decisions, outcomes) = shipped.of(n);
        if n % 3 == 0 {
            assert_eq!((decisions, outcomes), (vec![Outcome::Pending], vec![Outcome::Executed]));
        } else {
            assert_eq!((decisions, outcomes), (vec![Outcome::Executed], vec![]));
        }
    }
    let facts = outbox.facts();
    assert_eq!((facts.rows, facts.bytes, facts.oldest_age_ms, facts.failures), (0, 0, 0, 0));
    assert!(facts.available && !facts.alarm);
}

#[test]
fn strict_rows_are_local_and_bounded_rows_signed() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    for (durability, level) in [(Durability::Bounded, Level::Signed), (Durability::Strict, Level::Local)] {
        let intent = intent(1, Plan::OneRow);
        let reservation = outbox.reserve().unwrap();
        let draft = draft(&intent, decision(&intent, Outcome::NotExecuted), durability);
        assert_eq!(block_on(outbox.append(draft, reservation)).unwrap().level, level);
    }
    // A strict row survives a power cut at once.
    bench.disk.lose_power();
    drop(outbox);
    let (outbox, recovery) = bench.open();
    assert!(recovery.rows >= 2, "{recovery:?}");
    drop(outbox);
}

#[test]
fn a_boot_names_the_one_before_and_how_it_ended() {
    let bench = Bench::new(SMALL);
    let mut shipped = Shipped::default();
    for (n, closed) in [(1, true), (2, false), (3, true)] {
        let (outbox, _) = bench.open();
        block_on(call(&outbox, n * 2, Plan::OneRow, Durability::Bounded)).unwrap();
        // Also when all its segments are long gone.
        shipped.drain(&outbox);
        if closed {
            block_on(outbox.close("shutdown"));
            assert_eq!(outbox.reserve().unwrap_err(), AuditUnavailable::Closed);
        }
    }
    let (outbox, _) = bench.open();
    block_on(call(&outbox, 8, Plan::OneRow, Durability::Bounded)).unwrap();
    shipped.drain(&outbox);
    let opens = shipped.rows.iter().filter_map(|row| match &row.body {
        Body::Open(open) => Some((row.header.boot, open.clone())),
        _ => None,
    });
    let opens: Vec<_> = opens.collect();
    assert_eq!(opens.len(), 4);
    assert_eq!(opens[0].1.previous, None);
    for (pair, (last_seq, closed)) in opens.windows(2).zip([(2, true), (1, false), (2, true)]) {
        let previous = pair[1].1.previous.clone().unwrap();
        assert_eq!((previous.boot, previous.last_seq, previous.closed), (pair[0].0, Some(last_seq), closed));
    }
    for (boot, open) in &opens {
        let statement = boot_statement(tenant(0), source(), *boot, &PublicKey::parse(&open.boot_key).unwrap());
        assert_eq!(bench.identity.key().public().verify(&statement, &open.identity_signature), Ok(()));
    }
}

#[test]
fn heartbeats_come_while_rows_flow_and_stop_when_they_do() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let mut shipped = Shipped::default();
    let beats = |shipped: &Shipped| shipped.rows.iter().filter(|r| matches!(r.body, Body::Heartbeat(_))).count();
    block_on(call(&outbox, 2, Plan::OneRow, Durability::Bounded)).unwrap();
    bench.clock.advance(std::time::Duration::from_secs(11));
    block_on(call(&outbox, 4, Plan::OneRow, Durability::Bounded)).unwrap();
    // The heartbeat follows in the same turn as the row; the next row comes after it.
    block_on(call(&outbox, 6, Plan::OneRow, Durability::Bounded)).unwrap();
    shipped.drain(&outbox);
    assert_eq!(beats(&shipped), 1);
    let counts = outbox.counts();
    assert_eq!(counts, [(tenant(0), Counts { forwarded: 3, denied: 0, errored: 0 })]);
    block_on(outbox.close("done"));
    assert_eq!(beats(&shipped), 1);
}

#[test]
fn a_dropped_call_gets_a_row_with_outcome_unknown() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    drop(outbox.intend(&intent(1, Plan::OneRow)).unwrap());
    let two = intent(2, Plan::DecisionThenOutcome);
    let reservation = outbox.intend(&two).unwrap();
    let pending = draft(&two, decision(&two, Outcome::Pending), Durability::Bounded);
    let (_, reservation) = block_on(outbox.append_pending(pending, reservation)).unwrap();
    drop(reservation);
    // Rows of dropped calls are written by the writer's next turn; this call comes behind them.
    block_on(call(&outbox, 3, Plan::OneRow, Durability::Bounded)).unwrap();
    block_on(call(&outbox, 5, Plan::OneRow, Durability::Bounded)).unwrap();
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    assert_eq!(shipped.of(1), (vec![Outcome::Unknown], vec![]));
    assert_eq!(shipped.of(2), (vec![Outcome::Pending], vec![Outcome::Unknown]));
}

#[test]
fn slots_and_room_are_bounded_and_come_back() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let held: Vec<_> = (1..=8).map(|n| outbox.intend(&intent(n, Plan::DecisionThenOutcome)).unwrap()).collect();
    assert_eq!(outbox.intend(&intent(9, Plan::OneRow)).unwrap_err(), AuditUnavailable::Busy);
    drop(held);
    // The slots come back as the writer settles them: eight rows and two `open`.
    while outbox.facts().rows < 10 {
        std::thread::yield_now();
    }
    let mut shipped = Shipped::default();
    for n in 20..120 {
        block_on(call(&outbox, n, Plan::OneRow, Durability::Bounded)).unwrap();
        shipped.drain(&outbox);
    }
    assert!((1..=8).all(|n| shipped.of(n) == (vec![Outcome::Unknown], vec![])));
}

#[test]
fn a_full_outbox_refuses_before_the_tool_and_recovers_when_rows_are_acknowledged() {
    let bench = Bench::new(Options { max_bytes: 6 * SEGMENT_BYTES_MIN, ..SMALL });
    let (outbox, _) = bench.open();
    let mut written = 0;
    let refused = loop {
        match block_on(call(&outbox, written + 1, Plan::OneRow, Durability::Bounded)) {
            Ok(()) => written += 1,
            Err(refused) => break refused,
        }
        assert!(written < 10_000);
    };
    assert_eq!(refused, AuditUnavailable::Full);
    assert!(outbox.facts().alarm && !outbox.facts().available);
    let mut shipped = Shipped::default();
    shipped.drain(&outbox);
    assert!((1..=written).all(|n| shipped.of(n).0 == [Outcome::Executed]));
    while block_on(call(&outbox, written + 1, Plan::OneRow, Durability::Bounded)).is_err() {
        // The keeper frees the space in its own time.
        std::thread::yield_now();
    }
}

#[test]
fn deleted_segments_leave_the_disk() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let mut shipped = Shipped::default();
    for n in 1..=600 {
        block_on(call(&outbox, n, Plan::OneRow, Durability::Bounded)).unwrap();
        shipped.drain(&outbox);
    }
    block_on(outbox.close("done"));
    shipped.drain(&outbox);
    drop(outbox);
    let (outbox, recovery) = bench.open();
    assert_eq!(recovery.rows, 0);
    assert!(outbox.facts().disk_bytes <= SMALL.max_bytes);
}

#[test]
fn the_real_disk_holds_what_was_appended_and_is_held_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(SMALL);
    let open = || {
        let disk = Arc::new(disk::Folder::open(&folder.path().join("outbox"))?);
        let boot = BootId::from_uuid(Uuid::from_bytes(aegis_core::entropy::random(&SystemEntropy)));
        let author = Author {
            identity: Arc::clone(&bench.identity),
            source: source(),
            boot,
            software: "aegis-proxy/test".into(),
        };
        Outbox::open(disk, SMALL, author, Arc::clone(&bench.clock) as _, Arc::new(SystemEntropy))
    };
    let (outbox, _) = open().unwrap();
    assert!(open().is_err());
    for n in 1..=30 {
        block_on(call(&outbox, n, Plan::OneRow, Durability::Strict)).unwrap();
    }
    let left = outbox.intend(&intent(31, Plan::OneRow)).unwrap();
    std::mem::forget(left);
    drop(outbox);
    let (outbox, recovery) = {
        // The forgotten call keeps the first outbox's memory; its lock is released with its process.
        let copied = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(folder.path().join("outbox")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copied.path().join(file.file_name())).unwrap();
        }
        let disk = Arc::new(disk::Folder::open(copied.path()).unwrap());
        let boot = BootId::from_uuid(Uuid::from_u128(99));
        let author = Author {
            identity: Arc::clone(&bench.identity),
            source: source(),
            boot,
            software: "aegis-proxy/test".into(),
        };
        Outbox::open(disk, SMALL, author, Arc::clone(&bench.clock) as _, Arc::new(SystemEntropy)).unwrap()
    };
    assert_eq!(recovery.unknown.len(), 1);
    let mut shipped = Shipped::default();
    block_on(call(&outbox, 33, Plan::OneRow, Durability::Bounded)).unwrap();
    shipped.drain(&outbox);
    assert!((1..=30).all(|n| shipped.of(n).0 == [Outcome::Executed]));
    assert_eq!(shipped.of(31), (vec![Outcome::Unknown], vec![]));
}

#[test]
fn an_intent_of_the_longest_texts_fits_a_slot() {
    let bench = Bench::new(SMALL);
    let (outbox, _) = bench.open();
    let longest = Intent {
        tool: ToolName::parse(&"t".repeat(aegis_core::pattern::TOOL_NAME_MAX)).unwrap(),
        principal: format!("api_key:{}", Uuid::nil()),
        request_id: "r".repeat(aegis_core::id::CLIENT_TEXT_MAX),
        client_request_id: Some("c".repeat(aegis_core::id::CLIENT_TEXT_MAX)),
        session_id: Some("s".repeat(aegis_core::id::CLIENT_TEXT_MAX)),
        policy: Some(aegis_ledger::rows::PolicyRef { bundle: "b".repeat(64), revision: "r".repeat(64) }),
        snapshot_version: u64::MAX,
        ..intent(1, Plan::DecisionThenOutcome)
    };
    drop(outbox.intend(&longest).unwrap());
    let too_long = Intent { principal: "p".repeat(SLOT_BYTES), ..longest };
    assert_eq!(outbox.intend(&too_long).unwrap_err(), AuditUnavailable::Row);
}
