//! The tries of consumers, in tokio's time.

use std::time::Duration;

use outbox_core::{ConsumerName, InboxAdmin, MessageId};
use outbox_memory::MemoryStore;
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn tries_are_counted_taken_back_and_forgotten() {
    let (store, id) = (MemoryStore::new(), MessageId::new());
    let [billing, shipping] = ["billing", "shipping"].map(|name| ConsumerName::new(name).unwrap());
    let count = async |consumer: &ConsumerName| store.count_attempt(consumer, &id).await.unwrap().unwrap();
    assert_eq!((count(&billing).await, count(&billing).await, count(&shipping).await), (1, 2, 1));
    store.retract_attempt(&billing, &id).await.unwrap();
    assert_eq!(count(&billing).await, 2);
    store.forget_attempts(&billing, &id).await.unwrap();
    store.retract_attempt(&billing, &id).await.unwrap();
    assert_eq!((count(&billing).await, count(&shipping).await), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn old_tries_are_purged_the_oldest_first() {
    let store = MemoryStore::new();
    let [billing, shipping] = ["billing", "shipping"].map(|name| ConsumerName::new(name).unwrap());
    let ids = [(); 4].map(|()| MessageId::new());
    for id in &ids {
        store.count_attempt(&billing, id).await.unwrap();
        advance(Duration::from_secs(10)).await;
    }
    store.count_attempt(&shipping, &ids[0]).await.unwrap();
    advance(Duration::from_secs(100)).await;
    let purge = async |seconds, limit| {
        store.purge_inbox(&billing, Duration::from_secs(seconds), limit).await.unwrap()
    };
    assert_eq!((purge(115, 2).await, purge(115, 2).await, purge(115, 2).await), (2, 1, 0));
    for (id, expected) in ids.iter().zip([1, 1, 1, 2]) {
        assert_eq!(store.count_attempt(&billing, id).await.unwrap(), Some(expected));
    }
    assert_eq!(store.count_attempt(&shipping, &ids[0]).await.unwrap(), Some(2));
}
