//! `aegis-dev`: everything on one machine, from one command.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_dev::credentials::Credentials;
use aegis_dev::demo;
use aegis_dev::fault::Fault;
use aegis_dev::launch::become_child_of;
use aegis_dev::layout::{Layout, Ports};
use aegis_dev::provision;
use aegis_dev::supervisor::{Part, Supervisor};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Runs Aegis on this machine: control plane, sidecar and sample tools, then shows what they do.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Becomes a program that ends with its parent; used by aegis-dev itself.
    #[command(hide = true)]
    Launch {
        /// The parent's process id.
        #[arg(long)]
        parent: i32,
        /// The program and its arguments.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Where all state is kept.
    #[arg(long, value_name = "DIR", default_value = ".dev")]
    data: PathBuf,
    /// First port: the sidecar listens on N and N+1, the control plane on N+80, the sample tools on N+90.
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u16).range(1..=65_445))]
    port_base: u16,
    /// Starts and waits until ready, without the demonstration.
    #[arg(long, conflicts_with = "demo_only")]
    no_demo: bool,
    /// Stops after the demonstration; exits 0 only if every outcome was the expected one.
    #[arg(long)]
    demo_only: bool,
}

// One thread: a child dies with the thread that started it, so that thread must be the main one.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Launch { parent, command }) = arguments.command {
        eprintln!("aegis-dev launch: {}", become_child_of(parent, &command));
        return ExitCode::FAILURE;
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match deploy(&arguments.run).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("aegis-dev: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn deploy(run: &Run) -> Result<(), Fault> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = std::env::current_exe()?;
    let bin = own.parent().unwrap_or(Path::new("/")).to_owned();
    let ports = Ports::above(run.port_base).ok_or_else(|| std::io::Error::other("--port-base is too high"))?;
    let layout = Layout::create(&run.data, ports)?;
    let _lock = layout.lock()?;
    layout.write_configuration()?;
    let http = reqwest::Client::builder().no_proxy().build().map_err(std::io::Error::other)?;
    let mut supervisor = Supervisor::new(http.clone(), own, layout.file("run.json"));

    let mut stop = Stop::listen()?;
    let outcome = tokio::select! {
        outcome = work(run, &layout, &bin, &http, &mut supervisor) => outcome,
        () = stop.asked() => Err(Fault::Interrupted),
    };
    let outcome = match outcome {
        Ok(()) if !run.demo_only => {
            println!("Running. Ctrl-C stops everything; the state stays in {}.", layout.dir.display());
            stop.asked().await;
            Ok(())
        }
        other => other,
    };
    // Asked a second time, we end at once, and the kernel ends the parts with us.
    tokio::select! {
        () = supervisor.stop() => outcome,
        () = stop.asked() => Err(Fault::Interrupted),
    }
}

async fn work(
    run: &Run,
    layout: &Layout,
    bin: &Path,
    http: &reqwest::Client,
    supervisor: &mut Supervisor,
) -> Result<(), Fault> {
    println!("Starting in {} …", layout.dir.display());
    let control_api = bin.join("aegis-control-api");
    if !control_api.exists() {
        return Err(Fault::MissingBinary(control_api));
    }
    let mut credentials = provision::bootstrap(layout, &control_api).await?;
    let [tools, control, sidecar] = parts(layout, bin);
    supervisor.start(tools).await?;
    supervisor.start(control).await?;
    provision::agents(layout, http, &mut credentials).await?;
    // Last: its first snapshot holds everything.
    supervisor.start(sidecar).await?;
    supervisor.publish()?;
    if !run.no_demo {
        let unexpected = demo::run(http, &credentials).await?;
        if run.demo_only && unexpected > 0 {
            return Err(Fault::Unexpected(unexpected));
        }
    }
    guide(&credentials, layout);
    Ok(())
}

fn guide(credentials: &Credentials, layout: &Layout) {
    demo::print_guide(credentials, &layout.file("dev-credentials.json"));
}

fn parts(layout: &Layout, bin: &Path) -> [Part; 3] {
    let part = |name: &'static str, port: u16, arguments: Vec<OsString>, ready_url: String| Part {
        name,
        port,
        program: bin.join(name),
        arguments,
        log: layout.file("logs").join(format!("{name}.log")),
        ready_url,
    };
    let Ports { sidecar, control, tools, .. } = layout.ports;
    [
        part(
            "sample-tools",
            tools,
            vec!["--data".into(), layout.file("tools").into(), "--listen".into(), format!("127.0.0.1:{tools}").into()],
            format!("http://127.0.0.1:{tools}/livez"),
        ),
        part(
            "aegis-control-api",
            control,
            vec!["--config".into(), layout.control_config().into(), "serve".into()],
            format!("{}/health", layout.control_url()),
        ),
        part(
            "aegis-proxy",
            sidecar,
            vec!["--config".into(), layout.proxy_config().into()],
            format!("{}/readyz", layout.admin_url()),
        ),
    ]
}

/// The wishes to end: Ctrl-C, SIGTERM, a closed terminal.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
