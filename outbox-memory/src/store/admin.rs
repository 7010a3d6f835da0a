use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterQuery, MessageId, Migration, OperatorAction, OutboxAdmin, OutboxStats, SchemaDrift,
    StoreError,
};

use super::MemoryStore;
use super::tables::Tables;

#[async_trait]
impl OutboxAdmin for MemoryStore {
    async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        let migrate = |tables: &mut Tables, _| {
            if std::mem::replace(&mut tables.migrated, true) {
                return Ok(Vec::new());
            }
            Ok(vec![Migration { version: 1, name: "tables in memory".to_owned() }])
        };
        self.operation("migrate", migrate).await
    }

    async fn schema_check(&self) -> Result<Vec<SchemaDrift>, StoreError> {
        let check = |tables: &mut Tables, _| {
            let missing = SchemaDrift {
                object: "outbox_messages".to_owned(),
                problem: "the table is missing".to_owned(),
            };
            Ok(if tables.migrated { Vec::new() } else { vec![missing] })
        };
        self.operation("schema_check", check).await
    }

    async fn stats(&self, count_limit: u64) -> Result<OutboxStats, StoreError> {
        self.operation("stats", |tables, now| Ok(tables.stats(count_limit, now))).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.operation("dead_letters", |tables, _| Ok(tables.dead_letters(query))).await
    }

    async fn request(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError> {
        self.operation("request", |tables, _| Ok(tables.request(ids, action))).await
    }

    async fn waiting_topics(&self, rows: u64) -> Result<Vec<String>, StoreError> {
        self.operation("waiting_topics", |tables, _| Ok(tables.waiting_topics(rows))).await
    }

    async fn set_shard_count(&self, count: u8) -> Result<(), StoreError> {
        self.operation("set_shard_count", |tables, now| tables.set_shard_count(count, now)).await
    }
}
