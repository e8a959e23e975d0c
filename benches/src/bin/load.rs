//! End-to-end load: calls through a real sidecar, and the same requests through nginx to the same tools, one after
//! the other in the same run. Prints throughput, latency and CPU per call of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_benches::latency::Latencies;
use aegis_core::time::{Clock, SystemClock};
use aegis_tests::client::{Agent, http};
use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::ports::Ports;
use aegis_tests::wait::until;
use clap::Parser;
use reqwest::RequestBuilder;
use serde_json::json;

/// Load on one sidecar and, for comparison, on nginx as a plain reverse proxy.
#[derive(Debug, Parser)]
struct Arguments {
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds per target.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Agents that share the load.
    #[arg(long, default_value_t = 16)]
    agents: usize,
    /// Do without nginx.
    #[arg(long)]
    no_nginx: bool,
}

const TOOL: &str = "test.echo";
/// Kernel clock ticks per second, as `/proc` counts them on Linux.
const TICKS_PER_SECOND: u64 = 100;

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let deployment = Deployment::start(Database::Sqlite).await;
    let mut agents = Vec::new();
    for n in 0..arguments.agents.max(1) {
        agents.push(deployment.agent(&format!("load-{n}"), &[TOOL]).await);
    }
    println!(
        "{} connections, {} s each, {} agents, payload {} bytes\n",
        arguments.connections,
        arguments.seconds,
        agents.len(),
        payload(0).to_string().len()
    );
    println!("{:<8} {:>9} {:>9} {:>9} {:>9} {:>12}  answers", "target", "calls/s", "p50", "p95", "p99", "CPU/call");

    let [sidecar, _] = deployment.pids();
    let url = deployment.url().to_owned();
    let call = move |agent: &Agent, n: u64| agent.request(&url, TOOL, &payload(n));
    measure("sidecar", &arguments, &agents, &[sidecar], call).await;

    if arguments.no_nginx {
        return;
    }
    let Some(nginx) = Nginx::start(deployment.upstream.port).await else {
        println!("nginx    is not installed: no comparison");
        return;
    };
    let address = format!("http://127.0.0.1:{}/tools/{TOOL}", nginx.port);
    let pass = move |agent: &Agent, n: u64| agent.http.post(&address).json(&payload(n));
    measure("nginx", &arguments, &agents, &nginx.pids(), pass).await;
}

fn payload(n: u64) -> serde_json::Value {
    json!({ "customer": n, "note": "Order 1042 left our house this morning and should arrive by Thursday." })
}

async fn measure<F>(name: &str, arguments: &Arguments, agents: &[Agent], pids: &[u32], request: F)
where
    F: Fn(&Agent, u64) -> RequestBuilder + Send + Sync + 'static,
{
    let (stop, request) = (Arc::new(AtomicBool::new(false)), Arc::new(request));
    let clock = SystemClock::new();
    let cpu_before = cpu_of(pids);
    let started = clock.monotonic();
    let mut tasks = Vec::new();
    for n in 0..arguments.connections {
        // A client of its own is a connection of its own.
        let agent = Agent { http: http(), ..agents[n % agents.len()].clone() };
        let (stop, request) = (Arc::clone(&stop), Arc::clone(&request));
        tasks.push(tokio::spawn(async move {
            let (mut times, mut answers) = (Vec::new(), BTreeMap::<u16, u64>::new());
            let mut turn = n as u64;
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                let sent = clock.monotonic();
                let status = match request(&agent, turn).send().await {
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        if answer.bytes().await.is_ok() { status } else { 0 }
                    }
                    Err(_) => 0,
                };
                times.push(clock.monotonic().since(sent));
                *answers.entry(status).or_default() += 1;
            }
            (times, answers)
        }));
    }
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut times, mut answers) = (Vec::new(), BTreeMap::<u16, u64>::new());
    for task in tasks {
        if let Ok((more, counts)) = task.await {
            times.extend(more);
            for (status, count) in counts {
                *answers.entry(status).or_default() += count;
            }
        }
    }
    let took = clock.monotonic().since(started);
    report(name, &Latencies::of(times), took, cpu_of(pids).saturating_sub(cpu_before), &answers);
}

fn report(name: &str, latencies: &Latencies, took: Duration, ticks: u64, answers: &BTreeMap<u16, u64>) {
    let calls = latencies.count() as u64;
    let per_second = u128::from(calls) * 1_000 / took.as_millis().max(1);
    let cpu_us = ticks * 1_000_000 / TICKS_PER_SECOND / calls.max(1);
    let us = |permille: usize| format!("{} µs", latencies.at(permille).as_micros());
    println!("{name:<8} {per_second:>9} {:>9} {:>9} {:>9} {:>9} µs  {answers:?}", us(500), us(950), us(990), cpu_us);
}

/// CPU time of processes so far, in ticks: user and system.
fn cpu_of(pids: &[u32]) -> u64 {
    let ticks = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; fields 14 and 15 of the line are counted from behind it.
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        fields.get(11).copied().unwrap_or(0) + fields.get(12).copied().unwrap_or(0)
    };
    pids.iter().map(ticks).sum()
}

/// nginx with one worker, keep-alive on both sides, nothing else.
struct Nginx {
    port: u16,
    master: Child,
    _ports: Ports,
    _dir: tempfile::TempDir,
}

impl Nginx {
    async fn start(upstream: u16) -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let ports = Ports::take();
        let port = ports.port(0);
        let config = format!(
            "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\nevents {{ worker_connections 4096; }}\n\
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u;\n\
             scgi_temp_path {0}/s; keepalive_requests 1000000;\n\
             upstream tools {{ server 127.0.0.1:{upstream}; keepalive 256; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://tools; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; }} }} }}\n",
            dir.path().display()
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).ok()?;
        let master =
            Command::new("nginx").arg("-c").arg(&file).arg("-p").arg(dir.path()).stderr(Stdio::null()).spawn().ok()?;
        until("nginx listens", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())).await;
        Some(Self { port, master, _ports: ports, _dir: dir })
    }

    fn pids(&self) -> Vec<u32> {
        let master = self.master.id();
        let children =
            Path::new("/proc").join(master.to_string()).join("task").join(master.to_string()).join("children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([master]).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.master.id().to_string()]).status();
        let _ = self.master.wait();
    }
}
