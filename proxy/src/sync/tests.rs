//! The line to the control plane, against a small fake one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AuditId, BootId, SourceId, TenantId};
use aegis_core::sidecar::{LatencySummary, ToolAnnouncement, WatchFrame};
use aegis_core::snapshot::{Change, Item, KillSwitch, Snapshot};
use aegis_core::time::{Clock, SystemClock, Timestamp};
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::rows::Close;
use aegis_pipeline::counters::TenantUsage;
use aegis_pipeline::policy::PlatformBundle;
use aegis_pipeline::snapshot::DecisionSnapshot;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use uuid::Uuid;

use self::fake::{Fake, Ingest, serve};
use super::watch::{Assembler, Event};
use super::*;
use crate::cache::{Cache, SledCache};
use crate::identity::Identity;
use crate::outbox::disk::Folder;
use crate::outbox::{Author, Draft, Durability, Options, Outbox};
use crate::snapshots::Snapshots;

mod fake;

const TOKEN: &str = "join-me";

fn source() -> SourceId {
    SourceId::from_uuid(Uuid::from_u128(7))
}

fn tenant() -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(8))
}

fn frame(frame: &WatchFrame) -> String {
    serde_json::to_string(frame).unwrap()
}

fn change(version: u64, engaged: bool) -> Change {
    let switch =
        KillSwitch { engaged_at: Timestamp::from_seconds(1), engaged_by: "user:1".into(), reason: "stop".into() };
    let item = engaged.then_some(Item::KillSwitch(switch));
    Change { version, tenant_id: tenant(), key: "kill_switch".into(), item }
}

fn delta(full: bool, change: Change, version: u64) -> Vec<String> {
    let at = Timestamp::from_seconds(1);
    vec![
        frame(&WatchFrame::Begin { full }),
        frame(&WatchFrame::Change(change)),
        frame(&WatchFrame::Commit { version, at }),
    ]
}

struct NoReport;

impl Report for NoReport {
    fn usage(&self) -> Vec<TenantUsage> {
        Vec::new()
    }

    fn decision_latency(&self) -> LatencySummary {
        LatencySummary::default()
    }

    fn tools(&self) -> Vec<ToolAnnouncement> {
        Vec::new()
    }
}

/// A sidecar's folder, and the fake it talks to.
struct Bench {
    fake: Arc<Mutex<Fake>>,
    folder: tempfile::TempDir,
    url: String,
    clock: Arc<dyn Clock>,
}

impl Bench {
    async fn new() -> Self {
        // Another test may have installed it.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Arc::new(Mutex::new(Fake::default()));
        tokio::spawn(serve(Arc::clone(&fake), listener));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("join"), format!("{TOKEN}\n")).unwrap();
        Self { fake, folder, url, clock: Arc::new(SystemClock::new()) }
    }

    fn session(&self) -> (Arc<Session>, Arc<Identity>) {
        let identity = Arc::new(Identity::open(self.folder.path(), &SystemEntropy).unwrap());
        let settings = Settings {
            url: self.url.clone(),
            ca_file: None,
            join_token_file: Some(self.folder.path().join("join")),
            name: "sidecar-1".into(),
            public_url: "http://127.0.0.1:8000".into(),
            version: "1".into(),
            connect_timeout: Duration::from_secs(2),
        };
        let clock = Arc::clone(&self.clock);
        let session = Session::new(settings, Arc::clone(&identity), clock, Arc::new(SystemEntropy)).unwrap();
        (Arc::new(session), identity)
    }

    /// What a sidecar does at start.
    async fn start(&self) -> (Sync, Arc<Snapshots>) {
        let (session, identity) = self.session();
        let enrolment = session.enrolled().await.unwrap();
        let boot = BootId::from_uuid(Uuid::from_bytes(aegis_core::entropy::random(&SystemEntropy)));
        let author = Author { identity, source: enrolment.source, boot, software: "test".into() };
        let disk = Arc::new(Folder::open(&self.folder.path().join("outbox")).unwrap());
        let options = Options { in_flight_max: 8, ..Options::default() };
        let clock = Arc::clone(&self.clock);
        let (outbox, _) = Outbox::open(disk, options, author, clock, Arc::new(SystemEntropy)).unwrap();
        let platform = Arc::new(PlatformBundle::embedded().unwrap());
        let first = DecisionSnapshot::build(Snapshot::default(), enrolment.deployment, None, &platform);
        let snapshots = Arc::new(Snapshots::new(first));
        let cache: Arc<dyn Cache> = Arc::new(SledCache::open(&self.folder.path().join("cache")).unwrap());
        let checkpoints = Arc::new(Checkpoints::restore(Arc::clone(&cache)));
        let applier = Applier::restore(Arc::clone(&snapshots), cache, Arc::clone(&self.clock)).unwrap();
        let sync = Sync {
            session,
            applier: Arc::new(applier),
            outbox: Arc::new(outbox),
            checkpoints,
            report: Arc::new(NoReport),
            entropy: Arc::new(SystemEntropy),
        };
        (sync, snapshots)
    }

    /// Waits until the fake has seen it.
    async fn until(&self, what: &str, mut seen: impl FnMut(&Fake) -> bool) {
        let waiting = async {
            while !seen(&self.fake.lock()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

async fn append(outbox: &Outbox, count: usize) {
    for _ in 0..count {
        let audit_id = AuditId::from_uuid(Uuid::from_bytes(aegis_core::entropy::random(&SystemEntropy)));
        let body = Body::Close(Close { reason: "x".into() });
        let draft = Draft { tenant: tenant(), audit_id, body, salt: None, durability: Durability::Bounded };
        outbox.append(draft, outbox.reserve().unwrap()).await.unwrap();
    }
}

fn engaged(snapshots: &Snapshots) -> Option<bool> {
    snapshots.load().data().tenants().next().map(|(_, tenant)| tenant.kill_switch.is_some())
}

fn run(sync: &Sync) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    let (line, stopped) = (sync.clone(), stop.clone());
    (stop, tokio::spawn(async move { line.run(stopped).await }))
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_is_tried_until_it_succeeds_and_then_never_again() {
    let bench = Bench::new().await;
    bench.fake.lock().refuse_enrolments = 2;
    let (session, _) = bench.session();
    assert_eq!(session.enrolled().await.unwrap().source, source());
    assert_eq!(bench.fake.lock().credentials, 1);
    let (again, _) = bench.session();
    assert_eq!(again.enrolled().await.unwrap().deployment, "local");
    assert_eq!(bench.fake.lock().credentials, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_and_in_order_through_every_failure() {
    let bench = Bench::new().await;
    bench.fake.lock().ingest = VecDeque::from([
        Ingest::Status(500),
        Ingest::LoseAnswer,
        Ingest::Status(401),
        Ingest::Status(422),
        Ingest::LoseAnswer,
    ]);
    let (sync, _) = bench.start().await;
    append(&sync.outbox, 30).await;
    let (stop, line) = run(&sync);
    append(&sync.outbox, 30).await;
    bench.until("all rows", |fake| fake.committed.len() == 61).await;
    while sync.outbox.facts().rows > 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    line.await.unwrap();
    let fake = bench.fake.lock();
    for (n, row) in fake.committed.iter().enumerate() {
        assert_eq!(Entry::decode(row).unwrap().header.seq, n as u64);
    }
    assert!(fake.credentials >= 2, "a refused credential is renewed");
    assert!(fake.batches < 20, "failures are not retried hot: {} batches", fake.batches);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_in_force_at_once_kept_and_told() {
    let bench = Bench::new().await;
    let mut lines = delta(true, change(3, true), 4);
    lines.extend(delta(false, change(5, false), 5));
    lines.extend(delta(false, change(6, true), 6));
    lines.push(frame(&WatchFrame::Ping { version: 6, at: Timestamp::from_seconds(1) }));
    bench.fake.lock().watch.push_back(lines);
    {
        let (sync, snapshots) = bench.start().await;
        assert_eq!(engaged(&snapshots), None);
        let (stop, line) = run(&sync);
        bench.until("heartbeat of 6", |fake| fake.heartbeats.iter().any(|beat| beat.snapshot_version == 6)).await;
        assert_eq!(engaged(&snapshots), Some(true));
        stop.cancel();
        line.await.unwrap();
    }
    assert_eq!(bench.fake.lock().since, ["since=0"]);
    // The control plane is gone: a restart decides from the cache, and says how old it is.
    let gone = Bench { url: "http://127.0.0.1:9".into(), ..bench };
    let (sync, snapshots) = gone.start().await;
    assert_eq!((engaged(&snapshots), sync.applier.applied().version), (Some(true), 6));
    assert!(snapshots.load().data().confirmed_at <= gone.clock.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_understood_leads_to_a_full_resync_and_never_to_half_a_snapshot() {
    let bench = Bench::new().await;
    let mut torn = delta(true, change(3, true), 4);
    torn.extend([frame(&WatchFrame::Begin { full: false }), frame(&WatchFrame::Change(change(5, false)))]);
    let unknown = vec![r#"{"frame":"surprise"}"#.to_owned()];
    bench.fake.lock().watch =
        VecDeque::from([torn, delta(false, change(2, false), 9), unknown, delta(true, change(7, true), 7)]);
    let (sync, snapshots) = bench.start().await;
    let (stop, line) = run(&sync);
    bench.until("heartbeat of 7", |fake| fake.heartbeats.iter().any(|beat| beat.snapshot_version == 7)).await;
    stop.cancel();
    line.await.unwrap();
    assert_eq!(engaged(&snapshots), Some(true));
    // Torn: resumed. A change from the past, and an unknown frame: everything anew.
    assert_eq!(bench.fake.lock().since, ["since=0", "since=4", "since=0", "since=0"]);
    assert!(bench.fake.lock().heartbeats.iter().all(|beat| [0, 4, 7].contains(&beat.snapshot_version)));
}

#[test]
fn frames_out_of_place_are_refused() {
    let at = Timestamp::default();
    let (begin, commit) = (WatchFrame::Begin { full: false }, |version| WatchFrame::Commit { version, at });
    let ping = |version| WatchFrame::Ping { version, at };
    let sequences = [
        vec![begin.clone(), begin.clone()],
        vec![WatchFrame::Change(change(11, true))],
        vec![commit(11)],
        vec![begin.clone(), ping(10)],
        vec![ping(9)],
        vec![begin.clone(), WatchFrame::Change(change(10, true))],
        vec![begin.clone(), WatchFrame::Change(change(12, true)), commit(11)],
        vec![begin.clone(), commit(9)],
        vec![begin.clone(), WatchFrame::Change(Change { key: "tenant".into(), ..change(11, true) })],
    ];
    for sequence in sequences {
        let mut assembler = Assembler::new(10);
        let (last, before) = sequence.split_last().unwrap();
        for frame in before {
            assert!(assembler.push(frame.clone()).is_ok());
        }
        assert!(assembler.push(last.clone()).is_err(), "{sequence:?}");
    }
}

#[test]
fn of_two_changes_of_one_item_the_later_wins_in_any_order() {
    let at = Timestamp::default();
    let mut assembler = Assembler::new(10);
    for frame in
        [WatchFrame::Begin { full: false }, WatchFrame::Change(change(12, true)), WatchFrame::Change(change(11, false))]
    {
        assert_eq!(assembler.push(frame).unwrap(), None);
    }
    let Some(Event::Delta(delta)) = assembler.push(WatchFrame::Commit { version: 12, at }).unwrap() else { panic!() };
    assert_eq!(delta.changes.iter().map(|c| c.version).collect::<Vec<_>>(), [11, 12]);
    assert_eq!(assembler.push(WatchFrame::Ping { version: 12, at }).unwrap(), Some(Event::Confirmed));
}
