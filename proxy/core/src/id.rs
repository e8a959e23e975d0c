//! Every identifier of the product, as its own type, from one list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entropy::Entropy;
use crate::time::Timestamp;

/// A text that is not the identifier it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid UUID")]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an existing UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// A new, time-ordered id (`UUIDv7`, RFC 9562 §5.7).
            pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let mut random = [0_u8; 10];
                entropy.fill(&mut random);
                let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The UUID inside.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts the hyphenated form only, in either case: one spelling, one identifier.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if text.len() != uuid::fmt::Hyphenated::LENGTH {
                    return Err(InvalidId);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
            }
        }

        $crate::text_schema!($name, "uuid", "0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21");
    )*};
}

ids! {
    /// A customer: the unit of isolation.
    TenantId;
    /// The organisation a tenant belongs to (by default its own tenant id).
    OrgId;
    /// An AI agent.
    AgentId;
    /// A human user of the control plane.
    UserId;
    /// An API key (not its secret).
    ApiKeyId;
    /// One grant or denial of a tool to an agent.
    GrantId;
    /// One governed tool call.
    ExecutionId;
    /// One row of the ledger.
    AuditId;
    /// A source of ledger entries: one enrolled sidecar, or one control-plane replica.
    SourceId;
    /// One process start of a source.
    BootId;
    /// An agent's secret (not the secret itself).
    CredentialId;
    /// One access token (`jti`).
    TokenId;
    /// A line of refresh tokens that descend from one login.
    RefreshFamilyId;
    /// A join token (not its secret).
    JoinTokenId;
    /// An uploaded policy version.
    PolicyVersionId;
    /// A request for human approval.
    ApprovalId;
    /// An autonomy contract.
    ContractId;
    /// A restriction imposed by automatic response.
    RestrictionId;
    /// An incident.
    IncidentId;
    /// A detected breach of the ledger's rules.
    ViolationId;
    /// One event of the tenant's event stream.
    EventId;
}

/// Characters an informational identifier of a client may have at most.
pub const CLIENT_TEXT_MAX: usize = 128;

/// The id of one HTTP request: made by us, or a client's own harmless text.
///
/// Informational only: it never identifies a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RequestId(String);

impl RequestId {
    /// A fresh id.
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(ExecutionId::generate(now, entropy).to_string())
    }

    /// A client's id, if it is 1–128 characters of `[A-Za-z0-9._:-]`.
    pub fn parse(text: &str) -> Option<Self> {
        is_plain_token(text).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An agent's own name for a run of calls: 1–128 characters of `[A-Za-z0-9._:-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// The session id, if the text is one.
    pub fn parse(text: &str) -> Option<Self> {
        is_plain_token(text).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a valid session id"))
    }
}

fn is_plain_token(text: &str) -> bool {
    (1..=CLIENT_TEXT_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        assert!("018f6f1e-5c0a-7000-8000-000000000001".parse::<TenantId>().is_ok());
        for text in ["", "018f6f1e5c0a70008000000000000001", "{018f6f1e-5c0a-7000-8000-000000000001}", "x"] {
            assert_eq!(text.parse::<TenantId>(), Err(InvalidId), "{text}");
        }
    }

    #[test]
    fn session_ids_are_plain_and_bounded() {
        assert!(SessionId::parse("run-1:a.b_c").is_some());
        assert!(SessionId::parse("").is_none());
        assert!(SessionId::parse("a b").is_none());
        assert!(SessionId::parse(&"a".repeat(CLIENT_TEXT_MAX + 1)).is_none());
    }
}
