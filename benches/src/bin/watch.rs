//! Many sidecars on one control plane: how long until a kill switch has reached every one of them.

use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::BootId;
use aegis_core::sidecar::{ENROLL_CONTEXT, EnrollRequest, Heartbeat, LatencySummary, SidecarCredential, WatchFrame};
use aegis_core::time::{Clock, Monotonic, SystemClock};
use aegis_ledger::signing::PrivateKey;
use aegis_tests::deployment::{Database, Deployment};
use clap::{Parser, ValueEnum};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Connects simulated sidecars, then engages and releases a kill switch, and prints when the changes arrived.
#[derive(Debug, Parser)]
struct Arguments {
    /// Sidecars, beside the real one; both together, a control plane takes 2 000.
    #[arg(long, default_value_t = 1_999, value_parser = clap::value_parser!(u32).range(1..=1_999))]
    sidecars: u32,
    /// Turns of engaging and releasing.
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// The database.
    #[arg(long, value_enum, default_value_t = Kind::Sqlite)]
    database: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Sqlite,
    Postgres,
}

/// Sidecars that one join token lets in.
const USES_MAX: u32 = 1_000;
/// The key of a tenant's kill switch among the items of the snapshot.
const KILL_SWITCH: &str = "kill_switch";
/// Sidecars that enrol at once.
const ENROLLING_MAX: usize = 32;
/// A sidecar that has heard nothing for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let database = match arguments.database {
        Kind::Sqlite => Database::Sqlite,
        Kind::Postgres => Database::Postgres,
    };
    let deployment = Deployment::start(database).await;
    let clock = SystemClock::new();
    let joins = [deployment.join_token(USES_MAX).await, deployment.join_token(USES_MAX).await];
    let (heard, mut applied) = mpsc::channel(4_096);
    let began = clock.monotonic();
    connect(&deployment, clock, &joins, arguments.sidecars, &heard).await;
    let count = arguments.sidecars as usize;
    arrivals(&mut applied, count).await;
    println!("{count} sidecars enrolled, and hold their first snapshot: {:.1?}", clock.monotonic().since(began));
    println!("{:>10} {:>12} {:>12} {:>12} {:>12}", "change", "answered", "p50", "p99", "last");
    for turn in 0..arguments.turns {
        let path = format!("/decision/kill-switch/{}", deployment.admin.tenant_id);
        for (change, method) in [("engage", reqwest::Method::POST), ("release", reqwest::Method::DELETE)] {
            let sent = clock.monotonic();
            let body = (change == "engage").then(|| json!({ "action": "engage", "reason": format!("turn {turn}") }));
            let call = deployment.admin.ask(method, &path, body);
            let (answer, times) = tokio::join!(
                async {
                    call.await.data();
                    clock.monotonic()
                },
                arrivals(&mut applied, count)
            );
            let mut times: Vec<Duration> = times.into_iter().map(|at| at.since(sent)).collect();
            times.sort_unstable();
            let [middle, late, last] = [count / 2, count * 99 / 100, count - 1].map(|n| times[n]);
            println!("{change:>10} {:>12.1?} {middle:>12.1?} {late:>12.1?} {last:>12.1?}", answer.since(sent));
        }
    }
}

/// When each of `count` sidecars had what was awaited.
async fn arrivals(applied: &mut mpsc::Receiver<Monotonic>, count: usize) -> Vec<Monotonic> {
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let next = tokio::time::timeout(SILENCE_MAX, applied.recv()).await;
        let time = next.ok().flatten();
        times.push(time.unwrap_or_else(|| panic!("{} of {count} sidecars heard of it", times.len())));
    }
    times
}

async fn connect(
    deployment: &Deployment,
    clock: SystemClock,
    joins: &[String],
    count: u32,
    heard: &mpsc::Sender<Monotonic>,
) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(ENROLLING_MAX));
    let mut enrolling = tokio::task::JoinSet::new();
    for n in 0..count {
        let permit = std::sync::Arc::clone(&places).acquire_owned().await.expect("open");
        let (http, base) = (deployment.admin.http.clone(), deployment.admin.base.clone());
        let join = joins[n as usize / USES_MAX as usize].clone();
        let heard = heard.clone();
        enrolling.spawn(async move {
            let sidecar = Sidecar::enrol(http, clock, base, &join, n).await;
            drop(permit);
            tokio::spawn(sidecar.watch(heard));
        });
    }
    while let Some(done) = enrolling.join_next().await {
        done.expect("an enrolment");
    }
}

/// What a sidecar does with its control plane, without calls.
struct Sidecar {
    http: reqwest::Client,
    /// The one of all: its zero is its own.
    clock: SystemClock,
    base: String,
    credential: String,
    boot: BootId,
}

impl Sidecar {
    async fn enrol(http: reqwest::Client, clock: SystemClock, base: String, join: &str, n: u32) -> Self {
        let key = PrivateKey::generate(&SystemEntropy);
        let statement = format!("{ENROLL_CONTEXT}{}", hex::encode(Sha256::digest(join.as_bytes())));
        let request = EnrollRequest {
            name: format!("simulated-{n}"),
            identity_key: key.public().to_base64(),
            proof: key.sign(statement.as_bytes()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let url = format!("{base}/internal/sidecar/enroll");
        let answer = http.post(url).bearer_auth(join).json(&request).send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        let credential: SidecarCredential =
            serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        let boot = BootId::generate(clock.now(), &SystemEntropy);
        Self { http, clock, base, credential: credential.credential, boot }
    }

    /// Reads the stream for ever; tells when the first snapshot and each kill switch are in force, and sends the heartbeat that a real one sends.
    async fn watch(self, heard: mpsc::Sender<Monotonic>) {
        let url = format!("{}/internal/sidecar/watch?since=0", self.base);
        let answer = self.http.get(url).bearer_auth(&self.credential).send().await.expect("a stream");
        let mut answer = answer.error_for_status().expect("a stream");
        let (mut rest, mut is_awaited) = (Vec::new(), false);
        while let Ok(Some(chunk)) = answer.chunk().await {
            rest.extend_from_slice(&chunk);
            let Some(end) = rest.iter().rposition(|b| *b == b'\n') else { continue };
            let lines: Vec<u8> = rest.drain(..=end).collect();
            for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                match serde_json::from_slice(line).expect("a frame") {
                    WatchFrame::Begin { full } => is_awaited = full,
                    WatchFrame::Change(change) => is_awaited |= change.key == KILL_SWITCH,
                    WatchFrame::Commit { version, .. } => {
                        if is_awaited && heard.send(self.clock.monotonic()).await.is_err() {
                            return;
                        }
                        self.heartbeat(version).await;
                    }
                    WatchFrame::Ping { .. } => {}
                }
            }
        }
    }

    async fn heartbeat(&self, version: u64) {
        let heartbeat = Heartbeat {
            boot: self.boot,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            public_url: String::new(),
            snapshot_version: version,
            snapshot_applied_at: self.clock.now(),
            outbox_rows: 0,
            outbox_age_ms: 0,
            level: aegis_core::decision::Level::Signed,
            tools: None,
            counters: Vec::new(),
            decision_us: LatencySummary::default(),
            checkpoints: Vec::new(),
        };
        let url = format!("{}/internal/sidecar/heartbeat", self.base);
        // One that fails would be sent again by the next tick of a real sidecar.
        drop(self.http.post(url).bearer_auth(&self.credential).json(&heartbeat).send().await);
    }
}
