//! Bounded numbers and spans of days in query strings, stated once: parsing, refusal and documentation follow.

use std::borrow::Cow;

use aegis_core::id::AgentId;
use aegis_core::time::Timestamp;
use aegis_store::tally;
use aegis_store::usage::Window;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::caller::Caller;

/// A whole number from `MIN` to `MAX`, `DEFAULT` if absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounded<const DEFAULT: u32, const MIN: u32, const MAX: u32>(u32);

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> Bounded<DEFAULT, MIN, MAX> {
    /// The number.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> Default for Bounded<DEFAULT, MIN, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u32, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<DEFAULT, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(serde::de::Error::custom(format_args!("must be between {MIN} and {MAX}")))
        }
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> PartialSchema for Bounded<DEFAULT, MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .default(Some(DEFAULT.into()))
            .into()
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> ToSchema for Bounded<DEFAULT, MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Bounded{MIN}To{MAX}").into()
    }
}

/// A query parameter that may be absent.
fn parameter<T: PartialSchema>(name: &str, meaning: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(meaning))
        .schema(Some(T::schema()))
        .build()
}

const AGENT: &str = "Of this agent only.";
const DAYS: &str = "UTC days until now, today included.";
const LIMIT: &str = "How many to tell at most, the first of their order.";

/// The last days, of one agent or of all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span<const D: u32, const MIN: u32, const MAX: u32> {
    agent_id: Option<AgentId>,
    #[serde(default)]
    days: Bounded<D, MIN, MAX>,
}

impl<const D: u32, const MIN: u32, const MAX: u32> Span<D, MIN, MAX> {
    /// How many days.
    pub(crate) const fn days(&self) -> u32 {
        self.days.get()
    }

    /// Whose. An API key that is bound to an agent sees that agent only.
    pub(crate) fn agent(&self, caller: &Caller) -> Option<AgentId> {
        caller.only_agent().or(self.agent_id)
    }

    /// The window.
    pub(crate) fn window(&self, caller: &Caller, now: Timestamp) -> Window {
        tally::days_until(now, self.days(), self.agent(caller))
    }
}

impl<const D: u32, const MIN: u32, const MAX: u32> IntoParams for Span<D, MIN, MAX> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter::<AgentId>("agent_id", AGENT), parameter::<Bounded<D, MIN, MAX>>("days", DAYS)]
    }
}

/// The last days of the agent in the path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Days<const D: u32, const MIN: u32, const MAX: u32> {
    /// How many.
    #[serde(default)]
    pub(crate) days: Bounded<D, MIN, MAX>,
}

impl<const D: u32, const MIN: u32, const MAX: u32> IntoParams for Days<D, MIN, MAX> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter::<Bounded<D, MIN, MAX>>("days", DAYS)]
    }
}

/// The last days, and how many of what is ranked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ranking<const D: u32, const MIN: u32, const MAX: u32, const L: u32, const LMIN: u32, const LMAX: u32>
{
    agent_id: Option<AgentId>,
    #[serde(default)]
    days: Bounded<D, MIN, MAX>,
    #[serde(default)]
    limit: Bounded<L, LMIN, LMAX>,
}

impl<const D: u32, const MIN: u32, const MAX: u32, const L: u32, const LMIN: u32, const LMAX: u32> IntoParams
    for Ranking<D, MIN, MAX, L, LMIN, LMAX>
{
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter::<AgentId>("agent_id", AGENT),
            parameter::<Bounded<D, MIN, MAX>>("days", DAYS),
            parameter::<Bounded<L, LMIN, LMAX>>("limit", LIMIT),
        ]
    }
}

impl<const D: u32, const MIN: u32, const MAX: u32, const L: u32, const LMIN: u32, const LMAX: u32>
    Ranking<D, MIN, MAX, L, LMIN, LMAX>
{
    /// How many days.
    pub(crate) const fn days(&self) -> u32 {
        self.days.get()
    }

    /// How many to tell.
    pub(crate) const fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// The window. An API key that is bound to an agent sees that agent only.
    pub(crate) fn window(&self, caller: &Caller, now: Timestamp) -> Window {
        tally::days_until(now, self.days(), caller.only_agent().or(self.agent_id))
    }
}

/// The last days of the agent in the path, and how many of what is ranked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Top<const D: u32, const MIN: u32, const MAX: u32, const L: u32, const LMIN: u32, const LMAX: u32> {
    /// How many days.
    #[serde(default)]
    pub(crate) days: Bounded<D, MIN, MAX>,
    /// How many to tell.
    #[serde(default)]
    pub(crate) limit: Bounded<L, LMIN, LMAX>,
}

impl<const D: u32, const MIN: u32, const MAX: u32, const L: u32, const LMIN: u32, const LMAX: u32> IntoParams
    for Top<D, MIN, MAX, L, LMIN, LMAX>
{
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter::<Bounded<D, MIN, MAX>>("days", DAYS), parameter::<Bounded<L, LMIN, LMAX>>("limit", LIMIT)]
    }
}

/// How many at most.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit<const L: u32, const MIN: u32, const MAX: u32> {
    /// How many.
    #[serde(default)]
    pub(crate) limit: Bounded<L, MIN, MAX>,
}

impl<const L: u32, const MIN: u32, const MAX: u32> IntoParams for Limit<L, MIN, MAX> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter::<Bounded<L, MIN, MAX>>("limit", LIMIT)]
    }
}
