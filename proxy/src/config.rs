//! The sidecar's configuration: `config/proxy.toml` documents every key with its default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aegis_core::config::ConfigError;
use aegis_core::tool_call::BODY_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// What environment variables that override keys begin with: `AEGIS_PROXY__LISTEN__ADDRESS`.
pub const PREFIX: &str = "AEGIS_PROXY";

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This sidecar's name for people; the machine's if empty.
    pub name: String,
    /// The address clients reach this sidecar at, as the control plane is told.
    pub public_url: String,
    /// The file of tool routes.
    pub tools_file: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// The control plane.
    pub control: Control,
    /// Where it keeps its state.
    pub data: Data,
    /// What one client may ask of it.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Rows that wait for the control plane.
    pub outbox: Outbox,
    /// Answers kept for repeated idempotency keys.
    pub idempotency: Idempotency,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub otlp: Otlp,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            public_url: "http://127.0.0.1:8000".into(),
            tools_file: "config/tools.toml".into(),
            listen: Listen::default(),
            control: Control::default(),
            data: Data::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            outbox: Outbox::default(),
            idempotency: Idempotency::default(),
            log: Log::default(),
            otlp: Otlp::default(),
        }
    }
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Agents: `host:port`, or `unix:/path` for a socket that only its owner and group may use.
    pub address: String,
    /// Liveness, readiness and metrics.
    pub admin: SocketAddr,
    /// Worker threads.
    pub threads: usize,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: "127.0.0.1:8000".into(), admin: SocketAddr::from(([127, 0, 0, 1], 8001)), threads: 1 }
    }
}

/// `[control]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Its base URL. Plain HTTP is accepted on loopback only.
    pub url: String,
    /// The file that holds the join token; read at the first start only.
    pub join_token_file: PathBuf,
    /// The certificate authority its TLS certificate must come from (PEM); empty: plain HTTP on loopback.
    pub ca_file: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8080".into(), join_token_file: PathBuf::new(), ca_file: PathBuf::new() }
    }
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Identity key, `cache/` and `outbox/`.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "/var/lib/aegis-proxy".into() }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of clients at once.
    pub connections: usize,
    /// Calls under way at once.
    pub concurrent_calls: usize,
    /// Bytes of a call's body.
    pub body_bytes: usize,
    /// Bytes of a tool's answer, unless its route says otherwise.
    pub response_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            concurrent_calls: 1_024,
            body_bytes: BODY_BYTES_MAX,
            response_bytes: 8 * 1024 * 1024,
        }
    }
}

/// `[timeouts]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its header, milliseconds.
    pub header_ms: u64,
    /// From the end of the header to the end of the body, milliseconds.
    pub body_ms: u64,
    /// A connection without a request, milliseconds.
    pub idle_ms: u64,
    /// One write to a client that does not read, milliseconds.
    pub write_ms: u64,
    /// Until a connection to a tool or the control plane stands, milliseconds.
    pub connect_ms: u64,
    /// From SIGTERM until calls under way are given up, seconds.
    pub grace_s: u64,
    /// How old the snapshot may be before the degraded mode policy applies, seconds.
    pub max_staleness_s: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_ms: 10_000,
            body_ms: 15_000,
            idle_ms: 60_000,
            write_ms: 15_000,
            connect_ms: 2_000,
            grace_s: 30,
            max_staleness_s: 900,
        }
    }
}

/// `[outbox]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// Bytes of rows that may wait; beyond, calls are refused. An alarm is raised at 80 %.
    pub bytes_max: u64,
    /// Bytes of one segment file.
    pub segment_bytes: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { bytes_max: 1024 * 1024 * 1024, segment_bytes: 16 * 1024 * 1024 }
    }
}

/// `[idempotency]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// How long an answer is kept, seconds.
    pub ttl_s: u64,
    /// Answers kept at most.
    pub answers_max: usize,
    /// Bytes of answers kept at most.
    pub bytes_max: usize,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self { ttl_s: 60, answers_max: 50_000, bytes_max: 64 * 1024 * 1024 }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// From which level on: `error`, `warn`, `info`, `debug`, `trace`, or directives like `info,aegis_proxy=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// `[otlp]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// The collector traces go to (`http://host:4318`); empty: nowhere.
    pub endpoint: String,
}

/// The environment as it was when the process began; secrets are read from it, or from files.
pub type Environment = BTreeMap<String, String>;

/// Reads and checks a configuration.
pub fn load(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let config: Config = aegis_core::config::load(text, PREFIX, environment.clone())?;
    config.check()?;
    Ok(config)
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        require((1..=256).contains(&self.listen.threads), "listen.threads", "must be 1-256")?;
        require(listen_is_valid(&self.listen.address), "listen.address", "must be host:port or unix:/path")?;
        require(url_is_http(&self.public_url), "public_url", "must be an http or https URL")?;
        let control = url::Url::parse(&self.control.url).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
        let control = control.ok_or_else(|| problem("control.url", "must be an http or https URL"))?;
        require(
            control.scheme() == "https" || is_loopback(&control),
            "control.url",
            "must be https unless on loopback",
        )?;
        let limits = &self.limits;
        require((1..=1_000_000).contains(&limits.connections), "limits.connections", "must be 1-1000000")?;
        require((1..=100_000).contains(&limits.concurrent_calls), "limits.concurrent_calls", "must be 1-100000")?;
        require((1_024..=BODY_BYTES_MAX).contains(&limits.body_bytes), "limits.body_bytes", "must be 1024-1048576")?;
        require(
            (1_024..=RESPONSE_BYTES_MAX).contains(&limits.response_bytes),
            "limits.response_bytes",
            "must be 1024-268435456",
        )?;
        let timeouts = &self.timeouts;
        for (key, value) in [
            ("timeouts.header_ms", timeouts.header_ms),
            ("timeouts.body_ms", timeouts.body_ms),
            ("timeouts.idle_ms", timeouts.idle_ms),
            ("timeouts.write_ms", timeouts.write_ms),
            ("timeouts.connect_ms", timeouts.connect_ms),
        ] {
            require((1..=3_600_000).contains(&value), key, "must be 1-3600000")?;
        }
        require(timeouts.grace_s <= 3_600, "timeouts.grace_s", "must be at most 3600")?;
        require((1..=604_800).contains(&timeouts.max_staleness_s), "timeouts.max_staleness_s", "must be 1-604800")?;
        let outbox = &self.outbox;
        require(outbox.segment_bytes >= 1024 * 1024, "outbox.segment_bytes", "must be at least 1048576")?;
        require(outbox.bytes_max >= 2 * outbox.segment_bytes, "outbox.bytes_max", "must hold two segments at least")?;
        require((1..=3_600).contains(&self.idempotency.ttl_s), "idempotency.ttl_s", "must be 1-3600")?;
        require(self.idempotency.answers_max >= 1, "idempotency.answers_max", "must be at least 1")?;
        require(self.idempotency.bytes_max >= 65_536, "idempotency.bytes_max", "must be at least 65536")?;
        require(
            self.otlp.endpoint.is_empty() || url_is_http(&self.otlp.endpoint),
            "otlp.endpoint",
            "must be an http or https URL",
        )
    }
}

/// Bytes of a tool's answer that may be configured at most.
pub const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A duration of whole milliseconds.
pub const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn problem(key: &str, problem: &str) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into() }
}

fn require(holds: bool, key: &str, text: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(problem(key, text)) }
}

fn listen_is_valid(address: &str) -> bool {
    address.strip_prefix("unix:").map_or_else(|| address.parse::<SocketAddr>().is_ok(), |path| path.starts_with('/'))
}

fn url_is_http(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Config, String> {
        load(text, &Environment::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_documented_file_is_the_default() {
        let text = include_str!("../../config/proxy.toml");
        assert_eq!(with(text).unwrap(), Config::default());
        // Every key stands there, and no other.
        assert_eq!(text.parse::<toml::Table>().unwrap(), toml::Table::try_from(Config::default()).unwrap());
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let environment = Environment::from([("AEGIS_PROXY__LISTEN__ADDRESS".to_owned(), "127.0.0.1:9000".to_owned())]);
        assert_eq!(load("", &environment).unwrap().listen.address, "127.0.0.1:9000");
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (text, key) in [
            ("[listen]\nthreads = 0", "listen.threads"),
            ("[listen]\naddress = \"nowhere\"", "listen.address"),
            ("[control]\nurl = \"http://example.com\"", "control.url"),
            ("[limits]\nbody_bytes = 9999999", "limits.body_bytes"),
            ("[timeouts]\nheader_ms = 0", "timeouts.header_ms"),
            ("[outbox]\nbytes_max = 5", "outbox.bytes_max"),
        ] {
            assert!(with(text).unwrap_err().starts_with(&format!("`{key}`")), "{text}");
        }
        assert!(with("[listen]\nadress = \"x\"").unwrap_err().contains("did you mean `listen.address`"));
    }
}
