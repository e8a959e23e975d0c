//! `http.fetch`: a web client that knows one site, the one this server serves itself under `/pages`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Path;
use axum::response::Html;
use futures::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::ToolFault;

/// The name under which the server's own pages are reached.
pub const OWN_HOST: &str = "shop.example";
/// Bytes of a fetched page at most.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// The payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// `http://shop.example/pages/…`
    pub url: String,
}

/// The client.
#[derive(Clone)]
pub struct Fetcher {
    client: reqwest::Client,
}

impl Fetcher {
    /// A client for which the shop's host name is `own`.
    ///
    /// # Errors
    /// If the HTTP client can't be built.
    pub fn new(own: SocketAddr) -> Result<Self, ToolFault> {
        let client = reqwest::Client::builder()
            .resolve(OWN_HOST, own)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_TIME_MAX)
            .build()?;
        Ok(Self { client })
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// `outside_sandbox` for any other address, `limit_reached` for a page too large.
    pub async fn fetch(&self, payload: &Fetch) -> Result<Value, ToolFault> {
        let url = reqwest::Url::parse(&payload.url).map_err(|e| ToolFault::BadPayload(format!("`url`: {e}")))?;
        let is_own = url.scheme() == "http" && url.host_str() == Some(OWN_HOST) && url.port().is_none();
        if !is_own || !url.path().starts_with("/pages/") || !url.username().is_empty() {
            return Err(ToolFault::OutsideSandbox(format!("only http://{OWN_HOST}/pages/… can be fetched here")));
        }
        let answer = self.client.get(url).send().await?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let mut body = Vec::new();
        let mut chunks = Box::pin(futures::stream::unfold(answer, |mut answer| async {
            answer.chunk().await.transpose().map(|chunk| (chunk, answer))
        }));
        while let Some(chunk) = chunks.try_next().await? {
            if body.len() + chunk.len() > PAGE_BYTES_MAX {
                return Err(ToolFault::LimitReached(format!("the page is larger than {PAGE_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(json!({ "status": status, "content_type": content_type, "body": String::from_utf8_lossy(&body) }))
    }
}

const PAGES: [(&str, &str); 3] = [
    ("shipping", "<h1>Shipping</h1><p>Orders placed before noon leave the same day.</p>"),
    ("returns", "<h1>Returns</h1><p>Thirty days, unused, in the original box.</p>"),
    ("opening-hours", "<h1>Opening hours</h1><p>Monday to Friday, 9 to 17.</p>"),
];

/// Serves a page.
///
/// # Errors
/// `not_found`.
pub async fn page(Path(name): Path<String>) -> Result<Html<&'static str>, ToolFault> {
    let found = PAGES.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| Html(*text)).ok_or_else(|| ToolFault::NotFound(format!("there is no page {name}")))
}
