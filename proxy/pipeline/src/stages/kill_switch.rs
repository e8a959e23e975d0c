//! Stage 0: the tenant's kill switch.

use std::sync::Arc;

use aegis_core::id::TenantId;
use aegis_core::snapshot::{KillSwitch, TenantSnapshot};

use crate::refusal::Refusal;
use crate::snapshot::DecisionSnapshot;

/// The switch as it stands, read before it is known who asks. Only an authenticated principal of the tenant is
/// told about it: hence two steps.
#[derive(Debug)]
pub(crate) struct Reading(Option<Arc<KillSwitch>>);

/// Proof that the switch was not engaged.
#[derive(Debug)]
pub(crate) struct Disengaged(());

/// Reads the switch of the tenant the request names.
pub(crate) fn read(snapshot: &DecisionSnapshot, tenant: Option<TenantId>) -> Reading {
    Reading(tenant.and_then(|id| snapshot.data().tenant(id)).and_then(|tenant| tenant.kill_switch.clone()))
}

impl Reading {
    /// Whether the switch is engaged.
    pub(crate) fn is_engaged(&self) -> bool {
        self.0.is_some()
    }

    /// Passes, or tells the principal why not.
    pub(crate) fn pass(self) -> Result<Disengaged, Refusal> {
        match self.0 {
            None => Ok(Disengaged(())),
            Some(switch) => Err(Refusal::KillSwitchEngaged(KillSwitch::clone(&switch))),
        }
    }
}

/// The check right before a tool is called, and while it is: against the snapshot of that moment. A tenant that
/// has vanished from the snapshot is not served either.
pub fn recheck(snapshot: &DecisionSnapshot, tenant_id: TenantId) -> Result<(), Refusal> {
    snapshot.data().tenant(tenant_id).ok_or(Refusal::NoSnapshot).and_then(|tenant| of(tenant).map(drop))
}

/// The switch of a tenant whose principal is known.
pub(crate) fn of(tenant: &TenantSnapshot) -> Result<Disengaged, Refusal> {
    Reading(tenant.kill_switch.clone()).pass()
}
