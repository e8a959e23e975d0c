//! Keeps the parts running: starts them, waits until they are ready, restarts the dead, stops all in order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aegis_core::time::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fault::{Fault, at};
use crate::layout::write_private;

/// How long a part may take to become ready.
pub const READY_TIME_MAX: Duration = Duration::from_mins(1);
/// How long a part may take to end after SIGTERM.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(50);
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// A part that ran this long has recovered: the next back-off starts small again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
const LOG_TAIL_BYTES: u64 = 3_000;
const STARTS_BEFORE_READY_MAX: u32 = 3;

/// One program to keep running.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name, which is its binary's.
    pub name: &'static str,
    /// The port it serves.
    pub port: u16,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
    /// What answers 200 once it is ready.
    pub ready_url: String,
}

/// One line of `run.json`.
#[derive(Debug, Clone, Serialize)]
struct Run {
    pid: u32,
    port: u16,
    version: String,
}

type Runs = Arc<Mutex<BTreeMap<&'static str, Run>>>;

/// The parts that run.
pub struct Supervisor {
    http: reqwest::Client,
    /// This very binary, which launches the children.
    own_program: PathBuf,
    run_file: PathBuf,
    runs: Runs,
    published: watch::Sender<bool>,
    parts: Vec<Keeper>,
}

struct Keeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// A supervisor that will write `run_file`.
    pub fn new(http: reqwest::Client, own_program: PathBuf, run_file: PathBuf) -> Self {
        // Whatever an earlier run left there names processes that are gone.
        let _ = std::fs::remove_file(&run_file);
        Self {
            http,
            own_program,
            run_file,
            runs: Runs::default(),
            published: watch::Sender::new(false),
            parts: Vec::new(),
        }
    }

    /// Starts a part, returns once it is ready, and keeps it running from then on.
    ///
    /// # Errors
    /// If it can't be started or does not become ready.
    pub async fn start(&mut self, part: Part) -> Result<(), Fault> {
        if std::net::TcpListener::bind(("127.0.0.1", part.port)).is_err() {
            return Err(Fault::PortTaken { port: part.port, part: part.name });
        }
        let version = version_of(&part).await?;
        let keep = Keep {
            http: self.http.clone(),
            own_program: self.own_program.clone(),
            run_file: self.run_file.clone(),
            runs: Arc::clone(&self.runs),
            published: self.published.subscribe(),
            part: part.clone(),
            version,
        };
        let (stop, stopped) = watch::channel(false);
        let (ready, mut became_ready) = watch::channel(Progress::Starting);
        let task = tokio::spawn(keep.run(stopped, ready));
        self.parts.push(Keeper { stop, task });
        let outcome =
            tokio::time::timeout(READY_TIME_MAX, became_ready.wait_for(|p| !matches!(p, Progress::Starting))).await;
        match outcome {
            Ok(Ok(progress)) if matches!(*progress, Progress::Ready) => Ok(()),
            _ => Err(Fault::NotReady { part: part.name, tail: tail(&part.log), log: part.log }),
        }
    }

    /// Writes `run.json`; from now on it is kept up to date.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn publish(&self) -> Result<(), Fault> {
        self.published.send_replace(true);
        write_runs(&self.run_file, &self.runs)
    }

    /// Stops all parts, the last started first, and waits for them.
    pub async fn stop(self) {
        let _ = std::fs::remove_file(&self.run_file);
        for keeper in self.parts.into_iter().rev() {
            keeper.stop.send_replace(true);
            let _ = keeper.task.await;
        }
    }
}

enum Progress {
    Starting,
    Ready,
    Failed,
}

struct Keep {
    http: reqwest::Client,
    own_program: PathBuf,
    run_file: PathBuf,
    runs: Runs,
    published: watch::Receiver<bool>,
    part: Part,
    version: String,
}

impl Keep {
    async fn run(self, mut stopped: watch::Receiver<bool>, progress: watch::Sender<Progress>) {
        let clock = SystemClock::new();
        let mut back_off = BACK_OFF_FIRST;
        let mut starts = 0;
        loop {
            let started = clock.monotonic();
            starts += 1;
            if let Ok(child) = self.spawn() {
                let stop = self.watch(child, &mut stopped, &progress).await;
                if stop {
                    return;
                }
                tracing::warn!(part = self.part.name, "ended; starting it again");
            }
            if matches!(*progress.borrow(), Progress::Starting) && starts >= STARTS_BEFORE_READY_MAX {
                progress.send_replace(Progress::Failed);
                return;
            }
            if clock.monotonic().since(started) > STABLE_AFTER {
                back_off = BACK_OFF_FIRST;
            }
            tokio::select! {
                () = tokio::time::sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_MAX),
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Until the child ends (false) or is asked to (true).
    async fn watch(
        &self,
        mut child: Child,
        stopped: &mut watch::Receiver<bool>,
        progress: &watch::Sender<Progress>,
    ) -> bool {
        let pid = child.id();
        let ready = async {
            self.ready().await;
            self.record(pid);
            progress.send_replace(Progress::Ready);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = child.wait() => return false,
            _ = stopped.wait_for(|stop| *stop) => {}
            () = ready => {}
        }
        if let Some(pid) = pid.and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIME_MAX, child.wait()).await.is_err() {
            tracing::warn!(part = self.part.name, "did not end in time; killed");
            let _ = child.kill().await;
        }
        true
    }

    fn spawn(&self) -> Result<Child, Fault> {
        let log = &self.part.log;
        let output = OpenOptions::new().append(true).create(true).open(log).map_err(at(log))?;
        let errors = output.try_clone().map_err(at(log))?;
        let child = Command::new(&self.own_program)
            .args(["launch", "--parent"])
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&self.part.program)
            .args(&self.part.arguments)
            // Its own group: Ctrl-C reaches us alone, and we stop the parts in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }

    async fn ready(&self) {
        loop {
            let answer = self.http.get(&self.part.ready_url).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn record(&self, pid: Option<u32>) {
        let run = Run { pid: pid.unwrap_or(0), port: self.part.port, version: self.version.clone() };
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(self.part.name, run);
        if *self.published.borrow()
            && let Err(fault) = write_runs(&self.run_file, &self.runs)
        {
            tracing::warn!("{fault}");
        }
    }
}

fn write_runs(file: &std::path::Path, runs: &Runs) -> Result<(), Fault> {
    let runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
    let text =
        serde_json::to_string_pretty(&*runs).map_err(|source| Fault::Json { what: "run.json".into(), source })?;
    write_private(file, text.as_bytes())
}

async fn version_of(part: &Part) -> Result<String, Fault> {
    let answer = Command::new(&part.program).arg("--version").output().await.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Fault::MissingBinary(part.program.clone()),
        _ => Fault::File { path: part.program.clone(), source: e },
    })?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    Ok(text.split_whitespace().nth(1).unwrap_or_default().to_owned())
}

fn tail(log: &std::path::Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
