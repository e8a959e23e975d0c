//! Stage 1: who asks, for which tenant, on behalf of which agent.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aegis_core::agent::{AgentRecord, AgentStatus};
use aegis_core::id::{AgentId, TenantId};
use aegis_core::principal::{Claims, Principal, Role, Scope, TokenType};
use aegis_core::snapshot::TenantSnapshot;
use aegis_core::tenant::{TenantRecord, TenantStatus};
use aegis_core::time::{MICROS_PER_SECOND, Timestamp};
use dashmap::DashMap;

use crate::credential::{self, CredentialError, TokenCache};
use crate::facts::{Credential, RequestFacts};
use crate::refusal::{LimitReached, LimitType, Refusal};
use crate::snapshot::DecisionSnapshot;
use crate::stages::kill_switch::Disengaged;

/// Wrong credentials from one address that get a plain 401 within [`FAILURE_WINDOW`]; further ones get 429.
pub const FAILURES_MAX: u32 = 25;
/// The window in which wrong credentials are counted, from the first.
pub const FAILURE_WINDOW: Duration = Duration::from_mins(1);
/// Addresses remembered at most (IPv6 by /64). Beyond, strangers still get 401, just never 429.
pub const ADDRESSES_MAX: usize = 65_536;

/// What stage 1 remembers between calls; bounded.
#[derive(Debug, Default)]
pub struct AuthMemory {
    tokens: TokenCache,
    failures: AddressFailures,
}

/// An authenticated principal with its tenant.
#[derive(Debug, Clone)]
pub(crate) struct Identified {
    pub(crate) principal: Principal,
    pub(crate) tenant: Arc<TenantSnapshot>,
    proof: Proof,
}

/// What a principal's authority hangs on, to be looked at again against a newer snapshot.
#[derive(Debug, Clone)]
enum Proof {
    Token(Box<Claims>),
    ApiKey(String),
}

/// A principal bound to the agent it acts for; all of it in force. Made by [`bind`] only.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) identified: Identified,
    pub(crate) settings: Arc<TenantRecord>,
    pub(crate) agent: Arc<AgentRecord>,
}

/// The tenant the request names, if it names one.
pub(crate) fn named_tenant(request: &RequestFacts) -> Result<TenantId, Refusal> {
    let text = request.tenant_header.as_deref().ok_or(Refusal::TenantHeaderRequired)?;
    text.parse().map_err(|_| Refusal::InvalidTenantId)
}

/// Finds out who asks. Whoever cannot prove it gets 401 before anything else is said.
pub(crate) fn identify(
    snapshot: &DecisionSnapshot,
    memory: &AuthMemory,
    request: &RequestFacts,
    now: Timestamp,
) -> Result<Identified, Refusal> {
    if snapshot.data().version == 0 {
        return Err(Refusal::NoSnapshot);
    }
    let Some(credential) = &request.credential else { return Err(Refusal::InvalidToken) };
    match verify(snapshot, memory, credential, named_tenant(request).ok(), now) {
        Ok(identified) => Ok(identified),
        Err(Unverified::Wrong) => Err(memory.failures.count(request.address, now)),
        Err(Unverified::NotServed) => Err(Refusal::NoSnapshot),
    }
}

enum Unverified {
    /// Not a credential of ours; why is nobody's business.
    Wrong,
    /// Genuine, but of a tenant this snapshot does not hold, so its revocations are not known.
    NotServed,
}

impl From<CredentialError> for Unverified {
    fn from(_: CredentialError) -> Self {
        Self::Wrong
    }
}

fn verify(
    snapshot: &DecisionSnapshot,
    memory: &AuthMemory,
    credential: &Credential,
    named: Option<TenantId>,
    now: Timestamp,
) -> Result<Identified, Unverified> {
    match credential {
        Credential::Token(token) => {
            let claims = memory.tokens.verify(token, snapshot, snapshot.deployment(), now, TokenType::Access)?;
            let tenant = snapshot.data().tenant(claims.tenant_id).ok_or(Unverified::NotServed)?;
            of_claims(claims, tenant)
        }
        Credential::ApiKey(key) => {
            let digest = credential::api_key_digest(key).ok_or(CredentialError::UnknownApiKey)?;
            let first = named.and_then(|id| snapshot.data().tenant(id).map(|tenant| (id, tenant)));
            // A key of another tenant is a mismatch, not a stranger: look there too, on this rare path only.
            let (id, tenant) = first
                .into_iter()
                .chain(snapshot.data().tenants().filter(|(_, tenant)| tenant.tenant.is_some()))
                .find(|(_, tenant)| tenant.api_keys.contains_key(&digest))
                .ok_or(CredentialError::UnknownApiKey)?;
            of_api_key(digest, id, tenant, now)
        }
    }
}

fn of_claims(claims: Claims, tenant: &Arc<TenantSnapshot>) -> Result<Identified, Unverified> {
    if credential::is_revoked(&claims, tenant) {
        return Err(CredentialError::Revoked.into());
    }
    let principal = credential::principal_of(&claims)?;
    Ok(Identified { principal, tenant: Arc::clone(tenant), proof: Proof::Token(Box::new(claims)) })
}

fn of_api_key(
    digest: String,
    id: TenantId,
    tenant: &Arc<TenantSnapshot>,
    now: Timestamp,
) -> Result<Identified, Unverified> {
    let record = tenant.api_keys.get(&digest).ok_or(CredentialError::UnknownApiKey)?;
    let principal = credential::api_key_principal(id, record, now)?;
    Ok(Identified { principal, tenant: Arc::clone(tenant), proof: Proof::ApiKey(digest) })
}

impl Identified {
    /// Refuses a principal of another tenant than the request names.
    pub(crate) fn of_named_tenant(self, request: &RequestFacts) -> Result<Self, Box<(Self, Refusal)>> {
        match named_tenant(request) {
            Ok(named) if named == self.principal.tenant_id => Ok(self),
            Ok(_) => Err(Box::new((self, Refusal::TenantMismatch))),
            Err(refusal) => Err(Box::new((self, refusal))),
        }
    }

    /// The same principal by a newer snapshot: revoked, deleted or expired since, it is refused.
    pub(crate) fn renewed(&self, snapshot: &DecisionSnapshot, now: Timestamp) -> Result<Self, Refusal> {
        let tenant_id = self.principal.tenant_id;
        let tenant = snapshot.data().tenant(tenant_id).ok_or(Refusal::NoSnapshot)?;
        match &self.proof {
            Proof::Token(claims) if now < Timestamp::from_seconds(claims.exp) => {
                of_claims(Claims::clone(claims), tenant)
            }
            Proof::Token(_) => Err(CredentialError::Expired.into()),
            Proof::ApiKey(digest) => of_api_key(digest.clone(), tenant_id, tenant, now),
        }
        .map_err(|_| Refusal::InvalidToken)
    }
}

/// The agent the request names.
pub(crate) fn named_agent(request: &RequestFacts) -> Result<AgentId, Refusal> {
    let text = request.agent_header.as_deref().ok_or(Refusal::AgentHeaderRequired)?;
    text.parse().map_err(|_| Refusal::InvalidAgentId)
}

/// Binds the principal to the agent it wants to act for. A suspended tenant's principals may do nothing
/// (`insufficient_role`): their roles are void while it lasts.
pub(crate) fn bind(
    identified: Identified,
    agent_id: AgentId,
    _switch: &Disengaged,
) -> Result<Caller, Box<(Identified, Refusal)>> {
    match settle(&identified, agent_id) {
        Ok((settings, agent)) => Ok(Caller { identified, settings, agent }),
        Err(refusal) => Err(Box::new((identified, refusal))),
    }
}

fn settle(identified: &Identified, agent_id: AgentId) -> Result<(Arc<TenantRecord>, Arc<AgentRecord>), Refusal> {
    let principal = &identified.principal;
    let settings = identified.tenant.tenant.as_ref().ok_or(Refusal::NoSnapshot)?;
    if settings.status != TenantStatus::Active || !may_call_tools(principal) {
        return Err(Refusal::InsufficientRole);
    }
    if principal.agent().is_some_and(|own| own != agent_id) {
        return Err(Refusal::AgentMismatch);
    }
    let agent = identified.tenant.agents.get(&agent_id).ok_or(Refusal::UnknownAgent)?;
    if agent.status != AgentStatus::Active {
        return Err(Refusal::AgentNotActive);
    }
    Ok((Arc::clone(settings), Arc::clone(agent)))
}

/// Agents call as themselves; of people only ADMIN and SECURITY call, on behalf of an agent; API keys need the
/// scope `execute`, which binds them to an agent.
fn may_call_tools(principal: &Principal) -> bool {
    match (&principal.scopes, principal.role) {
        (Some(scopes), _) => principal.agent().is_some() && scopes.contains(&Scope::Execute),
        (None, Role::Admin | Role::Security | Role::Agent) => true,
        (None, Role::Auditor | Role::Viewer | Role::Service) => false,
    }
}

/// Wrong credentials per address.
#[derive(Debug, Default)]
struct AddressFailures {
    windows: DashMap<IpAddr, Window>,
    /// Second of the last sweep: at most one a second, however many strangers knock.
    swept: AtomicI64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Timestamp,
    count: u32,
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.since || now.since(self.since) >= FAILURE_WINDOW
    }
}

impl AddressFailures {
    /// Counts one failure and says how it is answered.
    fn count(&self, address: IpAddr, now: Timestamp) -> Refusal {
        let address = network_of(address);
        if self.windows.len() >= ADDRESSES_MAX && !self.windows.contains_key(&address) {
            self.sweep(now);
            if self.windows.len() >= ADDRESSES_MAX {
                return Refusal::InvalidToken;
            }
        }
        let mut window = self.windows.entry(address).or_insert(Window { since: now, count: 0 });
        if window.is_over(now) {
            *window = Window { since: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        if window.count <= FAILURES_MAX {
            return Refusal::InvalidToken;
        }
        let reset_at = window.since.plus(FAILURE_WINDOW);
        Refusal::RateLimited(LimitReached {
            limit_type: LimitType::IpAuthFailures,
            limit: u64::from(FAILURES_MAX),
            reset_at,
            retry_after: reset_at.since(now),
        })
    }

    fn sweep(&self, now: Timestamp) {
        let second = now.as_micros() / MICROS_PER_SECOND;
        if self.swept.swap(second, Ordering::Relaxed) != second {
            self.windows.retain(|_, window| !window.is_over(now));
        }
    }
}

/// One customer's network counts as one address: an IPv6 /64, an IPv4 address in either form.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
