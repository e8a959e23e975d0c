//! Calls under way: bounded in number, and awaited when the sidecar is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The calls under way.
#[derive(Debug)]
pub struct InFlight {
    room: Arc<Semaphore>,
    draining: AtomicBool,
    gauge: IntGauge,
}

/// Too many calls are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

/// One call under way, until dropped.
#[derive(Debug)]
pub struct Underway {
    _permit: OwnedSemaphorePermit,
    gauge: IntGauge,
}

impl InFlight {
    /// Room for `max` calls.
    pub fn new(max: usize, gauge: IntGauge) -> Self {
        Self { room: Arc::new(Semaphore::new(max)), draining: AtomicBool::new(false), gauge }
    }

    /// Lets a call in, if there is room.
    pub fn enter(&self) -> Result<Underway, Overloaded> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Overloaded)?;
        self.gauge.inc();
        Ok(Underway { _permit: permit, gauge: self.gauge.clone() })
    }

    /// From now on readiness says no. Calls that come over open connections are still served.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the sidecar is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let calls = InFlight::new(1, gauge.clone());
        let call = calls.enter().unwrap();
        assert_eq!((calls.enter().err(), gauge.get()), (Some(Overloaded), 1));
        drop(call);
        assert!(calls.enter().is_ok());
        assert_eq!(gauge.get(), 0);
    }
}
