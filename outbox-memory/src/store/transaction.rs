use outbox_core::{OutboxMessage, OutboxWriter, Seq, StoreError, StoredParts};

use super::MemoryStore;
use super::tables::Row;

/// A producer's open transaction. Dropping it rolls back.
///
/// Each message gets its `seq` when it is enqueued, as in a database: of two open transactions, the one with the higher
/// `seq` may commit first.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct MemoryTransaction {
    store: MemoryStore,
    id: u64,
    rows: Vec<Row>,
}

impl MemoryTransaction {
    pub(super) fn begin(store: MemoryStore) -> Self {
        let id = store.tables().begin();
        Self { store, id, rows: Vec::new() }
    }

    /// Adds a message, and returns the place it will have in the order of its key.
    pub fn enqueue(&mut self, message: &OutboxMessage) -> Seq {
        let now = self.store.now();
        let seq = self.store.tables().next_seq(self.id);
        self.rows.push(Row::inserted(seq, message.clone(), now));
        seq
    }

    /// Adds a row as a writer without this library would leave it: nothing is checked before it is read. The headers are
    /// the stored text; the ones in `parts` are not looked at.
    pub fn enqueue_raw(&mut self, parts: StoredParts, headers: Option<&str>) -> Seq {
        let now = self.store.now();
        let seq = self.store.tables().next_seq(self.id);
        self.rows.push(Row::inserted_raw(seq, parts, headers, now));
        seq
    }

    /// Makes the messages visible, all at once.
    pub fn commit(mut self) {
        let rows = std::mem::take(&mut self.rows);
        let committed = !rows.is_empty();
        let mut tables = self.store.tables();
        tables.fresh.extend(rows.into_iter().map(|row| (row.seq, row)));
        tables.open.remove(&self.id);
        drop(tables);
        if committed {
            self.store.announce();
        }
    }

    /// Forgets the messages.
    pub fn rollback(self) {}
}

impl Drop for MemoryTransaction {
    fn drop(&mut self) {
        self.store.tables().open.remove(&self.id);
    }
}

/// Writes into a [`MemoryTransaction`] through the interface that all adapters have.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryWriter;

impl OutboxWriter<MemoryTransaction> for MemoryWriter {
    type Error = StoreError;

    async fn enqueue_all(
        &self,
        transaction: &mut MemoryTransaction,
        messages: &[OutboxMessage],
    ) -> Result<(), StoreError> {
        if messages.is_empty() {
            return Ok(());
        }
        let store = transaction.store.clone();
        store.operation("enqueue", |_, _| Ok(())).await?;
        for message in messages {
            transaction.enqueue(message);
        }
        Ok(())
    }
}
