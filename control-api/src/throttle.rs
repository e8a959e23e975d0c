//! Rate limits of the management API: public operations by address, all others by tenant.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use aegis_core::id::TenantId;
use aegis_core::principal::{Principal, Subject};
use aegis_core::tenant::TenantRecord;
use aegis_core::time::{MICROS_PER_SECOND, Timestamp};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::context::RequestContext;
use crate::error::ApiError;
use crate::state::App;

/// Addresses that are remembered at once; idle ones are forgotten beyond.
const ADDRESSES_MAX: usize = 100_000;

/// Requests by address.
pub(crate) struct AddressLimit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl AddressLimit {
    /// So many requests a second, and as many as three seconds' worth at once.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(2));
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request; `Err` has the seconds to wait.
    fn check(&self, address: IpAddr) -> Result<(), u64> {
        if self.limiter.len() > ADDRESSES_MAX {
            self.limiter.retain_recent();
        }
        let address = network(address);
        self.limiter.check_key(&address).map_err(|until| until.wait_time_from(self.clock.now()).as_secs() + 1)
    }
}

/// One customer's line: the address itself, or an IPv6 /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The layer of public operations.
pub(crate) async fn public(State(app): State<App>, request: Request, next: Next) -> Result<Response, ApiError> {
    let context = request.extensions().get::<RequestContext>();
    let context = context.ok_or_else(|| ApiError::bug("throttle", &"no request context"))?;
    match app.public_limit.check(context.client) {
        Ok(()) => Ok(next.run(request).await),
        Err(wait_s) => Err(ApiError::rate_limited("ip_requests", app.clock.now(), Duration::from_secs(wait_s))),
    }
}

/// Requests by tenant: a bucket of one minute's worth that refills steadily. Bounded by the number of tenants.
#[derive(Default)]
pub(crate) struct TenantLimit {
    buckets: DashMap<TenantId, Bucket>,
}

/// Millionths of a request that are left, and when that was so.
struct Bucket {
    left: i64,
    at: Timestamp,
}

impl TenantLimit {
    /// Counts a request of the tenant. Sidecars are not limited: evidence must arrive.
    pub(crate) fn check(&self, tenant: &TenantRecord, principal: &Principal, now: Timestamp) -> Result<(), ApiError> {
        if matches!(principal.subject, Subject::Sidecar(_)) {
            return Ok(());
        }
        let per_minute = i64::from(tenant.requests_per_minute().max(1));
        let capacity = per_minute.saturating_mul(MICROS_PER_SECOND);
        let mut bucket = self.buckets.entry(tenant.id).or_insert(Bucket { left: capacity, at: now });
        let passed = i64::try_from(now.since(bucket.at).as_micros()).unwrap_or(i64::MAX);
        bucket.left = bucket.left.saturating_add(passed.saturating_mul(per_minute) / 60).min(capacity);
        bucket.at = now;
        if bucket.left >= MICROS_PER_SECOND {
            bucket.left -= MICROS_PER_SECOND;
            return Ok(());
        }
        let missing = u64::try_from(MICROS_PER_SECOND - bucket.left).unwrap_or(0);
        let wait = Duration::from_micros(missing.saturating_mul(60) / u64::try_from(per_minute).unwrap_or(1));
        Err(ApiError::rate_limited("tenant_rpm", now, wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::principal::Role;

    #[test]
    fn a_tenant_has_its_minute_and_it_refills() {
        let tenant = TenantRecord {
            rpm_limit: Some(60),
            ..aegis_store::testing::tenant_record(TenantId::from_uuid(uuid::Uuid::nil()))
        };
        let user = aegis_core::id::UserId::from_uuid(uuid::Uuid::nil());
        let principal = Principal {
            tenant_id: tenant.id,
            subject: Subject::User(user),
            role: Role::Admin,
            scopes: None,
            platform_admin: false,
            token: None,
        };
        let limit = TenantLimit::default();
        let now = Timestamp::from_seconds(1_000_000);
        for _ in 0..60 {
            limit.check(&tenant, &principal, now).unwrap();
        }
        assert!(matches!(limit.check(&tenant, &principal, now), Err(ApiError::RateLimited { retry_after_s: 1, .. })));
        limit.check(&tenant, &principal, now.plus(Duration::from_secs(1))).unwrap();
        assert!(limit.check(&tenant, &principal, now.plus(Duration::from_secs(1))).is_err());
    }
}
