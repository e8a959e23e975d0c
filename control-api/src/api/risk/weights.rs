//! The weights of the five decision signals: read, and set for the tenant.

use aegis_core::score::BasisPoints;
use aegis_core::tenant::SignalWeights;
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_store::weights::{self, Weights};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, RequestBody};
use crate::record;
use crate::state::App;

/// What the five weights sum to, basis points, and by how much they may miss it.
const SUM: i64 = 10_000;
const TOLERANCE: i64 = 10;

words! {
    /// Whose weights they are.
    pub(crate) enum WeightSource {
        /// The product's.
        Default = "default",
        /// The tenant's own.
        Tenant = "tenant",
    }
}

/// The five weights, fractions of one; four decimals count.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"inference": 0.2, "policy": 0.4, "behavior": 0.25, "autonomy": 0.1, "agent_risk_level": 0.05}))]
pub(crate) struct WeightsBody {
    /// What the call tries to do (stage 3).
    #[schema(minimum = 0, maximum = 1)]
    inference: f64,
    /// What the rules say (stage 4).
    #[schema(minimum = 0, maximum = 1)]
    policy: f64,
    /// How the agent behaves (stage 5).
    #[schema(minimum = 0, maximum = 1)]
    behavior: f64,
    /// Whether the agent's contract is violated.
    #[schema(minimum = 0, maximum = 1)]
    autonomy: f64,
    /// How dangerous the agent is held to be.
    #[schema(minimum = 0, maximum = 1)]
    agent_risk_level: f64,
}

/// One signal with its weight.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignalWeight {
    #[schema(examples("policy"))]
    key: &'static str,
    #[schema(examples("Policy rules"))]
    label: &'static str,
    #[schema(minimum = 0, maximum = 1)]
    weight: f64,
}

/// The weights in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WeightsView {
    weights: WeightsBody,
    signals: Vec<SignalWeight>,
    source: WeightSource,
    /// When they were set; `null` while they are the product's.
    updated_at: Option<Timestamp>,
    /// By whom; `null` while they are the product's.
    updated_by: Option<String>,
}

pub(super) async fn get(State(app): State<App>, caller: Caller) -> Result<Answer<WeightsView>, ApiError> {
    let mut tx = app.store.read(caller.tenant_id()).await?;
    Ok(Answer::ok(weights::get(&mut tx, caller.tenant_id()).await?.into()))
}

pub(super) async fn set(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<WeightsBody>,
) -> Result<Answer<WeightsView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    let set = weights::set(&mut tx, tenant, body.into(), &caller.label()).await?;
    let facts = named(&set.weights).map(|(key, _, weight)| (key, json!(weight.get())));
    let entry = record::admin(&caller, "signal_weights.update", format!("tenant:{tenant}"), facts);
    tx.record(entry).await?.commit().await?;
    Ok(Answer::ok(set.into()))
}

impl RequestBody for WeightsBody {
    fn validate(&self, issues: &mut Issues) {
        let given = [
            ("inference", self.inference),
            ("policy", self.policy),
            ("behavior", self.behavior),
            ("autonomy", self.autonomy),
            ("agent_risk_level", self.agent_risk_level),
        ];
        for (field, weight) in given {
            issues.check((0.0..=1.0).contains(&weight), field, "must be between 0 and 1");
        }
        let sum: i64 = named(&(*self).into()).iter().map(|(.., weight)| i64::from(weight.get())).sum();
        if given.iter().all(|(_, weight)| (0.0..=1.0).contains(weight)) && (sum - SUM).abs() > TOLERANCE {
            issues.note("value_error", &["body"], "the five weights must sum to 1.000, give or take 0.001");
        }
    }
}

impl From<WeightsBody> for SignalWeights {
    fn from(body: WeightsBody) -> Self {
        Self {
            inference: points(body.inference),
            policy: points(body.policy),
            behavior: points(body.behavior),
            autonomy: points(body.autonomy),
            agent_risk_level: points(body.agent_risk_level),
        }
    }
}

/// The nearest basis point; decisions know no fractions.
fn points(weight: f64) -> BasisPoints {
    #[expect(clippy::cast_possible_truncation, reason = "clamped; a number that is none becomes 0")]
    let points = (weight.clamp(0.0, 1.0) * 10_000.0).round() as i64;
    BasisPoints::clamp(points)
}

/// The signals in the order of their stages, with their labels.
fn named(weights: &SignalWeights) -> [(&'static str, &'static str, BasisPoints); 5] {
    [
        ("inference", "What the call tries to do", weights.inference),
        ("policy", "Policy rules", weights.policy),
        ("behavior", "Behaviour of the agent", weights.behavior),
        ("autonomy", "Autonomy contract", weights.autonomy),
        ("agent_risk_level", "Risk level of the agent", weights.agent_risk_level),
    ]
}

impl From<Weights> for WeightsView {
    fn from(kept: Weights) -> Self {
        let Weights { weights, set } = kept;
        let signals =
            named(&weights).map(|(key, label, weight)| SignalWeight { key, label, weight: weight.as_fraction() });
        let (updated_at, updated_by) = set.unzip();
        Self {
            weights: WeightsBody {
                inference: weights.inference.as_fraction(),
                policy: weights.policy.as_fraction(),
                behavior: weights.behavior.as_fraction(),
                autonomy: weights.autonomy.as_fraction(),
                agent_risk_level: weights.agent_risk_level.as_fraction(),
            },
            signals: signals.into(),
            source: if updated_at.is_some() { WeightSource::Tenant } else { WeightSource::Default },
            updated_at,
            updated_by,
        }
    }
}
