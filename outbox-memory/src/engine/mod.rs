mod process;
mod state;
mod step;

mod attempts;
mod commit;
mod error;
mod run;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox_core::TransactionPolicy;
use tokio::sync::Semaphore;

use crate::MemoryStore;
pub use commit::Committed;
pub use error::{Busy, Conflict, RunError};
pub use process::{IntoStep, Process};
pub use state::State;
pub use step::Step;

/// States in memory, each under a key of its own, and one outbox beside them. A clone is another handle to the same
/// states.
///
/// A [`Process`] decides on a state without any lock held. Its [`Step`] is committed by compare-and-swap: if the state is
/// still the one that the process saw, the new one takes its place and the messages enter the outbox, in one moment; whoever
/// sees a message sees the state that it tells of, and the other way round. If not, the step is dropped with all that is in
/// it, and the process decides anew. Who has lost an attempt gets in line for the key, and so does who comes while others
/// stand there, so that a hot key is worked on by one after the other and no attempt is wasted on it. Commits to different
/// keys never conflict. Messages are in the outbox in the order of
/// the versions they were committed with, so those that have the key of the state as their ordering key are delivered in
/// that order.
///
/// The outbox is a [`MemoryStore`] and as such a store like any other: a relay reads it, delivers, and clears what it
/// delivered by a compare-and-swap of its own, the settle that checks its fence. What both hold is lost with the program.
///
/// ```
/// # use outbox_core::MessageError;
/// use outbox_core::OutboxMessage;
/// use outbox_memory::{Engine, Step};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine: Engine<String, u64> = Engine::new();
/// let draw = |last: &u64| {
///     let ticket = last + 1;
///     let drawn = OutboxMessage::json("tickets.drawn", &ticket)?.ordering_key("hall").build()?;
///     Ok::<_, MessageError>(Step::new(ticket).add(drawn).returning(ticket))
/// };
/// let drawn = engine.run("hall", draw).await?;
/// assert_eq!((drawn.output, drawn.state.version()), (1, 1));
/// assert_eq!(engine.outbox().pending().len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct Engine<K, S> {
    slots: Arc<Mutex<HashMap<K, Slot<S>>>>,
    outbox: MemoryStore,
    policy: TransactionPolicy,
}

/// What there is of a key.
struct Slot<S> {
    state: State<S>,
    /// Where those wait who lost an attempt, once there are any.
    line: Option<Arc<Semaphore>>,
}

impl<K, S> Engine<K, S> {
    /// No states, and an outbox of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::on(MemoryStore::new())
    }

    /// No states yet; messages go to this outbox, which other engines and transactions may write to as well.
    #[must_use]
    pub fn on(outbox: MemoryStore) -> Self {
        let policy =
            TransactionPolicy::new().attempts(20).pauses(Duration::from_millis(1), Duration::from_millis(50));
        Self { slots: Arc::default(), outbox, policy }
    }

    /// How often a process is run in all, and the pauses between its attempts, for this handle and its clones. What all
    /// pauses take together is also the longest time that a run waits for its turn. By default 20 attempts with pauses from
    /// 1 ms to 50 ms, each of a random length up to twice that: no run waits for 3 s. There is only one isolation level:
    /// each commit is as if no other ran.
    #[must_use]
    pub fn with_policy(mut self, policy: TransactionPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The outbox: for [`Relay::new`](https://docs.rs/outbox-relay), its
    /// [`wakeup`](MemoryStore::wakeup), and for tests that look at what is in it.
    #[must_use]
    pub fn outbox(&self) -> MemoryStore {
        self.outbox.clone()
    }

    /// What may panic under this lock is the user's code for a key: to hash, to compare, to clone it. All of it comes before
    /// the first change, so there is never half of one.
    fn slots(&self) -> MutexGuard<'_, HashMap<K, Slot<S>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, S: Default> Engine<K, S> {
    /// The state of a key as it is now; version 0 of the default if nothing was committed to it.
    #[must_use]
    pub fn state<Q>(&self, key: &Q) -> State<S>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let found = self.slots().get(key).map(|slot| slot.state.clone());
        found.unwrap_or_else(|| State::initial(S::default()))
    }
}

impl<K: Eq + Hash, S> Engine<K, S> {
    /// How many keys have a state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots().len()
    }

    /// Whether nothing was ever committed, or all was removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots().is_empty()
    }
}

impl<K, S> Default for Engine<K, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, S> Clone for Engine<K, S> {
    fn clone(&self) -> Self {
        Self { slots: Arc::clone(&self.slots), outbox: self.outbox.clone(), policy: self.policy.clone() }
    }
}

impl<K, S> fmt::Debug for Engine<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("keys", &self.slots().len())
            .field("outbox", &self.outbox)
            .field("policy", &self.policy)
            .finish()
    }
}
