//! `aegis-proxy --config FILE [--check]`: reads the configuration and runs the sidecar until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_proxy::config::{self, Config, Environment};
use aegis_proxy::{boot, telemetry};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Aegis sidecar: decides, executes and proves the tool calls of AI agents.
#[derive(Debug, Parser)]
#[command(name = "aegis-proxy", version)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and the tool routes, then exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "the environment is read once, here")]
    let environment: Environment = std::env::vars().collect();
    let ended = load(&arguments, &environment).and_then(|config| {
        if arguments.check {
            boot::load_tools(&config, &environment).map_err(|e| e.to_string())?;
            println!("{}: the configuration is valid", arguments.config.display());
            return Ok(());
        }
        serve(config, environment)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("aegis-proxy: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Arguments, environment: &Environment) -> Result<Config, String> {
    let of_file = |problem: &dyn std::fmt::Display| format!("{}: {problem}", arguments.config.display());
    let text = std::fs::read_to_string(&arguments.config).map_err(|e| of_file(&e))?;
    config::load(&text, environment).map_err(|e| of_file(&e))
}

fn serve(config: Config, environment: Environment) -> Result<(), String> {
    // One TLS provider for the process, before anything asks for one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err("a TLS provider is installed already".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.listen.threads)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let telemetry = telemetry::install(&config).map_err(|e| e.to_string())?;
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone()).map_err(|e| e.to_string())?;
        let ended = boot::run(config, environment, stop).await;
        telemetry.flush();
        ended.map_err(|e| e.to_string())
    })
}

/// SIGTERM and SIGINT end the sidecar in order; a second one ends it at once.
fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                // The outbox is made for this: the next start settles what was under way.
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}
