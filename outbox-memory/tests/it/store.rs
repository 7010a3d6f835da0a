use std::sync::Arc;

use async_trait::async_trait;
use outbox_conformance::{FixtureTransaction, RawRow, StoreFixture};
use outbox_core::{OrderingKey, OutboxMessage, OutboxWriter, StoredParts};
use outbox_memory::{MemoryStore, MemoryTransaction, MemoryWriter};

pub(crate) struct MemoryFixture(pub(crate) MemoryStore);

#[async_trait]
impl StoreFixture for MemoryFixture {
    type Store = MemoryStore;

    async fn new() -> Option<Self> {
        Some(Self(MemoryStore::new()))
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::new(self.0.clone())
    }

    async fn unmigrated(&self) -> Arc<MemoryStore> {
        Arc::new(MemoryStore::unmigrated())
    }

    async fn begin(&self) -> Box<dyn FixtureTransaction> {
        Box::new(Open(self.0.begin()))
    }

    async fn insert_raw(&self, row: RawRow) -> Result<(), String> {
        let mut parts = StoredParts::new(row.id, &row.topic, row.payload);
        parts.ordering_key = row.ordering_key.as_deref().map(OrderingKey::stored);
        let mut transaction = self.0.begin();
        transaction.enqueue_raw(parts, row.headers.as_deref());
        transaction.commit();
        Ok(())
    }
}

pub(crate) struct Open(pub(crate) MemoryTransaction);

#[async_trait]
impl FixtureTransaction for Open {
    async fn enqueue(&mut self, messages: &[OutboxMessage]) {
        MemoryWriter.enqueue_all(&mut self.0, messages).await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.0.commit();
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback();
    }
}

outbox_conformance::store_suite!(MemoryFixture);
