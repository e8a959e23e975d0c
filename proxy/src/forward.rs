//! Everything that is not a tool call goes to the control plane, without a credential of ours. A proof that it comes
//! through this sidecar goes along: it makes the control plane believe the client's address, and nothing more.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::SourceId;
use aegis_core::sidecar::{FORWARDED_BY, forward_statement};
use aegis_core::time::Timestamp;
use pingora::http::RequestHeader;
use pingora::prelude::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::config::{Config, millis};
use crate::identity::Identity;

/// Headers by which a request could claim to come from elsewhere; what clients send of them is dropped.
const CLAIMS: [&str; 5] = ["forwarded", "x-real-ip", "true-client-ip", "x-client-ip", FORWARDED_BY];
/// As are all headers that begin so.
const CLAIM_PREFIX: &str = "x-forwarded-";
/// An idle connection to the control plane is kept so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The way to the control plane.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    host: String,
    port: u16,
    tls: bool,
    connect_timeout: Duration,
}

impl ControlPlane {
    /// From a checked configuration.
    pub fn new(config: &Config) -> Option<Self> {
        let url = url::Url::parse(&config.control.url).ok()?;
        Some(Self {
            host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            tls: url.scheme() == "https",
            connect_timeout: millis(config.timeouts.connect_ms),
        })
    }

    /// Where Pingora shall connect to.
    ///
    /// # Errors
    /// If the name does not resolve.
    pub async fn peer(&self) -> Result<Box<HttpPeer>> {
        let address: SocketAddr = match self.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, self.port),
            Err(_) => self.resolve().await?,
        };
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.total_connection_timeout = Some(self.connect_timeout * 2);
        peer.options.idle_timeout = Some(IDLE_TIMEOUT);
        Ok(Box::new(peer))
    }

    async fn resolve(&self) -> Result<SocketAddr> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.ok().and_then(|mut all| all.next());
        found.ok_or_else(|| Error::explain(ErrorType::ConnectError, "the control plane's name does not resolve"))
    }
}

/// In whose name requests are forwarded.
#[derive(Debug, Clone)]
pub struct Forwarder {
    /// Signs the proof.
    pub identity: Arc<Identity>,
    /// The source it is known as.
    pub source: SourceId,
}

impl Forwarder {
    /// That a request with this id came from this address through us.
    fn proof(&self, client: IpAddr, request_id: &str, now: Timestamp) -> String {
        let (source, at) = (self.source, now.as_seconds());
        let signature = self.identity.key().sign(&forward_statement(source, at, client, request_id));
        format!("{source} {at} {signature}")
    }
}

/// Replaces what the client claims about its origin by what is so.
///
/// # Errors
/// If a value is not a header's.
pub fn set_origin(
    header: &mut RequestHeader,
    forwarder: &Forwarder,
    client: Option<IpAddr>,
    request_id: &str,
    now: Timestamp,
) -> Result<()> {
    let is_claim = |name: &str| CLAIMS.contains(&name) || name.starts_with(CLAIM_PREFIX);
    let claims: Vec<_> = header.headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        header.remove_header(&name);
    }
    if let Some(client) = client {
        header.insert_header("X-Forwarded-For", client.to_string())?;
        header.insert_header(FORWARDED_BY, forwarder.proof(client, request_id, now))?;
    }
    header.insert_header("X-Forwarded-Proto", "http")?;
    if let Some(host) = header.headers.get(http::header::HOST).cloned() {
        header.insert_header("X-Forwarded-Host", host)?;
    }
    header.insert_header("X-Request-ID", request_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;

    #[test]
    fn what_clients_claim_about_their_origin_is_replaced() {
        let mut header = RequestHeader::build("GET", b"/agents", None).unwrap();
        for (name, value) in [
            ("Host", "aegis.example"),
            ("Forwarded", "for=1.2.3.4"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-Prefix", "/x"),
            ("X-Real-IP", "1.2.3.4"),
            ("X-Aegis-Forwarded-By", "somebody"),
            ("Authorization", "Bearer abc"),
        ] {
            header.append_header(name, value).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::open(folder.path(), &SystemEntropy).unwrap());
        let forwarder = Forwarder { identity, source: SourceId::from_uuid(uuid::Uuid::from_u128(1)) };
        let (client, now) = (IpAddr::from([10, 0, 0, 7]), Timestamp::from_seconds(1_700_000_000));
        set_origin(&mut header, &forwarder, Some(client), "r-1", now).unwrap();
        let get = |name: &str| header.headers.get(name).and_then(|v| v.to_str().ok());
        assert_eq!(get("x-forwarded-for"), Some("10.0.0.7"));
        assert_eq!(get("x-forwarded-host"), Some("aegis.example"));
        assert_eq!(get("authorization"), Some("Bearer abc"));
        assert_eq!(get("x-request-id"), Some("r-1"));
        let proof: Vec<&str> = get(FORWARDED_BY).unwrap().split(' ').collect();
        let statement = forward_statement(forwarder.source, 1_700_000_000, client, "r-1");
        assert_eq!(forwarder.identity.key().public().verify(&statement, proof[2]), Ok(()));
        assert!(get("forwarded").is_none() && get("x-forwarded-prefix").is_none() && get("x-real-ip").is_none());
    }
}
