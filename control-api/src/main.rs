//! The control plane: the management API, the sidecars' counterpart and the keeper of the ledger.

mod access;
mod api;
mod caller;
mod config;
mod context;
mod credential;
mod documents;
mod envelope;
mod error;
mod example;
mod extract;
mod metrics;
mod openapi;
mod operation;
mod record;
mod router;
mod serve;
mod state;
mod tag;
mod telemetry;
mod throttle;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use aegis_core::entropy::SystemEntropy;
use aegis_core::time::SystemClock;
use aegis_store::{Keys, Store};
use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::state::AppState;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of Aegis.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; only defaults and the environment without it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Checks the configuration and exits.
    #[arg(long, global = true)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the API (the default).
    Serve,
}

type Fault = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("aegis-control-api: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Fault> {
    let config = read_config(&arguments)?;
    if arguments.check {
        println!("the configuration is valid");
        return Ok(());
    }
    // Every TLS user of the process shares this provider.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a TLS provider is installed already")?;
    let telemetry = telemetry::install(&config)?;
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let keys = Keys::load(&config.data.dir.join("keys"), &*clock, &*entropy)?;
    let software = concat!("aegis-control-api/", env!("CARGO_PKG_VERSION"));
    let store = Store::open(&config.database.url, keys, software, clock.clone(), entropy.clone()).await?;
    let app = Arc::new(AppState::new(config, store, clock, entropy)?);
    let outcome = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(app).await,
    };
    telemetry.flush();
    outcome
}

fn read_config(arguments: &Arguments) -> Result<Config, Fault> {
    let text = match &arguments.config {
        Some(path) => std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?,
        None => String::new(),
    };
    #[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
    let environment = std::env::vars();
    let config: Config = aegis_core::config::load(&text, "AEGIS_CONTROL", environment)?;
    config.check()?;
    Ok(config)
}
