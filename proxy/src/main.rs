//! `aegis-proxy --config FILE [--check]`: reads the configuration and runs the sidecar until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_proxy::config::{self, Config, Environment};
use clap::Parser;

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
    match load(&arguments) {
        Ok(_) if arguments.check => {
            println!("{}: the configuration is valid", arguments.config.display());
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{}: {problem}", arguments.config.display());
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Arguments) -> Result<Config, String> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read once, here")]
    let environment: Environment = std::env::vars().collect();
    let text = std::fs::read_to_string(&arguments.config).map_err(|e| e.to_string())?;
    config::load(&text, &environment).map_err(|e| e.to_string())
}
