use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{MessageId, OutboxMessage};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::subscription::Group;

/// What the broker has, and who gets it.
#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) subscribers: Vec<mpsc::Sender<OutboxMessage>>,
    pub(super) groups: HashMap<String, Arc<Group>>,
    pub(super) closed: bool,
    /// `None` if nothing is to be kept.
    record: Option<Vec<OutboxMessage>>,
    /// When a message was last accepted, kept for the dedup window only.
    accepted: HashMap<MessageId, Instant>,
}

impl Broker {
    pub(super) fn recording() -> Self {
        Self { record: Some(Vec::new()), ..Self::default() }
    }

    /// Whether the message came before within the window; remembers it if not.
    pub(super) fn is_copy(&mut self, message: &OutboxMessage, window: Option<Duration>) -> bool {
        let Some(window) = window else { return false };
        let now = Instant::now();
        self.accepted.retain(|_, accepted| now.duration_since(*accepted) < window);
        if self.accepted.contains_key(message.id()) {
            return true;
        }
        self.accepted.insert(*message.id(), now);
        false
    }

    /// Returns how many are recorded now.
    pub(super) fn record(&mut self, message: &OutboxMessage) -> usize {
        self.subscribers.retain(|subscriber| !subscriber.is_closed());
        self.record.as_mut().map_or(0, |record| {
            record.push(message.clone());
            record.len()
        })
    }

    pub(super) fn recorded(&self) -> Vec<OutboxMessage> {
        self.record.clone().unwrap_or_default()
    }
}
