//! What a sidecar and the control plane say to each other, except ledger entries (see `aegis-ledger`).
//!
//! Paths, all under `/internal/sidecar`, JSON without envelope; errors use the envelope:
//! `POST /enroll` (join token) · `POST /renew` (identity proof) · `GET /watch?since=N` (NDJSON of
//! [`WatchFrame`]) · `POST /heartbeat`. Entries go to `POST /internal/audit/entries`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::decision::Level;
use crate::id::{BootId, SourceId, TenantId};
use crate::money::MicroUsd;
use crate::pattern::ToolPattern;
use crate::snapshot::Change;
use crate::time::Timestamp;
use crate::words;

/// Seconds between pings on an idle watch stream.
pub const WATCH_PING_S: u64 = 5;
/// Seconds between heartbeats.
pub const HEARTBEAT_S: u64 = 10;
/// Lifetime of a sidecar credential, seconds.
pub const SIDECAR_CREDENTIAL_TTL_S: i64 = 3_600;
/// The header in which a sidecar proves that it forwards a request: source id, unix seconds and the identity key's
/// signature over [`forward_statement`] in base64, with spaces between. It makes `X-Forwarded-For` believed and grants
/// nothing else: who calls is said by the client's own credential.
pub const FORWARDED_BY: &str = "x-aegis-forwarded-by";
/// Seconds a proof of forwarding may be off the control plane's clock.
pub const FORWARD_SKEW_MAX_S: u64 = 60;
/// Tools one sidecar may announce at most.
pub const TOOLS_MAX: usize = 2_000;
/// What the identity key signs to prove the source: this, then source id, newline, `issued_at`.
pub const RENEW_CONTEXT: &str = "aegis-renew/1\n";

words! {
    /// When rows must be on disk, per tool.
    pub enum AuditMode {
        /// Out of the process before the tool is called; synced within 5 ms.
        Bounded = "bounded",
        /// Synced before the tool is called and again before the answer.
        Strict = "strict",
    }
}

words! {
    /// What a tool does to the world.
    pub enum Effect {
        /// Reads.
        Read = "read",
        /// Changes something.
        Write = "write",
    }
}

/// A tool route as announced to the registry; no address, no credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolAnnouncement {
    /// Name or pattern.
    pub tool: ToolPattern,
    /// What it does.
    pub effect: Effect,
    /// What one call costs.
    pub cost_micro_usd: MicroUsd,
    /// How its rows are kept.
    pub audit_mode: AuditMode,
}

/// `POST /internal/sidecar/enroll`, with `Authorization: Bearer <join token>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrollRequest {
    /// A name for people, `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    /// The identity key, Ed25519, base64.
    pub identity_key: String,
    /// Signature by the identity key over `aegis-enroll/1\n` and the join token's SHA-256 (hex): proof of possession.
    pub proof: String,
    /// The binary's version.
    pub version: String,
}

/// What the identity key signs at enrolment, before the join token's digest in hex.
pub const ENROLL_CONTEXT: &str = "aegis-enroll/1\n";

/// What the identity key signs for a forwarded request: who forwards it, when, from which address, under which id.
pub fn forward_statement(source: SourceId, at_s: i64, client: IpAddr, request_id: &str) -> Vec<u8> {
    format!("aegis-forward/1\n{source}\n{at_s}\n{client}\n{request_id}").into_bytes()
}

/// `POST /internal/sidecar/renew`, no credential but the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewRequest {
    /// The source.
    pub source: SourceId,
    /// When the proof was made; at most 30 s from the control plane's clock.
    pub issued_at: Timestamp,
    /// Signature by the identity key over [`RENEW_CONTEXT`], source, newline, `issued_at`; base64.
    pub proof: String,
}

/// The answer to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SidecarCredential {
    /// The source's id, for ever.
    pub source: SourceId,
    /// A bearer token.
    pub credential: String,
    /// The token's end.
    pub expires_at: Timestamp,
    /// The tenants it speaks for.
    pub tenants: Vec<TenantId>,
    /// The deployment's name: issuer of tokens, origin of checkpoints.
    pub deployment: String,
}

/// One line of the watch stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum WatchFrame {
    /// Changes follow. `full`: forget everything first.
    Begin {
        /// Whether this replaces all that was known.
        full: bool,
    },
    /// One change.
    Change(Change),
    /// Apply what came since `Begin`, at once.
    Commit {
        /// The version reached.
        version: u64,
        /// The control plane's clock.
        at: Timestamp,
    },
    /// Nothing new; the version still holds.
    Ping {
        /// The current version.
        version: u64,
        /// The control plane's clock.
        at: Timestamp,
    },
}

/// `POST /internal/sidecar/heartbeat`: sent every 10 s, and right after a version was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heartbeat {
    /// The process start.
    pub boot: BootId,
    /// The binary's version.
    pub version: String,
    /// The address clients reach it at.
    pub public_url: String,
    /// The snapshot in force.
    pub snapshot_version: u64,
    /// When it was put in force.
    pub snapshot_applied_at: Timestamp,
    /// Rows waiting to be shipped.
    pub outbox_rows: u64,
    /// Age of the oldest of them, milliseconds.
    pub outbox_age_ms: u64,
    /// The durability rows reach before the tool is called.
    pub level: Level,
    /// Tools it can reach; sent in the first heartbeat of a boot and after a change, else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ToolAnnouncement>>,
    /// Counters since the boot, per tenant.
    pub counters: Vec<TenantCounters>,
    /// Decision latency of the last minute, microseconds: p50, p95, p99 and how many calls.
    pub decision_us: LatencySummary,
    /// The newest checkpoint it keeps of each tenant's log: signed notes. The control plane must agree with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<String>,
}

/// What a sidecar counted for one tenant since its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantCounters {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Calls admitted today (UTC).
    pub day_used: u64,
    /// Calls admitted this month (UTC).
    pub month_used: u64,
    /// Micro-USD spent today.
    pub day_cost_micro_usd: MicroUsd,
    /// Calls whose tool was called.
    pub forwarded: u64,
    /// Calls refused.
    pub denied: u64,
    /// Calls that failed.
    pub errored: u64,
}

/// Quantiles of a latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LatencySummary {
    /// Median.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Samples.
    pub count: u64,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatAck {
    /// The control plane's clock.
    pub at: Timestamp,
    /// The control plane's current version.
    pub version: u64,
}
