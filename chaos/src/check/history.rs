//! What was seen of a run when it was over.

/// A message that was committed, by the word of its own transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Its ordering key.
    pub(crate) account: Option<String>,
    /// Which of its account it is.
    pub(crate) version: i64,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// The broker does not take it.
    pub(crate) refused: bool,
}

/// A message as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// The log in which its place is a place in an order.
    pub(crate) log: String,
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) account: Option<String>,
    /// The header of the harness.
    pub(crate) version: String,
    pub(crate) payload: Vec<u8>,
}

/// A dead letter of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) reason: String,
    pub(crate) payload: Vec<u8>,
}

/// An effect of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) id: String,
    pub(crate) worker: i64,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) committed: Vec<Entry>,
    pub(crate) received: Vec<Received>,
    pub(crate) dead: Vec<Dead>,
    pub(crate) effects: Vec<Effect>,
    /// What the consumers have given up.
    pub(crate) given_up: usize,
    /// Rows that were taken out of the outbox by a relay that did not own them.
    pub(crate) stolen: i64,
    /// What is known of producers that waited for a lock of a relay.
    pub(crate) held_up: Option<String>,
    /// Messages that still wait in the outbox.
    pub(crate) waiting: i64,
    /// Why transactions of producers failed to whom nothing was done.
    pub(crate) failures: Vec<String>,
    /// How many second copies the injections explain.
    pub(crate) duplicates_allowed: usize,
    /// What did not end as it should: a relay that ended by itself, one that could not be stopped.
    pub(crate) mishaps: Vec<String>,
}
