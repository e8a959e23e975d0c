//! `shell.run`: a few harmless commands, started directly; no shell ever reads the line.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::fault::ToolFault;

/// Bytes of output at most.
pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// How long a command may run.
pub const COMMAND_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a command line at most.
pub const LINE_BYTES_MAX: usize = 4 * 1024;

/// The programs, each with the arguments it may get; `None` allows any.
const ALLOWED: [(&str, Option<&[&str]>); 6] = [
    ("date", Some(&["-u", "--utc", "-I", "-Iseconds"])),
    ("df", Some(&["-h", "-i", "."])),
    ("echo", None),
    ("ls", Some(&["-l", "-a", "-la", "-1", "-R", "."])),
    ("uname", Some(&["-a", "-s", "-r", "-m"])),
    ("uptime", Some(&["-p", "-s"])),
];

/// The payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The command line, split into words as a shell would, and no further.
    pub command: String,
}

/// Where commands run.
#[derive(Clone)]
pub struct Shell {
    dir: PathBuf,
}

impl Shell {
    /// Commands run in `dir`.
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Runs one command.
    ///
    /// # Errors
    /// `bad_payload`, `outside_sandbox` for anything not on the list, `limit_reached`.
    pub async fn run(&self, payload: &Command) -> Result<Value, ToolFault> {
        let words = allowed_words(&payload.command)?;
        let [program, arguments @ ..] = words.as_slice() else {
            return Err(ToolFault::BadPayload("`command` is empty".into()));
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (stdout, stderr) = tokio::join!(drain(stdout), drain(stderr));
            Ok::<_, std::io::Error>((stdout?, stderr?, child.wait().await?))
        };
        let (stdout, stderr, status) = tokio::time::timeout(COMMAND_TIME_MAX, work).await.map_err(|_| {
            ToolFault::LimitReached(format!("the command ran longer than {} s", COMMAND_TIME_MAX.as_secs()))
        })??;
        Ok(json!({ "exit_code": status.code(), "stdout": stdout, "stderr": stderr }))
    }
}

async fn drain(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Result<String, std::io::Error> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What lies beyond the limit is dropped with the pipe; the command then ends by SIGPIPE.
        pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn allowed_words(line: &str) -> Result<Vec<String>, ToolFault> {
    if line.len() > LINE_BYTES_MAX || line.contains('\0') {
        return Err(ToolFault::BadPayload("`command` is too long or holds a NUL".into()));
    }
    let words = shlex::split(line).ok_or_else(|| ToolFault::BadPayload("`command` has an open quote".into()))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(ToolFault::BadPayload("`command` is empty".into()));
    };
    let Some((_, permitted)) = ALLOWED.iter().find(|(name, _)| name == program) else {
        let names: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        return Err(ToolFault::OutsideSandbox(format!("only these commands run here: {}", names.join(", "))));
    };
    match permitted.and_then(|list| arguments.iter().find(|a| !list.contains(&a.as_str()))) {
        Some(argument) => Err(ToolFault::OutsideSandbox(format!("`{program}` does not take `{argument}` here"))),
        None => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listed_commands_run_and_no_shell_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let shell = Shell::new(dir.path().into());
        let done = shell.run(&Command { command: "echo 'a b' ; rm -rf . > x".into() }).await.unwrap();
        assert_eq!(done["stdout"], "a b ; rm -rf . > x\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn everything_else_is_refused() {
        for line in ["rm -rf /", "/bin/ls", "ls /etc", "date -s 2020-01-01", "sh -c ls", "uname --help x"] {
            assert!(matches!(allowed_words(line), Err(ToolFault::OutsideSandbox(_))), "{line}");
        }
        for line in ["", "   ", "echo 'open"] {
            assert!(matches!(allowed_words(line), Err(ToolFault::BadPayload(_))), "{line}");
        }
    }
}
