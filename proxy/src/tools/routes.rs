//! `config/tools.toml`: which tools there are, where each one lives, and on what terms it is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_core::config::ConfigError;
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolPattern;
use aegis_core::secret::Secret;
use aegis_core::sidecar::{AuditMode, Effect, TOOLS_MAX};
use aegis_pipeline::detect::{Destination, Role, ToolHints};
use http::{HeaderName, Method};
use serde::Deserialize;

use super::path::PathTemplate;
use crate::config::{Environment, RESPONSE_BYTES_MAX};

/// How often an idempotent call may be repeated at most.
pub const RETRIES_MAX: u32 = 3;
/// The longest a tool may take.
pub const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// What is wrong with the routes, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// Not TOML, an unknown key, a value of the wrong type.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A route that cannot be.
    #[error("tool `{tool}`: {problem}")]
    Route {
        /// The route's name or pattern.
        tool: String,
        /// What is wrong.
        problem: String,
    },
    /// More routes than allowed.
    #[error("more than {TOOLS_MAX} tools")]
    TooMany,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// Where a tool listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// An http or https URL without path's last slash.
    Url(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// A header that proves us to the tool. The agent never sees it.
#[derive(Debug, Clone)]
pub struct ToolCredential {
    /// Its name.
    pub header: HeaderName,
    /// Its value.
    pub value: Secret,
}

/// One route: a tool or a family of tools.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which tools.
    pub tool: ToolPattern,
    /// Where.
    pub base: Base,
    /// The certificate authority the tool's certificate must come from (PEM); the system's if absent.
    pub ca: Option<Vec<u8>>,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: PathTemplate,
    /// From the request to the answer's last byte; for a stream, to each next byte.
    pub timeout: Duration,
    /// Calls at once.
    pub concurrency: usize,
    /// How often a failed call is repeated; only ever set for idempotent tools.
    pub retries: u32,
    /// What proves us.
    pub credential: Option<ToolCredential>,
    /// What one call costs.
    pub cost: MicroUsd,
    /// How its rows are kept.
    pub audit_mode: AuditMode,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether personal data is redacted from its answers even if the tenant does not ask for it.
    pub redact_pii: bool,
    /// Bytes of its answer at most.
    pub response_bytes: usize,
    /// What stage 3 need not guess about its parameters.
    pub hints: Arc<ToolHints>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tool: Vec<Line>,
}

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    name: String,
    url: String,
    ca_file: PathBuf,
    method: String,
    path: String,
    timeout_ms: u64,
    concurrency: usize,
    idempotent: bool,
    retries: u32,
    credential: Option<CredentialLine>,
    cost_usd: String,
    audit_mode: String,
    effect: String,
    redact_pii: bool,
    response_bytes: usize,
    hints: HintsLine,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            ca_file: PathBuf::new(),
            method: "POST".into(),
            path: "/{tool_name}".into(),
            timeout_ms: 30_000,
            concurrency: 64,
            idempotent: false,
            retries: 0,
            credential: None,
            cost_usd: "0".into(),
            audit_mode: AuditMode::Bounded.as_str().into(),
            effect: Effect::Write.as_str().into(),
            redact_pii: false,
            response_bytes: 0,
            hints: HintsLine::default(),
        }
    }
}

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HintsLine {
    roles: BTreeMap<String, Role>,
    allowed_destinations: Vec<String>,
    transfer_cap_usd: Option<String>,
}

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CredentialLine {
    header: String,
    prefix: String,
    file: PathBuf,
    env: String,
}

/// Reads the routes and the secrets they name.
///
/// `response_bytes`: the limit of answers where a route names none.
pub fn parse(text: &str, environment: &Environment, response_bytes: usize) -> Result<Vec<Route>, RoutesError> {
    let file: File = aegis_core::config::load(text, "AEGIS_TOOLS", [])?;
    if file.tool.len() > TOOLS_MAX {
        return Err(RoutesError::TooMany);
    }
    let mut routes: Vec<Route> = Vec::with_capacity(file.tool.len());
    for line in file.tool {
        let name = line.name.clone();
        let wrong = |problem: String| RoutesError::Route { tool: name.clone(), problem };
        let route = read_line(&line, environment, response_bytes).map_err(wrong)?;
        if routes.iter().any(|known| known.tool == route.tool) {
            return Err(RoutesError::Route { tool: name, problem: "is there twice".into() });
        }
        routes.push(route);
    }
    Ok(routes)
}

fn read_line(line: &Line, environment: &Environment, response_bytes: usize) -> Result<Route, String> {
    let tool = ToolPattern::parse(&line.name).map_err(|e| format!("name {e}"))?;
    let base = read_base(&line.url)?;
    let method = match line.method.as_str() {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "GET" => Method::GET,
        _ => return Err("method must be POST, PUT, PATCH, DELETE or GET".into()),
    };
    let timeout = Duration::from_millis(line.timeout_ms);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err("timeout_ms must be 1-600000".into());
    }
    if !(1..=10_000).contains(&line.concurrency) {
        return Err("concurrency must be 1-10000".into());
    }
    if line.retries > RETRIES_MAX || (line.retries > 0 && !line.idempotent) {
        return Err("retries must be 0-3, and 0 unless the tool is idempotent".into());
    }
    let response_bytes = if line.response_bytes == 0 { response_bytes } else { line.response_bytes };
    if response_bytes > RESPONSE_BYTES_MAX {
        return Err(format!("response_bytes must be at most {RESPONSE_BYTES_MAX}"));
    }
    let ca = if line.ca_file.as_os_str().is_empty() { None } else { Some(read_file(&line.ca_file)?) };
    Ok(Route {
        tool,
        base,
        ca,
        method,
        path: PathTemplate::parse(&line.path).map_err(|e| format!("path {e}"))?,
        timeout,
        concurrency: line.concurrency,
        retries: line.retries,
        credential: line.credential.as_ref().map(|c| read_credential(c, environment)).transpose()?,
        cost: MicroUsd::parse_usd(&line.cost_usd).map_err(|e| format!("cost_usd: {e}"))?,
        audit_mode: AuditMode::parse(&line.audit_mode).ok_or("audit_mode must be bounded or strict")?,
        effect: Effect::parse(&line.effect).ok_or("effect must be read or write")?,
        redact_pii: line.redact_pii,
        response_bytes,
        hints: Arc::new(read_hints(&line.hints)?),
    })
}

fn read_base(text: &str) -> Result<Base, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() {
            Ok(Base::Unix(path))
        } else {
            Err("url: a unix socket's path must be absolute".into())
        };
    }
    let url = url::Url::parse(text).map_err(|e| format!("url: {e}"))?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain {
        Ok(Base::Url(url.as_str().trim_end_matches('/').to_owned()))
    } else {
        Err("url must be http://, https:// or unix:/, without user, query or fragment".into())
    }
}

fn read_hints(line: &HintsLine) -> Result<ToolHints, String> {
    let default = ToolHints::default();
    let read =
        |text: &String| Destination::parse(text).map_err(|e| format!("hints.allowed_destinations: `{text}`: {e}"));
    let transfer_cap = match &line.transfer_cap_usd {
        Some(text) => MicroUsd::parse_usd(text).map_err(|e| format!("hints.transfer_cap_usd: {e}"))?,
        None => default.transfer_cap,
    };
    let allowed_destinations = line.allowed_destinations.iter().map(read).collect::<Result<_, _>>()?;
    Ok(ToolHints { roles: line.roles.clone(), allowed_destinations, transfer_cap })
}

fn read_credential(line: &CredentialLine, environment: &Environment) -> Result<ToolCredential, String> {
    let header =
        HeaderName::from_bytes(line.header.as_bytes()).map_err(|_| "credential.header is not a header name")?;
    let secret = match (line.file.as_os_str().is_empty(), line.env.is_empty()) {
        (false, true) => String::from_utf8(read_file(&line.file)?).map_err(|_| "credential.file is not UTF-8")?,
        (true, false) => {
            environment.get(&line.env).cloned().ok_or_else(|| format!("credential.env: {} is not set", line.env))?
        }
        (true, true) | (false, false) => return Err("credential needs either file or env".into()),
    };
    let secret = secret.trim();
    if secret.is_empty() {
        return Err("the credential is empty".into());
    }
    let value = format!("{}{secret}", line.prefix);
    http::HeaderValue::from_str(&value).map_err(|_| "the credential holds characters that no header may hold")?;
    Ok(ToolCredential { header, value: Secret::new(value) })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Result<Vec<Route>, String> {
        let environment = Environment::from([("TOOL_TOKEN".to_owned(), "s3cret\n".to_owned())]);
        parse(text, &environment, 1_000).map_err(|e| e.to_string())
    }

    fn tool(more: &str) -> Result<Vec<Route>, String> {
        routes(&format!("[[tool]]\nname = \"db.query\"\nurl = \"http://127.0.0.1:1/base/\"\n{more}"))
    }

    #[test]
    fn the_documented_file_is_valid() {
        let environment = Environment::from([("MAIL_TOKEN".to_owned(), "x".to_owned())]);
        let routes = parse(include_str!("../../../config/tools.toml"), &environment, 1_000).unwrap();
        assert!(!routes.is_empty());
    }

    /// The defaults of a table and the tables in it, by the last part of their key.
    fn defaults(table: toml::Table, into: &mut BTreeMap<String, toml::Value>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) if key == "hints" || key == "credential" => defaults(inner, into),
                value => assert!(into.insert(key, value).is_none(), "two keys of one name"),
            }
        }
    }

    #[test]
    fn every_key_is_documented_with_its_real_default_and_no_other_is() {
        let mut real = BTreeMap::new();
        let credential = Some(CredentialLine::default());
        let cap = ToolHints::default().transfer_cap.as_micros() / 1_000_000;
        let hints = HintsLine { transfer_cap_usd: Some(cap.to_string()), ..HintsLine::default() };
        defaults(toml::Table::try_from(Line { credential, hints, ..Line::default() }).unwrap(), &mut real);

        let (mut documented, mut comment) = (BTreeMap::new(), String::new());
        for line in include_str!("../../../config/tools.toml").lines().map(str::trim) {
            let (text, is_comment) = line.strip_prefix('#').map_or((line, false), |text| (text, true));
            if let Some((before, _)) = text.split_once(" = ") {
                let key = before.rsplit(' ').next().unwrap();
                documented.entry(key.to_owned()).or_insert_with(|| comment.clone());
            }
            comment = if is_comment { comment + text } else { String::new() };
        }
        assert_eq!(documented.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>());
        for (key, comment) in documented {
            // What cannot be left out has no default.
            let Some((_, told)) = comment.split_once("Default ") else {
                assert!(["name", "url", "roles", "header", "file", "env"].contains(&key.as_str()), "{key}: no default");
                continue;
            };
            let told = told.split_once([',', ' ']).map_or(told, |(first, _)| first).trim_end_matches('.');
            let told: toml::Table = format!("default = {told}").parse().unwrap();
            assert_eq!(told["default"], real[&key], "{key}");
        }
    }

    #[test]
    fn a_short_route_gets_careful_defaults() {
        let routes = tool("").unwrap();
        let route = routes.first().unwrap();
        assert_eq!(route.base, Base::Url("http://127.0.0.1:1/base".into()));
        assert_eq!((route.effect, route.retries, route.response_bytes), (Effect::Write, 0, 1_000));
    }

    #[test]
    fn secrets_come_from_the_environment_or_a_file_and_are_not_printed() {
        let routes =
            tool("credential = { header = \"authorization\", prefix = \"Bearer \", env = \"TOOL_TOKEN\" }").unwrap();
        let credential = routes.first().unwrap().credential.as_ref().unwrap();
        assert_eq!(credential.value.expose(), "Bearer s3cret");
        assert!(!format!("{routes:?}").contains("s3cret"));
    }

    #[test]
    fn routes_that_cannot_be_are_named() {
        for more in [
            "method = \"TRACE\"",
            "timeout_ms = 0",
            "concurrency = 0",
            "retries = 1",
            "idempotent = true\nretries = 4",
            "path = \"/../x\"",
            "cost_usd = \"-1\"",
            "effect = \"maybe\"",
            "audit_mode = \"none\"",
            "credential = { header = \"a b\", env = \"TOOL_TOKEN\" }",
            "credential = { header = \"x\" }",
            "credential = { header = \"x\", env = \"MISSING\" }",
        ] {
            assert!(tool(more).unwrap_err().starts_with("tool `db.query`: "), "{more}");
        }
        assert!(tool("timeout = 1").unwrap_err().contains("did you mean"));
        for url in ["", "ftp://h", "http://u:p@h", "http://h/?q=1", "unix:relative"] {
            assert!(routes(&format!("[[tool]]\nname = \"t\"\nurl = \"{url}\"")).is_err(), "{url}");
        }
        assert!(
            routes("[[tool]]\nname = \"t\"\nurl = \"http://h\"\n[[tool]]\nname = \"t\"\nurl = \"http://h\"").is_err()
        );
    }
}
