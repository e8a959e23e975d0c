//! The first tenant, its administrator and the agents, made once and found again later.

use std::path::Path;
use std::process::Stdio;

use aegis_core::entropy::{SystemEntropy, random};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use crate::api::Session;
use crate::credentials::{Admin, Agent, Credentials};
use crate::fault::{Fault, at};
use crate::layout::{Layout, write_private};
use crate::tools::TOOLS;

/// The agent that may use every tool and only ever behaves well.
pub const ASSISTANT: &str = "shop-assistant";
/// The agent with few grants.
pub const READER: &str = "report-reader";
/// The agent with a rate limit of its own.
pub const LIMITED: &str = "stock-poller";
/// The agent that is held to be dangerous.
pub const OPERATOR: &str = "ops-robot";
/// The agent that misbehaves in the demonstration.
pub const ATTACKER: &str = "red-team";

/// Calls per second of [`LIMITED`].
pub const LIMITED_RPS: u32 = 2;

struct Wanted {
    name: &'static str,
    description: &'static str,
    risk_level: &'static str,
    tools: &'static [&'static str],
    requests_per_second: Option<u32>,
}

const AGENTS: [Wanted; 5] = [
    Wanted {
        name: ASSISTANT,
        description: "Answers customers of the shop",
        risk_level: "low",
        tools: &TOOLS,
        requests_per_second: None,
    },
    Wanted {
        name: READER,
        description: "Reads orders and writes no reports",
        risk_level: "low",
        tools: &["db.query", "fs.read", "fs.list"],
        requests_per_second: None,
    },
    Wanted {
        name: LIMITED,
        description: "Looks at the stock, slowly",
        risk_level: "low",
        tools: &["db.query"],
        requests_per_second: Some(LIMITED_RPS),
    },
    Wanted {
        name: OPERATOR,
        description: "Looks after the machines",
        risk_level: "high",
        tools: &TOOLS,
        requests_per_second: None,
    },
    Wanted {
        name: ATTACKER,
        description: "Tries what it should not",
        risk_level: "low",
        tools: &TOOLS,
        requests_per_second: None,
    },
];

/// What `aegis-control-api bootstrap` prints.
#[derive(Deserialize)]
struct Bootstrap {
    tenant_id: String,
    admin: Admin,
    join_token: String,
}

/// Makes tenant and administrator unless they exist; the credentials know them afterwards.
///
/// # Errors
/// If the control plane refuses, or exists while its credentials are lost.
pub async fn bootstrap(layout: &Layout, control_api: &Path) -> Result<Credentials, Fault> {
    let file = layout.file("dev-credentials.json");
    let (base_url, control_url, admin_url) = (layout.base_url(), layout.control_url(), layout.admin_url());
    if let Some(known) = Credentials::read(&file)? {
        let moved = Credentials { base_url, control_url, admin_url, ..known };
        moved.write(&file)?;
        return Ok(moved);
    }
    // The one-time secrets go straight to a file. Dying before it has its content means a tenant that nobody
    // can enter: the next start says so.
    let answer_file = layout.file("bootstrap.json");
    if std::fs::metadata(&answer_file).map_or(0, |m| m.len()) == 0 {
        write_private(&answer_file, b"")?;
        let answer = std::fs::OpenOptions::new().append(true).open(&answer_file).map_err(at(&answer_file))?;
        let done = Command::new(control_api)
            .arg("--config")
            .arg(layout.control_config())
            .args([
                "bootstrap",
                "--if-empty",
                "--tenant-name",
                "Local development",
                "--admin-email",
                "admin@shop.example",
            ])
            .stdin(Stdio::null())
            .stdout(answer)
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()
            .await?;
        if !done.status.success() {
            return Err(Fault::Bootstrap(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
        }
    }
    let text = std::fs::read(&answer_file).map_err(at(&answer_file))?;
    if text.is_empty() {
        return Err(Fault::CredentialsLost(layout.dir.clone()));
    }
    let made: Bootstrap = serde_json::from_slice(&text)
        .map_err(|source| Fault::Json { what: "the answer of bootstrap".into(), source })?;
    write_private(&layout.join_token(), made.join_token.as_bytes())?;
    let credentials = Credentials {
        base_url,
        control_url,
        admin_url,
        tenant_id: made.tenant_id,
        admin: made.admin,
        agents: Vec::new(),
    };
    credentials.write(&file)?;
    // Everything in it stands elsewhere now.
    std::fs::remove_file(&answer_file).map_err(at(&answer_file))?;
    Ok(credentials)
}

/// Makes the agents that are missing, with their secrets and grants.
///
/// # Errors
/// If the API refuses.
pub async fn agents(layout: &Layout, http: &reqwest::Client, credentials: &mut Credentials) -> Result<(), Fault> {
    if AGENTS.iter().all(|wanted| credentials.agents.iter().any(|known| known.name == wanted.name)) {
        return Ok(());
    }
    let admin = Session::of_admin(http, &credentials.control_url, &credentials.tenant_id, &credentials.admin).await?;
    let existing = admin.get("/agents?size=100").await?;
    for wanted in &AGENTS {
        if credentials.agents.iter().any(|known| known.name == wanted.name) {
            continue;
        }
        // Dying between these steps is harmless: the next start finds the agent by its name and goes on.
        let found = existing["items"].as_array().into_iter().flatten().find(|agent| agent["name"] == wanted.name);
        let agent = if let Some(agent) = found {
            agent.clone()
        } else {
            let body =
                json!({ "name": wanted.name, "description": wanted.description, "risk_level": wanted.risk_level });
            admin.post("/agents", body).await?
        };
        let id = agent["id"].as_str().unwrap_or_default().to_owned();
        complete(&admin, wanted, &agent, &id).await?;
        let secret = URL_SAFE_NO_PAD.encode(random::<32>(&SystemEntropy));
        admin.post("/auth/credentials", json!({ "agent_id": id, "secret": secret })).await?;
        credentials.agents.push(Agent { id, name: wanted.name.into(), secret });
        credentials.write(&layout.file("dev-credentials.json"))?;
    }
    Ok(())
}

async fn complete(admin: &Session, wanted: &Wanted, agent: &serde_json::Value, id: &str) -> Result<(), Fault> {
    let granted = agent["permissions"].as_array().cloned().unwrap_or_default();
    for tool in wanted.tools {
        if !granted.iter().any(|grant| grant["tool_name"] == *tool) {
            admin.post(&format!("/agents/{id}/permissions"), json!({ "tool_name": tool, "action": "ALLOW" })).await?;
        }
    }
    if agent["status"] != "ACTIVE" {
        admin.patch(&format!("/agents/{id}"), json!({ "status": "ACTIVE" })).await?;
    }
    if let Some(limit) = wanted.requests_per_second {
        admin.patch(&format!("/agents/{id}"), json!({ "requests_per_second": limit })).await?;
    }
    Ok(())
}
