//! How long each stage took and how it ended.

use std::time::Duration;

use aegis_core::decision::Stage;
use aegis_core::time::{Clock, Monotonic};
use aegis_core::words;

words! {
    /// How a stage ended.
    pub enum StageOutcome {
        /// The call goes on.
        Pass = "pass",
        /// The stage refused it.
        Refuse = "refuse",
        /// The stage had nothing to do.
        Skip = "skip",
        /// The stage is broken; what followed is in the fault table.
        Fault = "fault",
    }
}

/// One stage of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageStep {
    /// Which.
    pub stage: Stage,
    /// How it ended.
    pub outcome: StageOutcome,
    /// Microseconds it took.
    pub micros: u64,
}

/// The stages of one call in the order in which they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    steps: Vec<StageStep>,
}

impl Timeline {
    /// The steps so far.
    pub fn steps(&self) -> &[StageStep] {
        &self.steps
    }

    /// Adds a step; stages outside this crate (execution, output filter, audit) use it too.
    pub fn push(&mut self, stage: Stage, outcome: StageOutcome, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.steps.push(StageStep { stage, outcome, micros });
    }

    /// Adds a step that began at `since` and ends now.
    pub(crate) fn close(&mut self, stage: Stage, outcome: StageOutcome, since: Monotonic, clock: &dyn Clock) {
        self.push(stage, outcome, clock.monotonic().since(since));
    }

    /// Adds a gate's step: `pass` or `refuse`.
    pub(crate) fn gate<T, E>(&mut self, stage: Stage, result: &Result<T, E>, since: Monotonic, clock: &dyn Clock) {
        let outcome = if result.is_ok() { StageOutcome::Pass } else { StageOutcome::Refuse };
        self.close(stage, outcome, since, clock);
    }
}
