use outbox::OutboxMessage;
use serde::{Deserialize, Serialize};

/// The payload: which order it is, and what becomes of whoever handles it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: i32,
    pub(crate) key: String,
    pub(crate) fate: Fate,
}

/// What handling an order comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It is handled.
    Ok,
    /// It takes so many milliseconds, in the transaction.
    Takes(u64),
    /// It fails so many times.
    Fails(i64),
    /// The handler panics.
    Panics,
    /// The process is gone before the effects are committed.
    Aborts,
}

impl Order {
    /// Orders of 20 customers in turn, numbered from here.
    pub(crate) fn many(numbers: std::ops::Range<i32>, fate: Fate) -> Vec<Self> {
        numbers.map(|number| Self::new(number, fate)).collect()
    }

    pub(crate) fn new(number: i32, fate: Fate) -> Self {
        Self { number, key: format!("customer-{}", number % 20), fate }
    }

    pub(crate) fn message(&self, topic: &str) -> OutboxMessage {
        OutboxMessage::json(topic, self).unwrap().ordering_key(&self.key).build().unwrap()
    }
}
