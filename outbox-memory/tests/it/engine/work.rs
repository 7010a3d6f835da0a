use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use outbox_core::{OutboxMessage, TransactionPolicy};
use outbox_memory::{Committed, Engine, Process, Step};

/// A message that says which commit of which key it belongs to.
pub(super) fn message(key: &str, version: u64) -> OutboxMessage {
    OutboxMessage::bytes("counted", version.to_string()).unwrap().ordering_key(key).build().unwrap()
}

/// Counts, and says so.
pub(super) fn count(key: &str) -> impl Fn(&u64) -> Step<u64> + Send + Sync {
    move |count| Step::new(count + 1).add(message(key, count + 1))
}

/// A policy whose pauses cost little time.
pub(super) fn quick(attempts: u32) -> TransactionPolicy {
    TransactionPolicy::new().attempts(attempts).pauses(Duration::from_micros(100), Duration::from_millis(5))
}

/// The numbers in the messages that wait.
pub(super) fn pending<K, S>(engine: &Engine<K, S>) -> Vec<u64> {
    numbers(&engine.outbox().pending())
}

pub(super) fn numbers(messages: &[OutboxMessage]) -> Vec<u64> {
    messages.iter().map(|message| std::str::from_utf8(message.payload()).unwrap().parse().unwrap()).collect()
}

/// One attempt, for tests without a runtime.
pub(super) fn once<K, S, P>(engine: &Engine<K, S>, key: &K, process: P) -> Committed<S, P::Output>
where
    K: Clone + Eq + Hash + Debug,
    S: Default,
    P: Process<S, Error: Debug>,
{
    let state = engine.state(key);
    engine.commit(key, &state, process.decide(&state).unwrap()).unwrap()
}

/// A commit by somebody else, in the middle of a process: what a process must never do, so that a test knows for sure that
/// the attempt is lost.
pub(super) fn rival(engine: &Engine<String, u64>, key: &str) {
    let state = engine.state(key);
    engine.commit(key, &state, Step::new(*state + 100)).unwrap();
}
