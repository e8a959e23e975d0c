//! HTTP to the control plane: one client, one base address, errors with their stable identifier.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Settings;

/// How long a short exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes an answer may have at most, the watch stream apart.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why the control plane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The settings do not allow a safe connection.
    #[error("control plane: {0}")]
    Settings(String),
    /// It cannot be reached, or the connection broke.
    #[error("the control plane cannot be reached: {0}")]
    Transport(String),
    /// It refuses the credential.
    #[error("the control plane refuses this sidecar's credential ({0})")]
    Unauthorized(String),
    /// It refuses the request.
    #[error("the control plane refuses: {status} {identifier}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable identifier.
        identifier: String,
    },
    /// It says what cannot be understood or does not fit what it said before.
    #[error("the control plane says what cannot be understood: {0}")]
    Protocol(String),
    /// This sidecar's own files fail.
    #[error("{0}")]
    Local(String),
}

impl From<reqwest::Error> for SyncError {
    fn from(error: reqwest::Error) -> Self {
        // The causes say what happened; a URL of ours holds nothing secret.
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        Self::Transport(text)
    }
}

/// The client.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

enum Address {
    Url(String),
    Socket(PathBuf),
}

/// Checks that secrets and rows travel in clear on this machine only.
fn address(url: &str) -> Result<Address, SyncError> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Address::Socket(PathBuf::from(path)));
    }
    let parsed = url::Url::parse(url).map_err(|e| SyncError::Settings(format!("`{url}` is not a URL: {e}")))?;
    let local = match parsed.host() {
        Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match parsed.scheme() {
        "https" => Ok(Address::Url(url.trim_end_matches('/').to_owned())),
        "http" if local => Ok(Address::Url(url.trim_end_matches('/').to_owned())),
        "http" => Err(SyncError::Settings("plain http is accepted on loopback only; use https".into())),
        other => Err(SyncError::Settings(format!("scheme `{other}` is neither https nor http nor unix"))),
    }
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, SyncError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.connect_timeout)
            .user_agent(format!("aegis-proxy/{}", settings.version));
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(|e| SyncError::Settings(format!("{}: {e}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|e| SyncError::Settings(format!("{}: {e}", path.display())))?;
            builder = builder.tls_certs_only(certificates);
        }
        let base = match address(&settings.url)? {
            Address::Url(url) => url,
            Address::Socket(path) => {
                builder = builder.unix_socket(path);
                "http://localhost".to_owned()
            }
        };
        let http = builder.build().map_err(|e| SyncError::Settings(e.to_string()))?;
        Ok(Self { http, base })
    }

    /// A request to one of its paths.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }
}

/// Sends a short exchange and reads its answer.
pub(super) async fn exchange<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, SyncError> {
    exchange_within(request, EXCHANGE_TIMEOUT).await
}

/// The same, with its own time limit.
pub(super) async fn exchange_within<T: DeserializeOwned>(
    request: RequestBuilder,
    limit: Duration,
) -> Result<T, SyncError> {
    let response = accepted(request.timeout(limit).send().await?).await?;
    let body = bounded(response).await?;
    serde_json::from_slice(&body).map_err(|e| SyncError::Protocol(e.to_string()))
}

/// The error part of the control plane's envelope.
#[derive(Deserialize)]
struct Envelope {
    error: Option<String>,
}

/// The response, if its status is good.
pub(super) async fn accepted(response: Response) -> Result<Response, SyncError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let identifier = match bounded(response).await {
        Ok(body) => serde_json::from_slice::<Envelope>(&body).ok().and_then(|envelope| envelope.error),
        Err(_) => None,
    };
    let identifier = identifier.unwrap_or_else(|| "no identifier".into());
    if status == StatusCode::UNAUTHORIZED {
        Err(SyncError::Unauthorized(identifier))
    } else {
        Err(SyncError::Refused { status: status.as_u16(), identifier })
    }
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, SyncError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(SyncError::Protocol("the answer is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        let good =
            ["https://control.example", "http://127.0.0.1:8080/", "http://[::1]:1", "http://localhost:8080", "unix:/c"];
        for url in good {
            assert!(address(url).is_ok(), "{url}");
        }
        for url in ["http://10.0.0.1", "http://control.example", "ftp://127.0.0.1", "http://127.0.0.1.example", "x"] {
            assert!(matches!(address(url), Err(SyncError::Settings(_))), "{url}");
        }
    }
}
