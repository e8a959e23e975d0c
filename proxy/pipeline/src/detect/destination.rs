//! Places an operator lets a tool reach.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes a destination may have at most.
const DESTINATION_BYTES_MAX: usize = 260;

/// `host`, `host:port`, `*.host` or `*.host:port`; IPv6 in brackets. Without a port, every port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    host: String,
    below: bool,
    port: Option<u16>,
}

/// A text that is not a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be host, host:port, *.host or *.host:port")]
pub struct InvalidDestination;

impl Destination {
    /// Reads a destination.
    pub fn parse(text: &str) -> Result<Self, InvalidDestination> {
        let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse::<u16>().map_err(|_| InvalidDestination)?))
            }
            Some(_) | None => (rest, None),
        };
        let valid = !host.is_empty()
            && host.len() <= DESTINATION_BYTES_MAX
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
        if valid { Ok(Self { host: host.to_ascii_lowercase(), below, port }) } else { Err(InvalidDestination) }
    }

    /// Whether a host (as the URL parser writes it: lower case, IPv4 in decimal dots, IPv6 in brackets) and port are meant.
    pub fn matches(&self, host: &str, port: Option<u16>) -> bool {
        let host_fits = if self.below {
            host.strip_suffix(self.host.as_str()).is_some_and(|rest| rest.ends_with('.'))
        } else {
            host == self.host
        };
        host_fits && (self.port.is_none() || self.port == port)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for Destination {
    type Error = InvalidDestination;

    fn try_from(text: String) -> Result<Self, InvalidDestination> {
        Self::parse(&text)
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_mean_what_they_say() {
        for (pattern, host, port, fits) in [
            ("127.0.0.1:8090", "127.0.0.1", Some(8090), true),
            ("127.0.0.1:8090", "127.0.0.1", Some(80), false),
            ("127.0.0.1", "127.0.0.1", Some(80), true),
            ("*.example.org", "a.example.org", Some(443), true),
            ("*.example.org", "example.org", Some(443), false),
            ("*.example.org", "badexample.org", Some(443), false),
            ("[::1]:80", "[::1]", Some(80), true),
            ("[::1]", "[::1]", None, true),
        ] {
            assert_eq!(Destination::parse(pattern).unwrap().matches(host, port), fits, "{pattern} {host}");
            assert_eq!(Destination::parse(pattern).unwrap().to_string(), pattern);
        }
        for text in ["", "*", "a b", "host:99999", "host:", "http://x"] {
            assert_eq!(Destination::parse(text), Err(InvalidDestination), "{text}");
        }
    }
}
