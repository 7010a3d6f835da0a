use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterQuery, MessageId, Migration, OperatorAction, OutboxAdmin, OutboxStats, SchemaDrift,
    StoreError,
};

use super::MemoryStore;
use super::state::State;

#[async_trait]
impl OutboxAdmin for MemoryStore {
    async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        let migrate = |state: &mut State, _| {
            if std::mem::replace(&mut state.migrated, true) {
                return Ok(Vec::new());
            }
            Ok(vec![Migration { version: 1, name: "tables in memory".to_owned() }])
        };
        self.operation("migrate", migrate).await
    }

    async fn schema_check(&self) -> Result<Vec<SchemaDrift>, StoreError> {
        let check = |state: &mut State, _| {
            let missing = SchemaDrift {
                object: "outbox_messages".to_owned(),
                problem: "the table is missing".to_owned(),
            };
            Ok(if state.migrated { Vec::new() } else { vec![missing] })
        };
        self.operation("schema_check", check).await
    }

    async fn stats(&self, count_limit: u64) -> Result<OutboxStats, StoreError> {
        self.operation("stats", |state, now| Ok(state.stats(count_limit, now))).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.operation("dead_letters", |state, _| Ok(state.dead_letters(query))).await
    }

    async fn request(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError> {
        self.operation("request", |state, _| Ok(state.request(ids, action))).await
    }

    async fn waiting_topics(&self, rows: u64) -> Result<Vec<String>, StoreError> {
        self.operation("waiting_topics", |state, _| Ok(state.waiting_topics(rows))).await
    }

    async fn set_shard_count(&self, count: u8) -> Result<(), StoreError> {
        self.operation("set_shard_count", |state, now| state.set_shard_count(count, now)).await
    }
}
