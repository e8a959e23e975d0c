//! `sample-tools`: the server of the sample tools.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use aegis_core::time::SystemClock;
use aegis_dev::tools::{Sandbox, router};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Sample tools for Aegis: SQL on an embedded shop, files, pages, mail and a few commands, all in a sandbox.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where the sandbox lives.
    #[arg(long, value_name = "DIR", default_value = ".dev/tools")]
    data: PathBuf,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = Sandbox::open(&arguments.data, arguments.listen, Arc::new(SystemClock::new())).await?;
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .map_err(|e| format!("cannot listen on {}: {e}", arguments.listen))?;
    tracing::info!(address = %arguments.listen, data = %arguments.data.display(), "sample tools are up");
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    axum::serve(listener, router(sandbox)).with_graceful_shutdown(stop).await?;
    Ok(())
}
