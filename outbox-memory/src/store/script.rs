use std::time::Duration;

use outbox_core::{OutboxMessage, StoreErrorKind};

use super::MemoryStore;
use super::faults::Fault;

/// For tests: make it fail, count what is asked of it, look inside. Operations are named like the methods of
/// [`OutboxStore`](outbox_core::OutboxStore), and `enqueue`.
impl MemoryStore {
    /// The next call of this operation fails and does nothing. Several plans for one operation are used up in turn.
    pub fn fail_next(&self, operation: &'static str, kind: StoreErrorKind) {
        self.faults().plan(operation, Fault::Refuse(kind));
    }

    /// The next call of this operation is carried out, but its caller gets an error: the answer was lost.
    pub fn lose_next_reply(&self, operation: &'static str, kind: StoreErrorKind) {
        self.faults().plan(operation, Fault::LoseReply(kind));
    }

    /// From now on every operation fails as unavailable.
    pub fn down(&self) {
        self.faults().down = true;
    }

    /// Ends [`MemoryStore::down`].
    pub fn up(&self) {
        self.faults().down = false;
    }

    /// From now on every operation takes this long, by tokio's clock, before it is carried out.
    pub fn set_latency(&self, latency: Duration) {
        self.faults().latency = latency;
    }

    /// How often this operation was called, failed calls included.
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        self.faults().calls(operation)
    }

    /// How often any operation was called.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.faults().all_calls()
    }

    /// The messages in `outbox_messages`, by `seq`, as their writers made them: without the time of the insert.
    #[must_use]
    pub fn pending(&self) -> Vec<OutboxMessage> {
        self.tables().fresh.values().map(|row| as_written(&row.message)).collect()
    }

    /// The messages in `outbox_deferred`, by `seq`.
    #[must_use]
    pub fn deferred(&self) -> Vec<OutboxMessage> {
        let tables = self.tables();
        let mut rows: Vec<_> = tables.deferred.values().map(|deferred| &deferred.row).collect();
        rows.sort_by_key(|row| row.seq);
        rows.into_iter().map(|row| as_written(&row.message)).collect()
    }

    /// The messages in `outbox_dead_letters`, in the order in which they died.
    #[must_use]
    pub fn dead(&self) -> Vec<OutboxMessage> {
        self.tables().dead.values().map(|dead| as_written(&dead.row.message)).collect()
    }
}

fn as_written(message: &OutboxMessage) -> OutboxMessage {
    let mut parts = message.clone().into_parts();
    parts.created_at = None;
    OutboxMessage::stored(parts)
}
