//! The control plane: the management API, the sidecars' counterpart and the keeper of the ledger.

mod access;
mod api;
mod bootstrap;
mod caller;
mod config;
mod connection;
mod context;
mod cookie;
mod credential;
mod directory;
mod documents;
mod envelope;
mod error;
mod etag;
mod example;
mod extract;
mod figures;
mod health;
mod idempotency;
mod keys;
mod lockout;
mod mail;
mod metrics;
mod openapi;
mod operation;
mod password;
mod presence;
mod presented;
mod publishing;
mod record;
mod router;
mod serve;
mod sidecar;
mod span;
mod state;
mod tag;
mod telemetry;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod throttle;
mod token;
mod trust;
mod upkeep;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use aegis_core::entropy::{Entropy, SystemEntropy};
use aegis_core::time::{Clock, SystemClock};
use aegis_store::ledger::control;
use aegis_store::{Keys, Store};
use clap::{Parser, Subcommand};

use crate::bootstrap::{Bootstrap, JoinToken};
use crate::config::Config;
use crate::password::Passwords;
use crate::state::AppState;
use crate::token::TokenSigner;
use crate::trust::Trust;

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
    /// Prints the OpenAPI document.
    Openapi,
    /// Makes the first tenant with its administrator and a join token, and prints them as JSON.
    Bootstrap(Bootstrap),
    /// Makes a token with which a sidecar enrols, and prints it as JSON.
    JoinToken(JoinToken),
    /// Prints the trust policy for `aegis-verify`, from the key files alone.
    Trust(Trust),
    /// Rotates the key that signs checkpoints, and reports keys that were stolen.
    #[command(subcommand)]
    Keys(keys::Keys),
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
    let command = arguments.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        let document = openapi::document(&router::operations(), &config.public_base_url);
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    // Every TLS user of the process shares this provider.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a TLS provider is installed already")?;
    let telemetry = telemetry::install(&config)?;
    let outcome = execute(command, config).await;
    telemetry.flush();
    outcome
}

async fn execute(command: Command, config: Config) -> Result<(), Fault> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let keys_dir = config.data.dir.join("keys");
    if let Command::Trust(arguments) = &command {
        print!("{}", trust::policy(arguments, &config.deployment, &keys_dir, &*clock, &*entropy)?);
        return Ok(());
    }
    let keys = Keys::load(&keys_dir, &*clock, &*entropy)?;
    let signer = TokenSigner::load(&keys_dir, &config.deployment, &*entropy)?;
    let software = concat!("aegis-control-api/", env!("CARGO_PKG_VERSION"));
    let store = Store::open(&config.database.url, keys, software, Arc::clone(&clock), Arc::clone(&entropy)).await?;
    match command {
        Command::Serve => {
            let app = Arc::new(AppState::new(config, store.clone(), signer, clock, entropy).await?);
            serve::serve(app).await?;
        }
        Command::Bootstrap(arguments) => {
            let passwords = Passwords::new(entropy)?;
            if let Some(made) = bootstrap::bootstrap(&arguments, &store, &signer, &passwords).await? {
                println!("{made}");
            }
        }
        // Answered before anything was opened.
        Command::Openapi | Command::Trust(_) => {}
        Command::Keys(command) => println!("{}", keys::run(&command, &store).await?),
        Command::JoinToken(arguments) => println!("{}", bootstrap::join_token(&arguments, &store).await?),
    }
    control::close_boot(&store, "the process ends in order").await?;
    store.close().await;
    Ok(())
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
