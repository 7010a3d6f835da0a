use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{ConsumerName, InboxAdmin, MessageId, StoreError};

use super::MemoryStore;
use crate::clock::{Micros, duration_micros};

/// How often a message was tried, and when last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tries {
    count: u32,
    last: Micros,
}

/// The tries of consumers. What they have handled is in the databases of their handlers: nobody's transaction ends here.
#[async_trait]
impl InboxAdmin for MemoryStore {
    async fn count_attempt(
        &self,
        consumer: &ConsumerName,
        id: &MessageId,
    ) -> Result<Option<u32>, StoreError> {
        let key = (consumer.clone(), *id);
        let count = self.operation("count_attempt", |tables, now| {
            let tries = tables.tries.entry(key).or_insert(Tries { count: 0, last: now });
            *tries = Tries { count: tries.count.saturating_add(1), last: now };
            Ok(Some(tries.count))
        });
        count.await
    }

    async fn retract_attempt(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let key = (consumer.clone(), *id);
        let retract = self.operation("retract_attempt", |tables, _| {
            if let Some(tries) = tables.tries.get_mut(&key) {
                tries.count -= 1;
            }
            tables.tries.retain(|_, tries| tries.count > 0);
            Ok(())
        });
        retract.await
    }

    async fn forget_attempts(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let key = (consumer.clone(), *id);
        let forget = self.operation("forget_attempts", |tables, _| {
            tables.tries.remove(&key);
            Ok(())
        });
        forget.await
    }

    async fn purge_inbox(
        &self,
        consumer: &ConsumerName,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let consumer = consumer.clone();
        let purge = self.operation("purge_inbox", |tables, now| {
            let before = now.saturating_sub(duration_micros(older_than));
            let mut old: Vec<_> = tables
                .tries
                .iter()
                .filter(|((name, _), tries)| *name == consumer && tries.last < before)
                .map(|(key, tries)| (tries.last, key.clone()))
                .collect();
            old.sort_unstable_by_key(|(last, _)| *last);
            old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            for (_, key) in &old {
                tables.tries.remove(key);
            }
            Ok(old.len() as u64)
        });
        purge.await
    }
}
