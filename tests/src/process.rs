//! One real binary under test: started, watched, stopped gently or not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::process::{Child, Command};

/// The folder of the binaries under test: those of the profile this test was built in.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("our own path");
    let folder = own.parent().expect("its folder");
    // Tests are in target/<profile>/deps, the load generator beside the binaries.
    let folder = if folder.ends_with("deps") { folder.parent().expect("target/<profile>") } else { folder };
    let path = folder.join(name);
    assert!(path.exists(), "{} does not exist: run `make test`, or `cargo build --workspace --bins`", path.display());
    path
}

/// How to start a binary.
#[derive(Clone)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment besides ours.
    pub environment: Vec<(String, String)>,
    /// Where its output goes; appended to.
    pub log: PathBuf,
}

impl Program {
    /// Starts it. It dies with the test's thread, so nothing is left behind however the test ends.
    pub fn start(&self) -> Process {
        let output = std::fs::OpenOptions::new().append(true).create(true).open(&self.log).expect("a log file");
        let child = Command::new(binary("aegis-dev"))
            .args(["launch", "--parent"])
            .arg(std::process::id().to_string())
            // A file-size limit, which tests impose, is an error to the program, not its end.
            .args(["--", "env", "--ignore-signal=XFSZ"])
            .arg(binary(self.name))
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        Process { child, log: self.log.clone(), name: self.name }
    }

    /// Runs it to its end; its standard output.
    pub async fn output(&self) -> Vec<u8> {
        let done =
            Command::new(binary(self.name)).args(&self.arguments).envs(self.environment.iter().cloned()).output().await;
        let done = done.expect("the binary starts");
        assert!(done.status.success(), "{} {:?}: {}", self.name, self.arguments, String::from_utf8_lossy(&done.stderr));
        done.stdout
    }
}

/// A running binary.
pub struct Process {
    child: Child,
    log: PathBuf,
    name: &'static str,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid")
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it ran");
    }

    /// SIGTERM; does not wait.
    pub fn terminate(&self) {
        kill_process(self.rustix_pid(), Signal::TERM).expect("it runs");
    }

    /// Waits for the end.
    pub async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.expect("its status")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// From now on no file of it may grow beyond `bytes`.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        prlimit(Some(self.rustix_pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("prlimit");
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(4_000);
        format!("--- {} ---\n{}", self.name, String::from_utf8_lossy(&text[from..]))
    }
}
