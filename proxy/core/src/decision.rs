//! What was decided and what was done.

use crate::score::BasisPoints;
use crate::words;

words! {
    /// The verdict on a call, mildest first.
    pub enum Decision {
        /// Go on.
        Allow = "ALLOW",
        /// Go on, watched.
        Monitor = "MONITOR",
        /// Slow down.
        Throttle = "THROTTLE",
        /// Ask a human.
        Escalate = "ESCALATE",
        /// Refuse.
        Kill = "KILL",
        /// Refused by a gate (stages 0–2, enforcement facts, missing audit) before or beside the verdict.
        Refused = "REFUSED",
    }
}

impl Decision {
    /// The verdict of a final score: ≥ .90 KILL, ≥ .70 ESCALATE, ≥ .50 THROTTLE, ≥ .30 MONITOR, else ALLOW.
    pub const fn of_score(score: BasisPoints) -> Self {
        match score.get() {
            9_000.. => Self::Kill,
            7_000.. => Self::Escalate,
            5_000.. => Self::Throttle,
            3_000.. => Self::Monitor,
            _ => Self::Allow,
        }
    }
}

words! {
    /// What became of a call behind its verdict.
    pub enum Outcome {
        /// The tool was never called.
        NotExecuted = "not_executed",
        /// The tool answered.
        Executed = "executed",
        /// The tool failed or could not be reached.
        Failed = "failed",
        /// A crash or an abort hides whether the tool acted.
        Unknown = "unknown",
        /// The row had to be durable before the answer; an `outcome` entry follows.
        Pending = "pending",
    }
}

words! {
    /// The durability that a record had reached, weakest first.
    pub enum Level {
        /// Intended, unsigned.
        Intent = "intent",
        /// Signed by its source and out of the process.
        Signed = "signed",
        /// Synced to the source's disk.
        Local = "local",
        /// Committed by the control plane.
        Sequenced = "sequenced",
        /// Covered by a published checkpoint.
        Published = "published",
        /// Countersigned by witnesses.
        Witnessed = "witnessed",
    }
}

words! {
    /// The eleven stages, in order.
    pub enum Stage {
        /// 0
        KillSwitch = "kill_switch",
        /// 1
        Auth = "auth",
        /// 2
        RateLimit = "rate_limit",
        /// 3
        Inference = "inference",
        /// 4
        Policy = "policy",
        /// 5
        Behavior = "behavior",
        /// 6
        Decision = "decision",
        /// 7
        Enforcement = "enforcement",
        /// 8
        Execution = "execution",
        /// 9
        OutputFilter = "output_filter",
        /// 10
        Audit = "audit",
    }
}

impl Stage {
    /// The stage's number, 0–10.
    pub const fn number(self) -> u8 {
        self as u8
    }
}
