//! Rate limits: public operations by address.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
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
        Err(retry_after_s) => Err(ApiError::RateLimited {
            limit_type: "ip_requests",
            retry_after_s,
            reset_at: app.clock.now().plus(std::time::Duration::from_secs(retry_after_s)),
        }),
    }
}
