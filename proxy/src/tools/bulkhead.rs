//! A bulkhead per tool: one slow tool may hold so many calls and no more.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for a number of calls.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    room: Arc<Semaphore>,
    size: usize,
}

/// No room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// One call's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Bulkhead {
    /// Room for `size` calls at once.
    pub fn new(size: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(size)), size }
    }

    /// A place, if there is one now; nobody waits.
    pub fn enter(&self) -> Result<Place, Full> {
        Arc::clone(&self.room).try_acquire_owned().map(|permit| Place { _permit: permit }).map_err(|_| Full)
    }

    /// Calls under way.
    pub fn taken(&self) -> usize {
        self.size.saturating_sub(self.room.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bulkhead_refuses_until_a_place_is_given_back() {
        let bulkhead = Bulkhead::new(1);
        let place = bulkhead.enter().unwrap();
        assert_eq!((bulkhead.enter().err(), bulkhead.taken()), (Some(Full), 1));
        drop(place);
        assert!(bulkhead.enter().is_ok());
    }
}
