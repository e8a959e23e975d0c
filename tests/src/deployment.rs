//! A whole deployment under test: control plane, sidecars and tools, with their state in a temporary folder.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Admin, Agent, Answer, http, is_up};
use crate::hostile::Hostile;
use crate::ports::Ports;
use crate::process::{Process, Program};
use crate::upstream::Upstream;
use crate::wait::until;

/// Where the control plane keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// The embedded default.
    Sqlite,
    /// A real PostgreSQL, started for the tests.
    Postgres,
}

const CONTROL_PORT: u16 = 8;

/// One sidecar.
pub struct Sidecar {
    /// Its address for agents.
    pub url: String,
    /// Its admin port.
    pub admin_url: String,
    /// How it is started.
    pub program: Program,
    /// It, if it runs.
    pub process: Option<Process>,
    http: reqwest::Client,
}

impl Sidecar {
    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        let mut process = self.program.start();
        let (http, url) = (self.http.clone(), format!("{}/readyz", self.admin_url));
        until("the sidecar is ready", async || {
            assert!(!process.has_ended(), "the sidecar ended\n{}", process.log_tail());
            is_up(&http, &url).await.then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await;
    }

    /// What `/readyz` says.
    pub async fn readyz(&self) -> Option<Answer> {
        Answer::of(self.http.get(format!("{}/readyz", self.admin_url))).await
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> String {
        let answer = self.http.get(format!("{}/metrics", self.admin_url)).send().await.expect("metrics");
        answer.text().await.expect("a text")
    }
}

/// Everything.
pub struct Deployment {
    /// The sidecars.
    pub sidecars: Vec<Sidecar>,
    /// The tools.
    pub upstream: Upstream,
    /// The tools that misbehave.
    pub hostile: Hostile,
    /// The first administrator.
    pub admin: Admin,
    bootstrap: Value,
    control: Program,
    control_process: Option<Process>,
    control_url: String,
    ports: Ports,
    dir: TempDir,
}

impl Deployment {
    /// One sidecar.
    pub async fn start(database: Database) -> Self {
        Self::with_sidecars(database, 1, &[]).await
    }

    /// `count` sidecars, each with these configuration overrides (`AEGIS_PROXY__…`).
    pub async fn with_sidecars(database: Database, count: u16, overrides: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("aegis-test-").tempdir().expect("a temporary folder");
        let ports = Ports::take();
        let http = http();
        let control_url = format!("http://127.0.0.1:{}", ports.port(CONTROL_PORT));
        let control = control_program(dir.path(), &ports, database).await;
        let bootstrap = bootstrap(&control).await;
        let control_process = start_control(&control, &http, &control_url).await;
        let admin = log_in(&http, &control_url, &bootstrap).await;
        raise_limits(&admin).await;

        let (upstream, hostile) = (Upstream::start().await, Hostile::start().await);
        write_tools(dir.path(), &upstream, &hostile);
        let mut deployment = Self {
            sidecars: Vec::new(),
            upstream,
            hostile,
            admin,
            bootstrap,
            control,
            control_process: Some(control_process),
            control_url,
            ports,
            dir,
        };
        for _ in 0..count {
            let mut sidecar = deployment.new_sidecar(overrides).await;
            sidecar.start().await;
            deployment.sidecars.push(sidecar);
        }
        deployment
    }

    /// One more sidecar, with a join token of its own; neither started nor among `sidecars` yet.
    pub async fn new_sidecar(&self, overrides: &[(&str, &str)]) -> Sidecar {
        let n = u16::try_from(self.sidecars.len()).expect("few sidecars");
        let token = join_token(&self.control, &self.admin.tenant_id).await;
        let file = self.path(&format!("join-token-{n}"));
        std::fs::write(file, token.as_str().expect("a join token")).expect("a file");
        sidecar(self.dir.path(), &self.ports, n, &self.admin.http, &self.control_url, overrides)
    }

    /// The control plane's port.
    pub fn control_port(&self) -> u16 {
        self.ports.port(CONTROL_PORT)
    }

    /// The first sidecar's address.
    pub fn url(&self) -> &str {
        &self.sidecars[0].url
    }

    /// The process ids of the first sidecar and of the control plane, 0 for one that does not run.
    pub fn pids(&self) -> [u32; 2] {
        [self.sidecars[0].process.as_ref(), self.control_process.as_ref()]
            .map(|process| process.map_or(0, Process::pid))
    }

    /// Logs the administrator in once more: an access token lives for a quarter of an hour.
    pub async fn renew_admin(&mut self) {
        self.admin = log_in(&self.admin.http, &self.control_url, &self.bootstrap).await;
    }

    /// The trust policy for the tenant, from the control plane's key files.
    pub async fn trust(&self) -> String {
        let output = with_command(&self.control, &["trust", "--tenant", &self.admin.tenant_id]).output().await;
        String::from_utf8(output).expect("a text")
    }

    /// A join token of the tenant, for so many sidecars.
    pub async fn join_token(&self, uses: u32) -> String {
        let uses = uses.to_string();
        let command = ["join-token", "--tenant", &self.admin.tenant_id, "--uses", &uses];
        let answer = with_command(&self.control, &command).output().await;
        let answer: Value = serde_json::from_slice(&answer).expect("one JSON object");
        answer["join_token"].as_str().expect("a token").to_owned()
    }

    /// What a command of the control plane's binary prints, beside the one that serves.
    pub async fn command(&self, command: &[&str]) -> Value {
        serde_json::from_slice(&with_command(&self.control, command).output().await).expect("one JSON object")
    }

    /// A folder of the deployment's state.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// `kill -9` of the control plane.
    pub async fn kill_control(&mut self) {
        self.control_process.take().expect("it runs").kill().await;
    }

    /// Starts the control plane again.
    pub async fn start_control(&mut self) {
        self.control_process = Some(start_control(&self.control, &self.admin.http, &self.control_url).await);
    }

    /// An agent that the first sidecar knows already.
    pub async fn agent(&self, name: &str, tools: &[&str]) -> Agent {
        let agent = self.admin.agent(name, tools).await;
        let tool = tools.first().copied().unwrap_or("test.echo");
        until("the sidecar knows the agent", async || {
            let answer = agent.call(self.url(), tool, &json!({ "probe": true })).await;
            (answer.error() != "unknown_agent").then_some(())
        })
        .await;
        agent
    }

    /// Waits until a row with this audit id is in the control plane.
    pub async fn row(&self, audit_id: &str) -> Value {
        until("the row arrives", async || self.admin.call_rows().await.into_iter().find(|row| row["id"] == audit_id))
            .await
    }

    /// Waits until the sidecars have shipped everything they hold.
    pub async fn drained(&self) {
        for sidecar in self.sidecars.iter().filter(|s| s.process.is_some()) {
            until("the outbox is empty", async || {
                let ready = sidecar.readyz().await?;
                (ready.body["outbox_rows"] == 0 || ready.body["data"]["outbox_rows"] == 0).then_some(())
            })
            .await;
        }
    }

    /// The end of all logs, for a failing test's message.
    pub fn logs(&self) -> String {
        let control = self.control_process.as_ref().map(Process::log_tail).unwrap_or_default();
        let sidecars: Vec<String> =
            self.sidecars.iter().filter_map(|s| s.process.as_ref().map(Process::log_tail)).collect();
        format!("{control}\n{}", sidecars.join("\n"))
    }
}

async fn control_program(dir: &Path, ports: &Ports, database: Database) -> Program {
    let url = match database {
        Database::Sqlite => format!("sqlite:{}", dir.join("control.db").display()),
        Database::Postgres => aegis_store::testing::postgres_database().await,
    };
    let data = dir.join("control");
    std::fs::create_dir_all(&data).expect("a folder");
    let config = format!(
        "deployment = \"test\"\npublic_base_url = \"http://127.0.0.1:{}\"\ndev_mode = true\n[listen]\naddress = \"127.0.0.1:{}\"\n\
         [database]\nurl = \"{url}\"\n[data]\ndir = \"{}\"\n[log]\nformat = \"pretty\"\n",
        ports.port(0),
        ports.port(CONTROL_PORT),
        data.display(),
    );
    let file = dir.join("control-api.toml");
    std::fs::write(&file, config).expect("a configuration");
    Program {
        name: "aegis-control-api",
        arguments: vec!["--config".into(), file.into(), "serve".into()],
        // The suites log in and call far more often than people do.
        environment: vec![("AEGIS_CONTROL__LIMITS__PUBLIC_REQUESTS_PER_SECOND".into(), "100000".into())],
        log: dir.join("control-api.log"),
    }
}

fn with_command(control: &Program, command: &[&str]) -> Program {
    let mut arguments: Vec<OsString> = control.arguments[..2].to_vec();
    arguments.extend(command.iter().map(OsString::from));
    Program { arguments, ..control.clone() }
}

async fn bootstrap(control: &Program) -> Value {
    let command = with_command(control, &["bootstrap", "--tenant-name", "Test", "--admin-email", "admin@example.com"]);
    serde_json::from_slice(&command.output().await).expect("one JSON object")
}

async fn join_token(control: &Program, tenant_id: &str) -> Value {
    let answer = with_command(control, &["join-token", "--tenant", tenant_id]).output().await;
    serde_json::from_slice::<Value>(&answer).expect("one JSON object")["join_token"].clone()
}

async fn start_control(program: &Program, http: &reqwest::Client, url: &str) -> Process {
    let mut process = program.start();
    let url = format!("{url}/health");
    until("the control plane is up", async || {
        assert!(!process.has_ended(), "the control plane ended\n{}", process.log_tail());
        is_up(http, &url).await.then_some(())
    })
    .await;
    process
}

async fn log_in(http: &reqwest::Client, base: &str, bootstrap: &Value) -> Admin {
    let tenant_id = bootstrap["tenant_id"].as_str().expect("a tenant").to_owned();
    let login = json!({ "email": bootstrap["admin"]["email"], "password": bootstrap["admin"]["password"] });
    let request = http.post(format!("{base}/auth/token")).header("x-tenant-id", &tenant_id).json(&login);
    let answer = Answer::of(request).await.expect("an answer");
    let token = answer.data()["access_token"].as_str().expect("a token").to_owned();
    Admin { http: http.clone(), base: base.to_owned(), tenant_id, token }
}

/// The suites make more calls per second than a tenant may by default.
async fn raise_limits(admin: &Admin) {
    let body = json!({
        "tenant_id": admin.tenant_id, "name": "Test", "tier": "enterprise", "rpm_limit": 1_000_000,
        "requests_per_second": 100_000, "burst": 100_000, "daily_request_cap": 100_000_000,
    });
    admin.post("/auth/tenants", body).await;
}

fn write_tools(dir: &Path, upstream: &Upstream, hostile: &Hostile) {
    let route = |name: &str, port: u16, more: &str| {
        format!(
            "[[tool]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}\"\npath = \"/tools/{{tool_name}}\"\neffect = \"read\"\n{more}\n"
        )
    };
    let text = [
        route("test.*", upstream.port, "timeout_ms = 20000\nconcurrency = 256"),
        route("db.query", upstream.port, ""),
        route("strict.echo", upstream.port, "audit_mode = \"strict\""),
        route("bad.*", hostile.port, "timeout_ms = 1000"),
        route("gone.tool", 1, ""),
    ];
    std::fs::write(dir.join("tools.toml"), text.join("\n")).expect("the routes");
}

fn sidecar(
    dir: &Path,
    ports: &Ports,
    n: u16,
    http: &reqwest::Client,
    control_url: &str,
    overrides: &[(&str, &str)],
) -> Sidecar {
    let (port, admin_port) = (ports.port(2 * n), ports.port(2 * n + 1));
    let data = dir.join(format!("proxy-{n}"));
    std::fs::create_dir_all(&data).expect("a folder");
    let url = format!("http://127.0.0.1:{port}");
    let config = format!(
        "public_url = \"{url}\"\ntools_file = \"{}\"\n[listen]\naddress = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin_port}\"\n\
         [control]\nurl = \"{control_url}\"\njoin_token_file = \"{}\"\n[data]\ndir = \"{}\"\n[log]\nformat = \"pretty\"\n",
        dir.join("tools.toml").display(),
        dir.join(format!("join-token-{n}")).display(),
        data.display(),
    );
    let file = dir.join(format!("proxy-{n}.toml"));
    std::fs::write(&file, config).expect("a configuration");
    let program = Program {
        name: "aegis-proxy",
        arguments: vec!["--config".into(), file.into()],
        environment: overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        log: dir.join(format!("proxy-{n}.log")),
    };
    Sidecar { url, admin_url: format!("http://127.0.0.1:{admin_port}"), program, process: None, http: http.clone() }
}
