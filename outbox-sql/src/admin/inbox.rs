use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{ConsumerName, InboxAdmin, MessageId, StoreError, StoreErrorKind};

use super::Admin;
use crate::vocabulary::microseconds;
use crate::{Dialect, Driver, Row, Session, SqlStore, Step, Table, Value};

impl Admin<'_> {
    async fn count_attempt(&self, consumer: &ConsumerName, id: &MessageId) -> Result<u32, StoreError> {
        let table = self.table(Table::InboxAttempts);
        let (attempts, now) = (self.words.number("attempts"), self.dialect().now());
        let insert = format!("INSERT INTO {table} (consumer, message_id, attempts) VALUES (?, ?, 1)");
        let key = || vec![Value::from(consumer.as_str()), self.id(id)];
        let steps = match self.dialect() {
            Dialect::MySql => vec![
                Step::Write(self.statement(
                    &format!(
                        "{insert} ON DUPLICATE KEY UPDATE attempts = attempts + 1, last_attempt_at = {now}"
                    ),
                    key(),
                )),
                Step::Read(self.statement(
                    &format!("SELECT {attempts} FROM {table} WHERE consumer = ? AND message_id = ?"),
                    key(),
                )),
            ],
            Dialect::Postgres | Dialect::Sqlite => vec![Step::Read(self.statement(
                &format!(
                    "{insert} ON CONFLICT (consumer, message_id) \
                     DO UPDATE SET attempts = {table}.attempts + 1, last_attempt_at = {now} RETURNING {attempts}"
                ),
                key(),
            ))],
        };
        let result = self.driver.transaction(Session::Control, steps).await?;
        let row = result.rows.first().and_then(|rows| rows.first());
        let attempts = row.map(|row: &Row| row.i64(0)).transpose()?.flatten();
        attempts.and_then(|attempts| u32::try_from(attempts).ok()).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Other, "count an attempt", "the database returned no number")
        })
    }

    async fn forget_attempts(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let table = self.table(Table::InboxAttempts);
        let sql = format!("DELETE FROM {table} WHERE consumer = ? AND message_id = ?");
        let statement = self.statement(&sql, vec![Value::from(consumer.as_str()), self.id(id)]);
        self.driver.transaction(Session::Control, vec![Step::Also(statement)]).await?;
        Ok(())
    }

    async fn purge_inbox(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let mut purged = 0;
        for (table, time) in [(Table::Inbox, "processed_at"), (Table::InboxAttempts, "last_attempt_at")] {
            purged += self.purge(&self.table(table), time, older_than, limit).await?;
        }
        Ok(purged)
    }

    /// The rows are found by the index of the time, so that the cost is that of the rows that go.
    async fn purge(
        &self,
        table: &str,
        time: &str,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let then = self.dialect().now_plus("?");
        let old = |from: &str, then: &str| {
            format!("SELECT consumer, message_id FROM {from} WHERE {time} < {then} ORDER BY {time} LIMIT ?")
        };
        let same = "i.consumer = old.consumer AND i.message_id = old.message_id";
        let sql = match self.dialect() {
            // A volatile function is no condition of an index, the result of a sub-select is.
            Dialect::Postgres => format!(
                "WITH old AS MATERIALIZED ({} FOR UPDATE SKIP LOCKED) \
                 DELETE FROM {table} AS i USING old WHERE {same}",
                old(table, &format!("(SELECT {then})"))
            ),
            // A `DELETE` that chooses its index by itself reads the whole table, and waits for each message in work.
            Dialect::MySql => format!(
                "DELETE i FROM ({} FOR UPDATE SKIP LOCKED) AS old STRAIGHT_JOIN {table} AS i ON {same}",
                old(&format!("{table} FORCE INDEX ({time})"), &then)
            ),
            Dialect::Sqlite => {
                format!("DELETE FROM {table} WHERE (consumer, message_id) IN ({})", old(table, &then))
            }
        };
        let values = vec![Value::from(-microseconds(older_than)), Value::from(i64::from(limit))];
        let steps = vec![Step::Write(self.statement(&sql, values))];
        Ok(self.driver.transaction(Session::Control, steps).await?.applied)
    }
}

#[async_trait]
impl<D: Driver> InboxAdmin for SqlStore<D> {
    async fn count_attempt(&self, consumer: &ConsumerName, id: &MessageId) -> Result<u32, StoreError> {
        let counted = self.admin().count_attempt(consumer, id).await;
        counted.map_err(|error| error.during("count an attempt"))
    }

    async fn forget_attempts(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let forgotten = self.admin().forget_attempts(consumer, id).await;
        forgotten.map_err(|error| error.during("forget attempts"))
    }

    async fn purge_inbox(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let purged = self.admin().purge_inbox(older_than, limit).await;
        purged.map_err(|error| error.during("purge the inbox"))
    }
}

/// Hands [`InboxAdmin`] on to the [`SqlStore`] in the field `sql`.
#[macro_export]
#[doc(hidden)]
macro_rules! inbox_admin_of_sql_store {
    ([$($generics:tt)*] $store:ty) => {
        #[async_trait::async_trait]
        impl $($generics)* $crate::InboxAdmin for $store {
            async fn count_attempt(
                &self,
                consumer: &$crate::ConsumerName,
                id: &$crate::MessageId,
            ) -> Result<u32, $crate::StoreError> {
                $crate::InboxAdmin::count_attempt(&self.sql, consumer, id).await
            }

            async fn forget_attempts(
                &self,
                consumer: &$crate::ConsumerName,
                id: &$crate::MessageId,
            ) -> Result<(), $crate::StoreError> {
                $crate::InboxAdmin::forget_attempts(&self.sql, consumer, id).await
            }

            async fn purge_inbox(
                &self,
                older_than: std::time::Duration,
                limit: u32,
            ) -> Result<u64, $crate::StoreError> {
                $crate::InboxAdmin::purge_inbox(&self.sql, older_than, limit).await
            }
        }
    };
}
