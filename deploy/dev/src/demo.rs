//! The demonstration: a dozen calls as agents, each with the outcome it must have, then the proof of the log.

use std::collections::HashMap;
use std::time::Duration;

use aegis_core::time::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::api::Session;
use crate::credentials::{Agent, Credentials};
use crate::fault::Fault;
use crate::provision::{ASSISTANT, ATTACKER, LIMITED, LIMITED_RPS, OPERATOR, READER};

/// How long rows may take to reach the control plane.
const ROWS_TIME_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Calls in the burst that runs into the rate limit.
const BURST: usize = 4 * LIMITED_RPS as usize;

/// What must come of a call.
enum Expected {
    /// The tool acted.
    Allowed,
    /// The tool acted, and something was removed from its answer.
    Redacted,
    /// Refused with this error; by this rule, if one is named.
    Refused(&'static str, Option<&'static str>),
    /// The very answer of the call before, and the tool did not act again.
    Replayed,
}

struct Step {
    title: &'static str,
    agent: &'static str,
    tool: &'static str,
    payload: Value,
    expected: Expected,
    credential: Credential,
    idempotency_key: Option<String>,
}

enum Credential {
    Own,
    Forged,
}

/// What came of it.
struct Seen {
    status: u16,
    decision: String,
    risk: String,
    audit_id: Option<String>,
    micros: u128,
    body: Value,
}

/// Makes the calls and prints them; returns how many outcomes were not the expected ones.
///
/// # Errors
/// If the API can't be reached or refuses a login.
pub async fn run(http: &reqwest::Client, credentials: &Credentials) -> Result<usize, Fault> {
    let demo = Demo { http, credentials, sessions: log_in(http, credentials).await? };
    println!("\n{:<34} {:<15} {:<9} {:<28} {:>4} {:>9}", "call", "agent", "decision", "rule", "risk", "latency");
    let mut unexpected = 0;
    let mut rows = Vec::new();
    let mut before: Option<Value> = None;
    for step in steps(SystemClock::new().now().as_micros()) {
        let seen = demo.call(&step).await?;
        let verdict = judge(&step.expected, &seen, before.as_ref());
        print_line(step.title, step.agent, &seen, &verdict);
        unexpected += usize::from(verdict.is_err());
        rows.extend(seen.audit_id.filter(|_| !matches!(step.expected, Expected::Replayed)));
        before = Some(seen.body);
    }
    unexpected += demo.burst().await?;
    unexpected += demo.verify(&rows).await?;
    Ok(unexpected)
}

#[expect(clippy::too_many_lines, reason = "a table, one step per line of the demonstration")]
fn steps(run: i64) -> Vec<Step> {
    use Expected::{Allowed, Redacted, Refused, Replayed};
    let step = |title, agent, tool, payload, expected| Step {
        title,
        agent,
        tool,
        payload,
        expected,
        credential: Credential::Own,
        idempotency_key: None,
    };
    let once = |title, expected| Step {
        idempotency_key: Some(format!("demo-{run}")),
        ..step(
            title,
            ASSISTANT,
            "fs.write",
            json!({ "path": format!("notes/{run}.txt"), "content": "Call Ada back." }),
            expected,
        )
    };
    vec![
        step(
            "read one order",
            ASSISTANT,
            "db.query",
            json!({ "query": "SELECT id, status, total_cents FROM orders WHERE id = 42" }),
            Allowed,
        ),
        step("list the reports", ASSISTANT, "fs.list", json!({ "path": "reports" }), Allowed),
        step("look up a page", ASSISTANT, "http.fetch", json!({ "url": "http://shop.example/pages/returns" }), Allowed),
        step(
            "answer a customer",
            ASSISTANT,
            "mail.send",
            json!({ "to": "ada@example.com", "subject": "Your order", "body": "It left our house this morning." }),
            Allowed,
        ),
        once("write a note", Allowed),
        once("the same again, same key", Replayed),
        step("look at the machine", OPERATOR, "shell.run", json!({ "command": "uname -s" }), Allowed),
        step(
            "read stored credentials",
            ASSISTANT,
            "db.query",
            json!({ "query": "SELECT service, credential FROM integrations WHERE id <= 3" }),
            Redacted,
        ),
        step(
            "a tool without a grant",
            READER,
            "shell.run",
            json!({ "command": "date" }),
            Refused("policy_denied", None),
        ),
        step("a tool that does not exist", READER, "crm.export", json!({}), Refused("unknown_tool", None)),
        step(
            "drop a table",
            ATTACKER,
            "db.query",
            json!({ "query": "DROP TABLE customers" }),
            Refused("policy_denied", None),
        ),
        step(
            "leave the sandbox",
            ATTACKER,
            "fs.read",
            json!({ "path": "../../../../etc/shadow" }),
            Refused("policy_denied", None),
        ),
        step(
            "ask for cloud credentials",
            ATTACKER,
            "http.fetch",
            json!({ "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials/" }),
            Refused("policy_denied", None),
        ),
        step(
            "erase the disk",
            ATTACKER,
            "shell.run",
            json!({ "command": "rm -rf / --no-preserve-root" }),
            Refused("policy_denied", None),
        ),
        step(
            "read all personal data",
            ATTACKER,
            "db.query",
            json!({ "query": "SELECT name, email, phone FROM customers" }),
            Refused("approval_required", Some("data.escalate.bulk_pii")),
        ),
        Step {
            credential: Credential::Forged,
            ..step(
                "a forged token",
                ATTACKER,
                "db.query",
                json!({ "query": "SELECT 1" }),
                Refused("invalid_token", None),
            )
        },
    ]
}

async fn log_in(http: &reqwest::Client, credentials: &Credentials) -> Result<HashMap<String, (Agent, Session)>, Fault> {
    let mut sessions = HashMap::new();
    for agent in &credentials.agents {
        let session = Session::of_agent(http, &credentials.base_url, &credentials.tenant_id, agent).await?;
        sessions.insert(agent.name.clone(), (agent.clone(), session));
    }
    Ok(sessions)
}

struct Demo<'a> {
    http: &'a reqwest::Client,
    credentials: &'a Credentials,
    sessions: HashMap<String, (Agent, Session)>,
}

impl Demo<'_> {
    async fn call(&self, step: &Step) -> Result<Seen, Fault> {
        let fault = |problem: String| Fault::Api { call: format!("POST /execute ({})", step.title), problem };
        let (agent, session) =
            self.sessions.get(step.agent).ok_or_else(|| fault(format!("there is no agent {}", step.agent)))?;
        let token = match step.credential {
            Credential::Own => session.token().to_owned(),
            Credential::Forged => forged(session.token()),
        };
        let mut request = self
            .http
            .post(format!("{}/execute", self.credentials.base_url))
            .bearer_auth(token)
            .header("x-tenant-id", &self.credentials.tenant_id)
            .header("x-agent-id", &agent.id)
            .json(&json!({ "tool_name": step.tool, "payload": step.payload }));
        if let Some(key) = &step.idempotency_key {
            request = request.header("x-idempotency-key", key);
        }
        let clock = SystemClock::new();
        let started = clock.monotonic();
        let answer = request.send().await.map_err(|e| fault(e.to_string()))?;
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (decision, risk, audit_id) =
            (header("x-aegis-decision"), header("x-aegis-risk"), header("x-aegis-audit-id"));
        let status = answer.status().as_u16();
        let body = answer.json().await.map_err(|e| fault(e.to_string()))?;
        let micros = clock.monotonic().since(started).as_micros();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        Ok(Seen { status, decision: or_dash(decision), risk: or_dash(risk), audit_id, micros, body })
    }

    /// More calls in a moment than the agent may make: some pass, the rest are told to wait.
    async fn burst(&self) -> Result<usize, Fault> {
        let mut refused = 0;
        let mut last = None;
        for n in 0..BURST {
            let step = Step {
                title: "too many calls in a second",
                agent: LIMITED,
                tool: "db.query",
                payload: json!({ "query": format!("SELECT stock FROM products WHERE id = {}", n + 1) }),
                expected: Expected::Refused("rate_limited", Some("agent_rps")),
                credential: Credential::Own,
                idempotency_key: None,
            };
            let seen = self.call(&step).await?;
            if seen.status == 429 {
                refused += 1;
                last = Some((judge(&step.expected, &seen, None), seen));
            }
        }
        let Some((verdict, seen)) = last else {
            println!("{:<34} {:<15} none of {BURST} calls was refused  ✗", "too many calls in a second", LIMITED);
            return Ok(1);
        };
        print_line("too many calls in a second", LIMITED, &seen, &verdict);
        println!("{:<34} {:<15} {refused} of {BURST} were refused", "", "");
        Ok(usize::from(verdict.is_err()))
    }

    /// Waits until the rows have arrived, then has the whole chain checked.
    async fn verify(&self, rows: &[String]) -> Result<usize, Fault> {
        let Credentials { base_url, tenant_id, admin, .. } = self.credentials;
        let admin = Session::of_admin(self.http, base_url, tenant_id, admin).await?;
        let clock = SystemClock::new();
        let started = clock.monotonic();
        let missing = loop {
            let page = admin.get("/audit/logs?limit=500").await?;
            let known: Vec<&str> =
                page["items"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str()).collect();
            let missing = rows.iter().filter(|row| !known.contains(&row.as_str())).count();
            if missing == 0 || clock.monotonic().since(started) > ROWS_TIME_MAX {
                break missing;
            }
            tokio::time::sleep(POLL).await;
        };
        let chain = admin.get("/audit/logs/verify").await?;
        let whole = chain["valid"] == true && chain["complete"] == true && missing == 0;
        println!(
            "\nchain: {} of {} demonstration rows arrived; {} entries checked, valid: {}, complete: {}  {}",
            rows.len() - missing,
            rows.len(),
            chain["rows_checked"],
            chain["valid"],
            chain["complete"],
            if whole { "✓" } else { "✗" }
        );
        if !whole {
            println!("  violations: {}", chain["violations"]);
        }
        Ok(usize::from(!whole))
    }
}

/// The token with its signature's first character changed.
fn forged(token: &str) -> String {
    match token.rsplit_once('.') {
        Some((signed, signature)) => {
            let other = if signature.starts_with('A') { 'B' } else { 'A' };
            format!("{signed}.{other}{}", signature.get(1..).unwrap_or_default())
        }
        None => "forged".into(),
    }
}

fn judge(expected: &Expected, seen: &Seen, before: Option<&Value>) -> Result<(), String> {
    let Seen { status, body, .. } = seen;
    let error = body["error"].as_str().unwrap_or_default();
    let redacted = body["data"]["redactions"].as_u64().unwrap_or(0);
    match expected {
        Expected::Allowed if *status == 200 => Ok(()),
        Expected::Allowed => Err(format!("expected 200, got {status} {error}: {}", body["meta"]["message"])),
        Expected::Redacted if *status == 200 && redacted > 0 => Ok(()),
        Expected::Redacted => Err(format!("expected 200 with redactions, got {status} {error} with {redacted}")),
        Expected::Replayed => match before {
            Some(before) if *status == 200 && body["data"]["execution_id"] == before["data"]["execution_id"] => Ok(()),
            _ => Err(format!("expected the stored answer, got {status} {error}")),
        },
        Expected::Refused(wanted, rule) => {
            let data = &body["data"];
            let named = |rule: &str| {
                data["rule_id"] == rule
                    || data["limit_type"] == rule
                    || data["rule_ids"].as_array().is_some_and(|r| r.iter().any(|r| r == rule))
            };
            if error == *wanted && rule.is_none_or(named) {
                Ok(())
            } else {
                Err(format!("expected {wanted} {}, got {status} {error} {}", rule.unwrap_or_default(), data["rule_id"]))
            }
        }
    }
}

fn print_line(title: &str, agent: &str, seen: &Seen, verdict: &Result<(), String>) {
    let data = &seen.body["data"];
    let error = seen.body["error"].as_str().unwrap_or_default();
    let redacted = data["redactions"].as_u64().unwrap_or(0);
    let rule = match (data["rule_id"].as_str(), data["limit_type"].as_str()) {
        (Some(rule), _) => rule.to_owned(),
        (None, Some(limit)) => limit.to_owned(),
        (None, None) if !error.is_empty() => error.to_owned(),
        (None, None) if redacted > 0 => format!("{redacted} redacted"),
        (None, None) => "–".to_owned(),
    };
    let ms = format!("{}.{} ms", seen.micros / 1_000, seen.micros % 1_000 / 100);
    let mark = if verdict.is_ok() { "✓" } else { "✗" };
    println!("{title:<34} {agent:<15} {:<9} {rule:<28} {:>4} {ms:>9}  {mark}", seen.decision, seen.risk);
    if let Err(problem) = verdict {
        println!("    {problem}");
    }
}

/// Prints how to go on by hand.
pub fn print_guide(credentials: &Credentials, file: &std::path::Path) {
    let Credentials { base_url, control_url, admin_url, tenant_id, .. } = credentials;
    let file = file.display();
    let (id, name) = credentials.agents.first().map_or(("", ""), |agent| (agent.id.as_str(), agent.name.as_str()));
    println!(
        "
sidecar        {base_url}            (one address for everything: tool calls and the API)
control plane  {control_url}            docs: {control_url}/docs
admin port     {admin_url}            /livez /readyz /metrics
credentials    {file}

Call a tool as the first agent:

  ID={id} SECRET=$(sed -n '/\"name\": \"{name}\"/{{n;s/.*: \"\\(.*\\)\".*/\\1/p}}' {file})
  TOKEN=$(curl -s {base_url}/auth/agent/token -H 'X-Tenant-ID: {tenant_id}' -H 'Content-Type: application/json' \\
    -d \"{{\\\"agent_id\\\":\\\"$ID\\\",\\\"secret\\\":\\\"$SECRET\\\"}}\" | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')
  curl -s {base_url}/execute/db.query -H \"Authorization: Bearer $TOKEN\" -H 'X-Tenant-ID: {tenant_id}' -H \"X-Agent-ID: $ID\" \\
    -H 'Content-Type: application/json' -d '{{\"query\":\"SELECT id, status FROM orders WHERE id = 7\"}}'
"
    );
}
