//! How a tool's call can end: with an answer, or with one of these failures.

use aegis_core::decision::Outcome;
use aegis_pipeline::refusal::Refusal;
use bytes::Bytes;

/// A tool's whole answer, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// Its status, at most 499.
    pub status: u16,
    /// Its content type, as sent, if it is one.
    pub content_type: Option<String>,
    /// Its body, without content encoding.
    pub body: Bytes,
}

/// Why there is no answer to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFailure {
    /// No connection: the tool was certainly not called.
    Unreachable,
    /// No answer in time; the status, if that much came.
    Timeout {
        /// The status.
        status: Option<u16>,
    },
    /// The connection broke before a status came.
    NoAnswer,
    /// The answer broke off, does not decode, or is longer than allowed; withheld.
    Withheld {
        /// The status.
        status: u16,
        /// What is wrong, for logs and rows.
        why: &'static str,
    },
    /// A status of 500 or above; the body is withheld.
    ServerError {
        /// The status.
        status: u16,
    },
    /// The kill switch was engaged while the call was under way.
    Aborted,
}

impl ToolFailure {
    /// The tool's status, if one came.
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Unreachable | Self::NoAnswer | Self::Aborted => None,
            Self::Timeout { status } => status,
            Self::Withheld { status, .. } | Self::ServerError { status } => Some(status),
        }
    }

    /// What became of the call: without a status, nobody knows whether the tool acted.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Unreachable | Self::Withheld { .. } | Self::ServerError { .. } => Outcome::Failed,
            Self::Timeout { .. } | Self::NoAnswer | Self::Aborted => Outcome::Unknown,
        }
    }

    /// Whether it says something about the tool's health.
    pub const fn blames_tool(self) -> bool {
        match self {
            Self::Unreachable | Self::Timeout { .. } | Self::NoAnswer | Self::ServerError { .. } => true,
            // An answer that is too long may be the caller's doing.
            Self::Withheld { .. } | Self::Aborted => false,
        }
    }

    /// What the client is told; `None` for an abort, whose refusal carries the switch.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Unreachable => Some(Refusal::UpstreamUnreachable),
            Self::Timeout { .. } => Some(Refusal::UpstreamTimeout),
            Self::NoAnswer | Self::Withheld { .. } | Self::ServerError { .. } => Some(Refusal::UpstreamError),
            Self::Aborted => None,
        }
    }

    /// One sentence for the row.
    pub fn reason(self) -> String {
        match self {
            Self::Unreachable => "upstream_unreachable: no connection to the tool".into(),
            Self::Timeout { .. } => "upstream_timeout: the tool did not answer in time".into(),
            Self::NoAnswer => "upstream_error: the connection broke before the tool answered".into(),
            Self::Withheld { why, .. } => format!("upstream_error: the answer was withheld: {why}"),
            Self::ServerError { status } => {
                format!("upstream_error: the tool answered {status}, its body was withheld")
            }
            Self::Aborted => "kill_switch_engaged: the call was aborted while the tool was working".into(),
        }
    }
}
