//! The control plane's configuration; every key stands with its default in `config/control-api.toml`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use aegis_core::words;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The deployment's name: issuer of tokens, origin of checkpoints.
    pub(crate) deployment: String,
    /// The address clients reach the product at (usually a sidecar's).
    pub(crate) public_base_url: String,
    /// Local development: cookies without `Secure`, plain HTTP from anywhere.
    pub(crate) dev_mode: bool,
    /// Where it listens.
    pub(crate) listen: Listen,
    /// Where it keeps its rows.
    pub(crate) database: Database,
    /// Where it keeps its keys.
    pub(crate) data: Data,
    /// What it logs.
    pub(crate) log: Log,
    /// Where it sends traces.
    pub(crate) otlp: Otlp,
    /// Where it shows its metrics.
    pub(crate) metrics: Metrics,
    /// What it limits.
    pub(crate) limits: Limits,
    /// Where it hands over mail.
    pub(crate) smtp: Smtp,
}

/// `[listen]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Address and port of the API.
    pub(crate) address: SocketAddr,
    /// Networks whose `X-Forwarded-For` is believed, besides connected sidecars with their proof.
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// `[database]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// `sqlite:/path/to/file` or `postgres://…`.
    pub(crate) url: String,
}

/// `[data]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// Keys are in `keys/` below it, readable by the process alone; what was signed last in `checkpoints/`.
    pub(crate) dir: PathBuf,
}

words! {
    /// How log lines look.
    pub(crate) enum LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// How lines look.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,aegis_store=debug`.
    pub(crate) level: String,
}

/// `[otlp]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Otlp {
    /// Base address of an OTLP/HTTP collector; no traces are sent if empty.
    pub(crate) endpoint: String,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// Address and port of a private listener for `/metrics`; on the API's own listener if empty.
    pub(crate) listen: String,
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Requests a second from one address to public operations.
    pub(crate) public_requests_per_second: NonZeroU32,
}

/// `[smtp]`
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Smtp {
    /// `smtps://user:password@host:465`, `smtp://…?tls=required`; no mail is sent if empty.
    pub(crate) url: String,
    /// Who the mail is from.
    pub(crate) from: String,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds a password.
        f.debug_struct("Smtp").field("is_set", &!self.url.is_empty()).field("from", &self.from).finish()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            deployment: "local".into(),
            public_base_url: "http://localhost:8000".into(),
            dev_mode: false,
            listen: Listen::default(),
            database: Database::default(),
            data: Data::default(),
            log: Log::default(),
            otlp: Otlp::default(),
            metrics: Metrics::default(),
            limits: Limits::default(),
            smtp: Smtp::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8080)), trusted_proxies: Vec::new() }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: "sqlite:/var/lib/aegis/control.db".into() }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "/var/lib/aegis".into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { public_requests_per_second: NonZeroU32::MIN.saturating_add(99) }
    }
}

/// What is wrong with a configuration that can be read.
#[derive(Debug, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub(crate) struct InvalidConfig {
    key: &'static str,
    problem: String,
}

impl Config {
    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        let invalid = |key, problem: &str| Err(InvalidConfig { key, problem: problem.to_owned() });
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        if self.deployment.is_empty() || self.deployment.len() > 64 || !self.deployment.bytes().all(is_name) {
            return invalid("deployment", "must be 1-64 characters of [A-Za-z0-9.-]");
        }
        if !self.public_base_url.starts_with("http://") && !self.public_base_url.starts_with("https://") {
            return invalid("public_base_url", "must be an http or https address");
        }
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| self.database.url.starts_with(scheme)) {
            return invalid("database.url", "must begin with sqlite: or postgres://");
        }
        if !self.metrics.listen.is_empty() && self.metrics_address().is_none() {
            return invalid("metrics.listen", "must be an address and a port, such as 127.0.0.1:9090");
        }
        if !self.smtp.url.is_empty() && !self.smtp.from.contains('@') {
            return invalid("smtp.from", "must be an e-mail address when smtp.url is set");
        }
        Ok(())
    }

    /// The private metrics listener, if any.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.listen.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_holds_every_key_with_its_default() {
        let text = include_str!("../../config/control-api.toml");
        let documented: Config = aegis_core::config::load(text, "AEGIS_CONTROL", []).unwrap();
        assert_eq!(format!("{documented:?}"), format!("{:?}", Config::default()));
        documented.check().unwrap();
        assert_eq!(text.parse::<toml::Table>().unwrap(), toml::Table::try_from(Config::default()).unwrap());
    }

    #[test]
    fn wrong_values_are_refused_by_key() {
        let config = Config { deployment: "a b".into(), ..Config::default() };
        assert!(config.check().unwrap_err().to_string().starts_with("`deployment`"));
        let config = Config { database: Database { url: "mysql://x".into() }, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().starts_with("`database.url`"));
    }
}
