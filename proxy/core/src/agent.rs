//! Agents: status, risk level and the tools they may use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, GrantId, OrgId};
use crate::pattern::{ToolName, ToolPattern};
use crate::score::BasisPoints;
use crate::time::Timestamp;

/// Declares a closed set of words with one spelling each.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every word of the set, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word's one spelling, on the wire and in storage.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The word with this spelling.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::words_schema!($name, $($text),+);
    };
}

words! {
    /// Where an agent stands. Only `Active` agents may act; `Terminated` is final.
    pub enum AgentStatus {
        /// May act.
        Active = "ACTIVE",
        /// Switched off by its owner.
        Inactive = "INACTIVE",
        /// Switched off by an operator.
        Suspended = "SUSPENDED",
        /// Slowed down after incidents.
        Throttled = "THROTTLED",
        /// Isolated after incidents.
        Quarantined = "QUARANTINED",
        /// Gone for good.
        Terminated = "TERMINATED",
    }
}

impl AgentStatus {
    /// Whether an agent may go from this status to `next`. Staying is always allowed.
    pub fn may_become(self, next: Self) -> bool {
        self == next || self != Self::Terminated
    }
}

words! {
    /// How dangerous an agent is held to be.
    pub enum RiskLevel {
        /// Reads only, little data.
        Low = "low",
        /// The usual.
        Medium = "medium",
        /// Touches production or personal data.
        High = "high",
        /// Can do lasting harm.
        Critical = "critical",
    }
}

impl RiskLevel {
    /// The level's value in the decision formula: 0, 0.33, 0.66, 1.
    pub const fn signal(self) -> BasisPoints {
        BasisPoints::clamp(match self {
            Self::Low => 0,
            Self::Medium => 3_300,
            Self::High => 6_600,
            Self::Critical => 10_000,
        })
    }
}

words! {
    /// What a grant says.
    pub enum GrantEffect {
        /// May use the tool.
        Allow = "ALLOW",
        /// May not, whatever else is granted.
        Deny = "DENY",
    }
}

/// One grant or denial of tools to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The grant.
    pub id: GrantId,
    /// Which tools.
    pub tool: ToolPattern,
    /// Allowed or denied.
    pub effect: GrantEffect,
    /// Ends then; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Grant {
    /// Whether the grant is in force.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// An agent as the sidecar knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The agent.
    pub id: AgentId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its unique name in the tenant.
    pub name: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// How dangerous it is held to be.
    pub risk_level: RiskLevel,
    /// The owner's labels.
    pub metadata: BTreeMap<String, String>,
    /// What it may use.
    pub grants: Vec<Grant>,
    /// Calls per second it may make, if it has a limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Micro-USD it may spend per UTC day, if capped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_cost_cap_micro_usd: Option<crate::money::MicroUsd>,
    /// The agent that started it, from which delegation depth is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<AgentId>,
}

impl AgentRecord {
    /// Whether the tool is granted now. A denial in force wins over every grant.
    pub fn is_granted(&self, tool: &ToolName, now: Timestamp) -> bool {
        let mut allowed = false;
        for grant in self.grants.iter().filter(|g| g.in_force(now) && g.tool.matches(tool)) {
            match grant.effect {
                GrantEffect::Deny => return false,
                GrantEffect::Allow => allowed = true,
            }
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn agent(grants: &[(&str, GrantEffect, Option<i64>)]) -> AgentRecord {
        AgentRecord {
            id: AgentId::from_uuid(Uuid::nil()),
            org_id: OrgId::from_uuid(Uuid::nil()),
            name: "a".into(),
            status: AgentStatus::Active,
            risk_level: RiskLevel::Low,
            metadata: BTreeMap::new(),
            grants: grants
                .iter()
                .map(|(tool, effect, end)| Grant {
                    id: GrantId::from_uuid(Uuid::nil()),
                    tool: ToolPattern::parse(tool).unwrap(),
                    effect: *effect,
                    expires_at: end.map(Timestamp::from_seconds),
                })
                .collect(),
            requests_per_second: None,
            daily_cost_cap_micro_usd: None,
            parent: None,
        }
    }

    #[test]
    fn denial_wins_and_expiry_ends_a_grant() {
        let tool = ToolName::parse("db.query").unwrap();
        let now = Timestamp::from_seconds(100);
        let cases = [
            (vec![], false),
            (vec![("db.*", GrantEffect::Allow, None)], true),
            (vec![("*", GrantEffect::Allow, None), ("db.query", GrantEffect::Deny, None)], false),
            (vec![("*", GrantEffect::Allow, None), ("db.query", GrantEffect::Deny, Some(100))], true),
            (vec![("db.query", GrantEffect::Allow, Some(100))], false),
            (vec![("db.query", GrantEffect::Allow, Some(101))], true),
        ];
        for (grants, expected) in cases {
            assert_eq!(agent(&grants).is_granted(&tool, now), expected, "{grants:?}");
        }
    }

    #[test]
    fn terminated_is_final() {
        for next in AgentStatus::ALL {
            assert_eq!(AgentStatus::Terminated.may_become(*next), *next == AgentStatus::Terminated);
            assert!(AgentStatus::Suspended.may_become(*next));
        }
    }
}
