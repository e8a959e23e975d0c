//! What clients send about agents and permissions, and what is wrong with it.

use std::collections::BTreeMap;

use aegis_core::agent::{AgentStatus, GrantEffect, RiskLevel};
use aegis_core::id::AgentId;
use aegis_core::json;
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolPattern;
use aegis_core::time::Timestamp;
use aegis_store::agent::Agent;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, Issues};
use crate::extract::RequestBody;

/// Labels an agent may have at most.
const LABELS_MAX: usize = 20;
/// Characters of a label's name at most.
const LABEL_NAME_MAX: usize = 50;
/// Characters of a label's value at most.
const LABEL_VALUE_MAX: usize = 500;
/// Calls per second an agent's own limit may allow at most.
const REQUESTS_PER_SECOND_MAX: u32 = 100_000;

/// Which agents to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Of this owner only: `user:<id>`, or the user's bare id.
    pub(super) owner_id: Option<String>,
    /// Of this status only.
    pub(super) status: Option<AgentStatus>,
    /// Deleted agents too.
    #[serde(default)]
    #[param(default = false)]
    pub(super) include_deleted: bool,
    /// The page, from 1.
    #[serde(default = "first_page")]
    #[param(minimum = 1, default = 1)]
    pub(super) page: u32,
    /// Agents a page holds.
    #[serde(default = "page_size")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(super) size: u32,
}

const fn first_page() -> u32 {
    1
}

const fn page_size() -> u32 {
    20
}

impl ListQuery {
    /// Refuses what is out of range.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let mut issues = Issues::default();
        if self.page < 1 {
            issues.note("value_error", &["query", "page"], "must be 1 at least");
        }
        if !(1..=aegis_store::agent::AGENTS_PAGE_MAX).contains(&self.size) {
            issues.note("value_error", &["query", "size"], "must be between 1 and 100");
        }
        issues.into_result()
    }
}

/// An amount in USD: a decimal string or a number, told apart from nothing to the micro-dollar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usd(pub(super) MicroUsd);

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            number @ Value::Number(_) => json::canonical(&number),
            _ => return Err(serde::de::Error::custom("must be an amount in USD, as a decimal string or a number")),
        };
        MicroUsd::parse_usd(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAgent {
    /// Unique in the tenant: 3–100 of `a-z0-9_-`, beginning and ending with a letter or digit.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{1,98}[a-z0-9]$", examples("order-reader"))]
    pub(super) name: String,
    /// What it is for.
    #[schema(min_length = 10, max_length = 500, examples("Reads orders and answers customers."))]
    pub(super) description: String,
    /// Filled from the credential; may be given only if it names the caller.
    #[expect(dead_code, reason = "documented; taken out of the body before it is read")]
    owner_id: Option<String>,
    #[serde(default = "low")]
    #[schema(default = "low")]
    pub(super) risk_level: RiskLevel,
    /// Labels: at most 20.
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    /// Calls per second it may make; no limit of its own if absent.
    #[schema(minimum = 1, maximum = 100_000)]
    pub(super) requests_per_second: Option<u32>,
    /// USD it may spend per UTC day; no cap of its own if absent.
    #[schema(value_type = Option<String>, examples("25"))]
    pub(super) daily_cost_cap_usd: Option<Usd>,
    /// The agent that starts it.
    pub(super) parent_agent_id: Option<AgentId>,
}

const fn low() -> RiskLevel {
    RiskLevel::Low
}

impl RequestBody for NewAgent {
    fn validate(&self, issues: &mut Issues) {
        check_name(&self.name, issues);
        check_description(&self.description, issues);
        check_metadata(&self.metadata, issues);
        check_rate(self.requests_per_second, issues);
    }
}

/// What to change of an agent; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentChange {
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{1,98}[a-z0-9]$")]
    name: Option<String>,
    #[schema(min_length = 10, max_length = 500)]
    description: Option<String>,
    /// `TERMINATED` is final.
    status: Option<AgentStatus>,
    risk_level: Option<RiskLevel>,
    /// Replaces all labels: at most 20.
    metadata: Option<BTreeMap<String, String>>,
    /// `null` takes the limit away.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    requests_per_second: Setting<u32>,
    /// `null` takes the cap away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    daily_cost_cap_usd: Setting<Usd>,
    /// `null` makes it nobody's child.
    #[serde(default)]
    #[schema(value_type = Option<AgentId>)]
    parent_agent_id: Setting<AgentId>,
}

/// A setting that can be left as it is, taken away with `null`, or given anew.
#[derive(Debug, Clone, Copy, Default)]
enum Setting<T> {
    #[default]
    Kept,
    Cleared,
    Given(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Cleared, Self::Given))
    }
}

impl<T> Setting<T> {
    /// The setting as it would be.
    fn over(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Kept => before,
            Self::Cleared => None,
            Self::Given(value) => Some(value),
        }
    }
}

impl RequestBody for AgentChange {
    fn validate(&self, issues: &mut Issues) {
        if let Some(name) = &self.name {
            check_name(name, issues);
        }
        if let Some(description) = &self.description {
            check_description(description, issues);
        }
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata, issues);
        }
        check_rate(self.requests_per_second.over(None), issues);
    }
}

impl AgentChange {
    /// The agent as it would be.
    pub(super) fn apply(self, agent: Agent) -> Agent {
        Agent {
            name: self.name.unwrap_or(agent.name),
            description: self.description.unwrap_or(agent.description),
            status: self.status.unwrap_or(agent.status),
            risk_level: self.risk_level.unwrap_or(agent.risk_level),
            metadata: self.metadata.unwrap_or(agent.metadata),
            requests_per_second: self.requests_per_second.over(agent.requests_per_second),
            daily_cost_cap: self.daily_cost_cap_usd.over(agent.daily_cost_cap.map(Usd)).map(|usd| usd.0),
            parent: self.parent_agent_id.over(agent.parent),
            ..agent
        }
    }
}

/// A new grant or denial.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPermission {
    /// One tool, `prefix.*`, or `*`.
    pub(super) tool_name: ToolPattern,
    /// A denial wins over every grant.
    #[serde(default = "allow")]
    #[schema(default = "ALLOW")]
    pub(super) action: GrantEffect,
    /// Filled from the credential; may be given only if it names the caller.
    #[expect(dead_code, reason = "documented; taken out of the body before it is read")]
    granted_by: Option<String>,
    /// When it ends, in the future; never if absent.
    pub(super) expires_at: Option<Timestamp>,
}

const fn allow() -> GrantEffect {
    GrantEffect::Allow
}

impl RequestBody for NewPermission {
    fn validate(&self, _: &mut Issues) {}
}

fn check_name(name: &str, issues: &mut Issues) {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    let holds = (3..=100).contains(&bytes.len())
        && bytes.iter().all(|b| inner(*b))
        && edge(bytes.first())
        && edge(bytes.last());
    issues.check(holds, "name", "must be 3-100 of a-z, 0-9, _ and -, beginning and ending with a letter or digit");
}

fn check_description(description: &str, issues: &mut Issues) {
    let length = description.chars().count();
    issues.check((10..=500).contains(&length), "description", "must have 10-500 characters");
}

fn check_metadata(metadata: &BTreeMap<String, String>, issues: &mut Issues) {
    issues.check(metadata.len() <= LABELS_MAX, "metadata", "may have 20 labels at most");
    let fits = |text: &String, max: usize| text.chars().count() <= max;
    let names = metadata.keys().all(|name| !name.is_empty() && fits(name, LABEL_NAME_MAX));
    issues.check(names, "metadata", "a label's name must have 1-50 characters");
    let values = metadata.values().all(|value| fits(value, LABEL_VALUE_MAX));
    issues.check(values, "metadata", "a label's value may have 500 characters at most");
}

fn check_rate(rate: Option<u32>, issues: &mut Issues) {
    let holds = rate.is_none_or(|rate| (1..=REQUESTS_PER_SECOND_MAX).contains(&rate));
    issues.check(holds, "requests_per_second", "must be between 1 and 100000");
}
