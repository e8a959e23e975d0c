//! A circuit breaker per tool: a tool that keeps failing is given a rest, then tried with one call.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::time::{Clock, Monotonic};
use parking_lot::Mutex;

/// Failures in a row that open the circuit.
pub const FAILURES_MAX: u32 = 5;
/// The first rest.
pub const REST_MIN: Duration = Duration::from_secs(1);
/// The longest rest; it doubles with every failed trial up to here.
pub const REST_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass; so many failed in a row.
    Closed { failures: u32 },
    /// No call passes until the rest is over.
    Open { since: Monotonic, rest: Duration },
    /// One call is being tried; the rest so far, should it fail.
    HalfOpen { since: Monotonic, rest: Duration },
}

/// The breaker of one tool.
pub struct Breaker {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// A trial that is never settled is given up after this long.
    trial_max: Duration,
}

/// The circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitOpen {
    /// Until the next trial.
    pub retry_after: Duration,
}

/// Leave to call the tool once. Tell it how the call went; dropped untold, it counts as nothing.
pub struct Trial<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    settled: bool,
}

impl Breaker {
    /// Closed. `trial_max`: how long one call of the tool may take.
    pub fn new(clock: Arc<dyn Clock>, trial_max: Duration) -> Self {
        Self { clock, state: Mutex::new(State::Closed { failures: 0 }), trial_max }
    }

    /// Leave for one call, if the circuit allows it.
    pub fn enter(&self) -> Result<Trial<'_>, CircuitOpen> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        let (since, wait, rest) = match *state {
            State::Closed { .. } => return Ok(Trial { breaker: self, is_probe: false, settled: false }),
            State::Open { since, rest } => (since, rest, rest),
            State::HalfOpen { since, rest } => (since, self.trial_max, rest),
        };
        let passed = now.since(since);
        if passed < wait {
            return Err(CircuitOpen { retry_after: wait.saturating_sub(passed) });
        }
        *state = State::HalfOpen { since: now, rest };
        Ok(Trial { breaker: self, is_probe: true, settled: false })
    }

    /// Whether calls are being refused now.
    pub fn is_open(&self) -> bool {
        !matches!(*self.state.lock(), State::Closed { .. })
    }

    fn settle(&self, is_probe: bool, result: Settled) {
        let mut state = self.state.lock();
        *state = match (*state, result) {
            (State::Closed { .. }, Settled::Success) => State::Closed { failures: 0 },
            (State::Closed { failures }, Settled::Failure) if failures + 1 >= FAILURES_MAX => {
                State::Open { since: self.clock.monotonic(), rest: REST_MIN }
            }
            (State::Closed { failures }, Settled::Failure) => State::Closed { failures: failures + 1 },
            (State::HalfOpen { .. }, Settled::Success) if is_probe => State::Closed { failures: 0 },
            (State::HalfOpen { rest, .. }, Settled::Failure) if is_probe => {
                State::Open { since: self.clock.monotonic(), rest: (rest * 2).min(REST_MAX) }
            }
            // The probe said nothing: the next call is a probe again, at once.
            (State::HalfOpen { rest, .. }, Settled::Nothing) if is_probe => {
                State::Open { since: Monotonic::default(), rest }
            }
            // Calls that began before the circuit opened change nothing.
            (state @ (State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. }), _) => state,
        };
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Success,
    Failure,
    Nothing,
}

impl Trial<'_> {
    /// The tool answered properly.
    pub fn succeeded(mut self) {
        self.settled = true;
        self.breaker.settle(self.is_probe, Settled::Success);
    }

    /// The tool failed.
    pub fn failed(mut self) {
        self.settled = true;
        self.breaker.settle(self.is_probe, Settled::Failure);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.settle(self.is_probe, Settled::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::time::{ManualClock, Timestamp};

    fn breaker() -> (Arc<ManualClock>, Breaker) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
        (Arc::clone(&clock), Breaker::new(clock, Duration::from_secs(10)))
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.enter().ok().unwrap().failed();
        }
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_a_good_call_in_between_does_not_let_them_add_up() {
        let (_, breaker) = breaker();
        fail(&breaker, FAILURES_MAX - 1);
        breaker.enter().ok().unwrap().succeeded();
        fail(&breaker, FAILURES_MAX - 1);
        assert!(breaker.enter().is_ok());
        fail(&breaker, 1);
        assert_eq!(breaker.enter().err(), Some(CircuitOpen { retry_after: REST_MIN }));
    }

    #[test]
    fn one_call_tries_the_tool_after_its_rest() {
        let (clock, breaker) = breaker();
        fail(&breaker, FAILURES_MAX);
        clock.advance(REST_MIN);
        let probe = breaker.enter().ok().unwrap();
        assert!(breaker.enter().is_err(), "only one call is tried");
        probe.succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn rests_double_up_to_their_limit() {
        let (clock, breaker) = breaker();
        fail(&breaker, FAILURES_MAX);
        let mut rest = REST_MIN;
        for _ in 0..8 {
            clock.advance(rest);
            breaker.enter().ok().unwrap().failed();
            rest = (rest * 2).min(REST_MAX);
            assert_eq!(breaker.enter().err(), Some(CircuitOpen { retry_after: rest }));
        }
    }

    #[test]
    fn a_probe_that_says_nothing_leaves_the_next_call_as_probe() {
        let (clock, breaker) = breaker();
        fail(&breaker, FAILURES_MAX);
        clock.advance(REST_MIN);
        drop(breaker.enter().ok().unwrap());
        breaker.enter().ok().unwrap().succeeded();
        assert!(!breaker.is_open());
    }
}
