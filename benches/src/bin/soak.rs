//! Hours of mixed load at a steady pace, with the memory of both processes beside it: what must not grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::time::{Clock, SystemClock};
use aegis_tests::client::Agent;
use aegis_tests::deployment::{Database, Deployment};
use clap::Parser;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Steady load for a long time; prints the memory of sidecar and control plane once a minute.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Calls a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Agents, two at least, exchanged for new ones every ten minutes: their tokens end, and what is kept of them must too.
    #[arg(long, default_value_t = 20)]
    agents: usize,
}

const TOOL: &str = "test.echo";
/// Calls under way at most; a call beyond waits, so that a slow minute shows as fewer calls.
const CALLS_AT_ONCE_MAX: usize = 64;
const AGENTS_LIVE: u64 = 10;

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let mut deployment = Deployment::start(Database::Sqlite).await;
    let clock = SystemClock::new();
    let started = clock.monotonic();
    println!("{} calls/s for {} min, {} agents at a time", arguments.rate, arguments.minutes, arguments.agents);
    println!("{:>6} {:>9} {:>12} {:>12}  answers", "minute", "calls", "sidecar", "control");
    let mut agents = Vec::new();
    for minute in 0..arguments.minutes {
        if minute % AGENTS_LIVE == 0 {
            deployment.renew_admin().await;
            agents = new_agents(&deployment, minute, arguments.agents.max(2)).await;
        }
        let end = Duration::from_secs(60 * (minute + 1));
        let is_over = || clock.monotonic().since(started) >= end;
        let answers = one_minute(&deployment, &agents, arguments.rate, minute, is_over).await;
        let [sidecar, control] = deployment.pids().map(resident_kib);
        let calls: u64 = answers.values().sum();
        println!("{:>6} {calls:>9} {sidecar:>8} KiB {control:>8} KiB  {answers:?}", minute + 1);
    }
}

async fn new_agents(deployment: &Deployment, minute: u64, count: usize) -> Vec<Agent> {
    let mut agents = Vec::with_capacity(count);
    for n in 0..count {
        agents.push(deployment.agent(&format!("soak-{minute}-{n}"), &[TOOL]).await);
    }
    agents
}

async fn one_minute(
    deployment: &Deployment,
    agents: &[Agent],
    rate: u64,
    minute: u64,
    is_over: impl Fn() -> bool,
) -> BTreeMap<u16, u64> {
    let places = Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX));
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / rate.max(1)));
    let (mut calls, mut answers) = (JoinSet::new(), BTreeMap::new());
    let mut turn = minute * 60 * rate;
    while !is_over() {
        pace.tick().await;
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else { break };
        turn += 1;
        let (agent, payload) = call(agents, turn);
        let request = agent.request(deployment.url(), TOOL, &payload).header("X-Session-ID", session(turn));
        calls.spawn(async move {
            let _permit = permit;
            match request.send().await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    if answer.bytes().await.is_ok() { status } else { 0 }
                }
                Err(_) => 0,
            }
        });
        while let Some(Ok(status)) = calls.try_join_next() {
            *answers.entry(status).or_default() += 1;
        }
    }
    while let Some(Ok(status)) = calls.join_next().await {
        *answers.entry(status).or_default() += 1;
    }
    answers
}

/// Ten calls share a session, then a new one begins.
fn session(turn: u64) -> String {
    format!("session-{}", turn / 200)
}

/// Mostly ordinary calls, some large; the first agent makes only hostile ones, or soon nobody would be let through.
fn call(agents: &[Agent], turn: u64) -> (&Agent, Value) {
    let ordinary = 1 + usize::try_from(turn).unwrap_or(0) % agents.len().saturating_sub(1).max(1);
    match turn % 500 {
        0 => {
            let text = "All orders of the day left our house this morning. ".repeat(800);
            (&agents[ordinary], json!({ "turn": turn, "text": text }))
        }
        1..=10 => (&agents[0], json!({ "query": format!("SELECT * FROM users WHERE id = {turn}; DROP TABLE users") })),
        11..=20 => (&agents[0], json!({ "path": format!("../../etc/passwd{turn}") })),
        _ => {
            let note = format!("Order {turn} left our house this morning, ask ada-{turn}@example.com.");
            (&agents[ordinary], json!({ "turn": turn, "note": note }))
        }
    }
}

/// Resident memory of a process, KiB; 0 when it is gone.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
