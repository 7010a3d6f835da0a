use std::sync::Arc;

use async_trait::async_trait;
use outbox_conformance::{FixtureTransaction, RawRow, StoreFixture};
use outbox_core::OutboxMessage;
use outbox_memory::{Engine, MemoryStore, Step};

use crate::store::{MemoryFixture, Open};

/// The outbox of an engine: messages are written by steps, and by the transactions of others beside them.
struct EngineFixture(Engine<String, u64>);

#[async_trait]
impl StoreFixture for EngineFixture {
    type Store = MemoryStore;

    async fn new() -> Option<Self> {
        Some(Self(Engine::new()))
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::new(self.0.outbox())
    }

    async fn unmigrated(&self) -> Arc<MemoryStore> {
        Arc::new(MemoryStore::unmigrated())
    }

    async fn enqueue(&self, messages: &[OutboxMessage]) {
        let process = |commits: &u64| Step::new(commits + 1).add_all(messages.iter().cloned());
        self.0.run("writer", process).await.unwrap();
    }

    async fn begin(&self) -> Box<dyn FixtureTransaction> {
        Box::new(Open(self.0.outbox().begin()))
    }

    async fn insert_raw(&self, row: RawRow) -> Result<(), String> {
        MemoryFixture(self.0.outbox()).insert_raw(row).await
    }
}

outbox_conformance::store_suite!(EngineFixture);
