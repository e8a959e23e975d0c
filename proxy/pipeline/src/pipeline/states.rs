//! Where a call stands: what each step returns and the next one takes. Their fields are the pipeline's alone, so
//! that nobody else can make one.

use std::sync::Arc;

use aegis_core::agent::AgentRecord;
use aegis_core::money::MicroUsd;
use aegis_core::principal::Principal;
use aegis_core::tenant::TenantRecord;
use aegis_core::time::Clock;
use aegis_core::tool_call::ToolCall;

use crate::counters::{Counted, Counters, LimitView, Reservation};
use crate::facts::{RequestFacts, ToolFacts};
use crate::record::{CallRecord, KnownCaller, PolicyInForce, ShadowVerdict};
use crate::refusal::{LimitType, Refusal};
use crate::snapshot::DecisionSnapshot;
use crate::stages::auth::{Caller, Identified};
use crate::stages::decision::Verdict;
use crate::stages::enforcement::InForce;
use crate::stages::kill_switch;
use crate::timeline::Timeline;

/// A caller that passed stages 0 and 1. The body may be read now.
#[derive(Debug)]
pub struct Admitted {
    pub(super) caller: Caller,
    pub(super) request: RequestFacts,
    /// The snapshot that admitted it.
    pub(super) version: u64,
    pub(super) timeline: Timeline,
}

impl Admitted {
    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.caller.identified.principal
    }

    /// For which tenant.
    pub fn tenant(&self) -> &Arc<TenantRecord> {
        &self.caller.settings
    }

    /// On behalf of which agent.
    pub fn agent(&self) -> &Arc<AgentRecord> {
        &self.caller.agent
    }

    /// The same, for the row of a refusal that the service makes between the steps.
    pub fn known(&self) -> KnownCaller {
        known(&self.caller)
    }

    /// The stages so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }
}

/// A call that passed stage 2: it counts, and its money is reserved.
#[derive(Debug)]
pub struct Metered {
    pub(super) caller: Caller,
    pub(super) request: RequestFacts,
    pub(super) call: ToolCall,
    pub(super) payload: String,
    pub(super) tool: ToolFacts,
    pub(super) counted: Counted,
    pub(super) timeline: Timeline,
}

impl Metered {
    /// All limits and what is left of them, for `RateLimit-*` headers.
    pub fn limits(&self) -> &[LimitView] {
        &self.counted.limits
    }

    /// Monthly and cost caps that are nearly used up with this call; each is told once in its period.
    pub fn near_limits(&self) -> &[LimitType] {
        &self.counted.near
    }
}

/// A call with its verdict (stages 3 to 6), which nobody has acted on yet.
#[derive(Debug)]
pub struct Judged {
    pub(super) metered: Metered,
    pub(super) verdict: Verdict,
    pub(super) in_force: InForce,
    pub(super) policy: PolicyInForce,
    pub(super) shadows: Vec<ShadowVerdict>,
    pub(super) snapshot_version: u64,
}

impl Judged {
    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// The right to call the tool, once: what execution demands. Only stage 7 makes one.
#[derive(Debug)]
#[must_use = "a permit holds reserved money: settle it"]
pub struct Permit {
    pub(super) call: ToolCall,
    pub(super) payload: String,
    pub(super) tool: ToolFacts,
    pub(super) limits: Vec<LimitView>,
    pub(super) reservation: Reservation,
    pub(super) record: CallRecord,
}

/// A call that its verdict refuses. Its money is given back already.
#[derive(Debug)]
pub struct Denied {
    /// Why.
    pub refusal: Refusal,
    /// The call, for its row.
    pub record: CallRecord,
    /// The canonical payload, for its commitment.
    pub payload: String,
    /// All limits and what is left of them.
    pub limits: Vec<LimitView>,
}

impl Permit {
    /// The call.
    pub fn call(&self) -> &ToolCall {
        &self.call
    }

    /// The canonical payload: what was judged, is committed to, and goes to the tool.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// What the route says about the tool.
    pub fn tool(&self) -> &ToolFacts {
        &self.tool
    }

    /// All limits and what is left of them.
    pub fn limits(&self) -> &[LimitView] {
        &self.limits
    }

    /// What is known of the call, for its row.
    pub fn record(&self) -> &CallRecord {
        &self.record
    }

    /// The last look before the tool is called, and while it is: refuses if the kill switch was engaged since.
    pub fn still_holds(&self, snapshot: &DecisionSnapshot) -> Result<(), Refusal> {
        kill_switch::recheck(snapshot, self.record.tenant_id)
    }

    /// Ends the call: what it did cost replaces what was reserved (zero if the tool was never called).
    pub fn settle(mut self, actual: MicroUsd, counters: &dyn Counters, clock: &dyn Clock) -> CallRecord {
        counters.settle(self.reservation, actual, clock.now());
        self.record.cost = actual;
        self.record
    }
}

impl Identified {
    pub(super) fn known(&self) -> KnownCaller {
        KnownCaller { tenant_id: self.principal.tenant_id, principal: self.principal.label(), agent_id: None }
    }
}

pub(super) fn known(caller: &Caller) -> KnownCaller {
    KnownCaller { agent_id: Some(caller.agent.id), ..caller.identified.known() }
}
