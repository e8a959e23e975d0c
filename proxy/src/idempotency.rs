//! Repeated idempotency keys: the first call runs, concurrent ones wait for its answer, later ones get it again.
//!
//! Only calls whose tool was called leave an answer; a refused call may be tried again. Bounded by count, bytes
//! and time; the oldest answers go first. Answers live in memory; that a call was let through is also on disk, so
//! after a crash its key says that the answer is lost rather than run the tool twice.

pub mod ring;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::{AgentId, ExecutionId, TenantId};
use aegis_core::pattern::ToolName;
use aegis_core::time::{Clock, Monotonic};
use aegis_ledger::hash::Hash;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::ring::{KeyRing, Remembered};
use crate::reply::Reply;

/// Characters of an idempotency key at most.
pub const KEY_MAX: usize = 255;
/// Bytes that one kept answer costs besides its body and headers.
const OVERHEAD_BYTES: usize = 512;

/// Whose key it is. The tenant is part of it: there is no other way to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// The tool.
    pub tool: ToolName,
    /// SHA-256 of the client's key.
    pub digest: Hash,
}

/// A key's short form: SHA-256 over tenant, agent, tool and the key's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(Hash);

impl Key {
    fn fingerprint(&self) -> Fingerprint {
        let (tenant, agent) = (self.tenant_id.as_uuid(), self.agent_id.as_uuid());
        let parts: [&[u8]; 4] =
            [tenant.as_bytes(), agent.as_bytes(), self.digest.as_bytes(), self.tool.as_str().as_bytes()];
        Fingerprint(Hash::of(&parts))
    }
}

/// How many answers are kept, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long.
    pub ttl: Duration,
    /// How many.
    pub answers_max: usize,
    /// How many bytes.
    pub bytes_max: usize,
}

/// What is to be done with a call that carries a key.
pub enum Begun {
    /// It is the first: run it, then tell the answer.
    First(First),
    /// It ran before.
    Replay(Arc<Reply>),
    /// The key was used with another body.
    Reused,
    /// It ran before, and a crash hid its answer.
    OutcomeUnknown(ExecutionId),
    /// As many keyed calls are under way as are kept.
    Full,
}

enum State {
    Running { body: Hash, done: watch::Receiver<()> },
    Answered { body: Hash, reply: Arc<Reply> },
    Unknown { execution_id: ExecutionId },
}

#[derive(Default)]
struct Store {
    states: HashMap<Fingerprint, (u64, State)>,
    /// Settled keys, oldest first, with the generation they were settled in and their bytes.
    settled: VecDeque<(Monotonic, Fingerprint, u64, usize)>,
    bytes: usize,
    running: usize,
    generation: u64,
}

/// All keys in use.
pub struct IdempotencyKeys {
    clock: Arc<dyn Clock>,
    limits: Limits,
    store: Mutex<Store>,
    ring: Option<KeyRing>,
}

/// The duty to tell what became of the first call with a key. Dropped untold, the next call is the first.
pub struct First {
    keys: Arc<IdempotencyKeys>,
    fingerprint: Fingerprint,
    digest: Hash,
    body: Hash,
    generation: u64,
    _done: watch::Sender<()>,
}

impl IdempotencyKeys {
    /// No keys yet, and none kept on disk.
    pub fn new(clock: Arc<dyn Clock>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { clock, limits, store: Mutex::new(Store::default()), ring: None })
    }

    /// The keys of the process before, as its ring tells them; new ones are noted there.
    pub fn kept(clock: Arc<dyn Clock>, limits: Limits, ring: KeyRing, known: Vec<Remembered>) -> Arc<Self> {
        let keys = Self { clock, limits, store: Mutex::new(Store::default()), ring: Some(ring) };
        for call in known {
            keys.remember(call.fingerprint, call.execution_id);
        }
        Arc::new(keys)
    }

    /// A call of an earlier process whose answer nobody knows: the key answers so until its time is over.
    pub fn remember_unknown(&self, key: &Key, execution_id: ExecutionId) {
        self.remember(key.fingerprint(), execution_id);
    }

    fn remember(&self, key: Fingerprint, execution_id: ExecutionId) {
        let now = self.clock.monotonic();
        let mut store = self.store.lock();
        store.settle(key, State::Unknown { execution_id }, OVERHEAD_BYTES, now);
        store.make_room(&self.limits);
    }

    /// Whether the call is the first with its key. Waits while another one with the same key and body runs.
    pub async fn begin(self: &Arc<Self>, key: Key, body: Hash) -> Begun {
        let fingerprint = key.fingerprint();
        loop {
            let mut running = match self.look(fingerprint, key.digest, body) {
                Ok(begun) => return begun,
                Err(running) => running,
            };
            // Ends when the first call's `First` is told or dropped; then the loop looks again.
            drop(running.changed().await);
        }
    }

    fn look(self: &Arc<Self>, key: Fingerprint, digest: Hash, body: Hash) -> Result<Begun, watch::Receiver<()>> {
        let mut store = self.store.lock();
        store.forget(self.clock.monotonic(), self.limits.ttl);
        match store.states.get(&key) {
            Some((_, State::Running { body: known, .. } | State::Answered { body: known, .. })) if *known != body => {
                Ok(Begun::Reused)
            }
            Some((_, State::Running { done, .. })) => Err(done.clone()),
            Some((_, State::Answered { reply, .. })) => Ok(Begun::Replay(Arc::clone(reply))),
            Some((_, State::Unknown { execution_id })) => Ok(Begun::OutcomeUnknown(*execution_id)),
            None if store.running >= self.limits.answers_max => Ok(Begun::Full),
            None => {
                let (done, waiters) = watch::channel(());
                store.running += 1;
                store.generation += 1;
                let generation = store.generation;
                store.states.insert(key, (generation, State::Running { body, done: waiters }));
                let keys = Arc::clone(self);
                Ok(Begun::First(First { keys, fingerprint: key, digest, body, generation, _done: done }))
            }
        }
    }

    /// Answers kept, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let store = self.store.lock();
        (store.settled.len(), store.bytes)
    }
}

impl First {
    /// SHA-256 of the client's key.
    pub fn key_digest(&self) -> Hash {
        self.digest
    }

    /// The tool is about to be called: from here on a crash must not make the key a first one again.
    ///
    /// # Errors
    /// If that cannot be noted; then the tool must not be called.
    pub fn let_through(&self, execution_id: ExecutionId) -> io::Result<()> {
        let Some(ring) = &self.keys.ring else { return Ok(()) };
        ring.note(Remembered { fingerprint: self.fingerprint, execution_id, at: self.keys.clock.now() })
    }

    /// The tool was called: this is the answer from now on.
    pub fn answered(self, execution_id: ExecutionId, reply: Arc<Reply>) {
        let bytes = reply.size() + OVERHEAD_BYTES;
        if bytes > self.keys.limits.bytes_max {
            // Too long to be kept: say that it happened rather than do it twice.
            return self.unrepeatable(execution_id);
        }
        let state = State::Answered { body: self.body, reply };
        self.settle(state, bytes);
    }

    /// The tool may have acted, and its answer cannot be given again: a stream, or an aborted call.
    pub fn unrepeatable(self, execution_id: ExecutionId) {
        self.settle(State::Unknown { execution_id }, OVERHEAD_BYTES);
    }

    fn settle(&self, state: State, bytes: usize) {
        let now = self.keys.clock.monotonic();
        let mut store = self.keys.store.lock();
        store.running = store.running.saturating_sub(1);
        store.settle(self.fingerprint, state, bytes, now);
        store.make_room(&self.keys.limits);
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let mut store = self.keys.store.lock();
        let is_mine = |(generation, state): &(u64, State)| {
            *generation == self.generation && matches!(state, State::Running { .. })
        };
        if store.states.get(&self.fingerprint).is_some_and(is_mine) {
            store.states.remove(&self.fingerprint);
            store.running = store.running.saturating_sub(1);
        }
    }
}

impl Store {
    fn settle(&mut self, key: Fingerprint, state: State, bytes: usize, now: Monotonic) {
        self.generation += 1;
        let generation = self.generation;
        self.states.insert(key, (generation, state));
        self.settled.push_back((now, key, generation, bytes));
        self.bytes += bytes;
    }

    fn forget(&mut self, now: Monotonic, ttl: Duration) {
        while self.settled.front().is_some_and(|(at, ..)| now.since(*at) >= ttl) {
            self.drop_oldest();
        }
    }

    fn make_room(&mut self, limits: &Limits) {
        while self.settled.len() > limits.answers_max || self.bytes > limits.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, key, generation, bytes)) = self.settled.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.states.get(&key).is_some_and(|(current, _)| *current == generation) {
            self.states.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::time::{ManualClock, Timestamp};
    use uuid::Uuid;

    fn keys(answers_max: usize, bytes_max: usize) -> (Arc<ManualClock>, Arc<IdempotencyKeys>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
        let limits = Limits { ttl: Duration::from_mins(1), answers_max, bytes_max };
        (Arc::clone(&clock), IdempotencyKeys::new(clock, limits))
    }

    fn key(n: u128) -> Key {
        Key {
            tenant_id: TenantId::from_uuid(Uuid::nil()),
            agent_id: AgentId::from_uuid(Uuid::nil()),
            tool: ToolName::parse("t").unwrap(),
            digest: Hash::of(&[&n.to_be_bytes()]),
        }
    }

    fn body(n: u8) -> Hash {
        Hash::of(&[&[n]])
    }

    fn reply(bytes: usize) -> Arc<Reply> {
        Arc::new(Reply::raw(200, vec![b'x'; bytes].into()))
    }

    async fn first(keys: &Arc<IdempotencyKeys>, n: u128) -> First {
        match keys.begin(key(n), body(1)).await {
            Begun::First(first) => first,
            _ => panic!("not the first"),
        }
    }

    #[tokio::test]
    async fn an_answer_is_given_again_until_its_time_is_over() {
        let (clock, keys) = keys(10, 100_000);
        first(&keys, 1).await.answered(ExecutionId::from_uuid(Uuid::from_u128(5)), reply(3));
        assert!(matches!(keys.begin(key(1), body(1)).await, Begun::Replay(r) if r.size() >= 3));
        assert!(matches!(keys.begin(key(1), body(2)).await, Begun::Reused));
        clock.advance(Duration::from_mins(1));
        assert!(matches!(keys.begin(key(1), body(2)).await, Begun::First(_)));
    }

    #[tokio::test]
    async fn concurrent_calls_wait_for_the_first_and_never_run() {
        let (_, keys) = keys(10, 100_000);
        let running = first(&keys, 1).await;
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let keys = Arc::clone(&keys);
                tokio::spawn(async move { matches!(keys.begin(key(1), body(1)).await, Begun::Replay(_)) })
            })
            .collect();
        tokio::task::yield_now().await;
        running.answered(ExecutionId::from_uuid(Uuid::from_u128(5)), reply(3));
        for waiter in waiting {
            assert!(waiter.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_refused_first_call_makes_the_next_one_first() {
        let (_, keys) = keys(10, 100_000);
        drop(first(&keys, 1).await);
        drop(first(&keys, 1).await);
    }

    #[tokio::test]
    async fn the_oldest_answers_make_room() {
        let (_, keys) = keys(2, 2_000);
        for n in 0..3 {
            first(&keys, n).await.answered(ExecutionId::from_uuid(Uuid::from_u128(5)), reply(10));
        }
        assert_eq!(keys.size().0, 2);
        assert!(matches!(keys.begin(key(0), body(1)).await, Begun::First(_)));
        first(&keys, 7).await.answered(ExecutionId::from_uuid(Uuid::from_u128(5)), reply(1_200));
        assert_eq!(keys.size().0, 1);
        first(&keys, 8).await.answered(ExecutionId::from_uuid(Uuid::from_u128(5)), reply(5_000));
        assert!(
            matches!(keys.begin(key(8), body(1)).await, Begun::OutcomeUnknown(_)),
            "an answer too long is not run twice"
        );
    }

    #[tokio::test]
    async fn a_call_lost_in_a_crash_is_not_run_again() {
        let (clock, keys) = keys(10, 100_000);
        let lost = ExecutionId::from_uuid(Uuid::from_u128(9));
        keys.remember_unknown(&key(1), lost);
        assert!(matches!(keys.begin(key(1), body(1)).await, Begun::OutcomeUnknown(id) if id == lost));
        clock.advance(Duration::from_secs(61));
        assert!(matches!(keys.begin(key(1), body(1)).await, Begun::First(_)));
    }
}
