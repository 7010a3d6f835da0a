use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{ConsumerName, InboxAdmin, MessageId, StoreError, StoreErrorKind};

use super::Admin;
use crate::vocabulary::microseconds;
use crate::{Dialect, Driver, Session, SqlStore, Step, Table, Value};

impl Admin<'_> {
    async fn count_attempt(
        &self,
        consumer: &ConsumerName,
        id: &MessageId,
    ) -> Result<Option<u32>, StoreError> {
        let (table, inbox) = (self.table(Table::InboxAttempts), self.table(Table::Inbox));
        let (attempts, now) = (self.words.number("attempts"), self.dialect().now());
        let key = [Value::from(consumer.as_str()), self.id(id)];
        let twice = || [key.clone(), key.clone()].concat();
        // The parameters of a `SELECT` have no type by themselves.
        let (name, uuid) = match self.dialect() {
            Dialect::Postgres => ("?::text", "?::uuid"),
            Dialect::MySql | Dialect::Sqlite => ("?", "?"),
        };
        let unless_handled =
            format!("NOT EXISTS (SELECT 1 FROM {inbox} WHERE consumer = {name} AND message_id = {uuid})");
        let insert = format!("INSERT INTO {table} (consumer, message_id, attempts) SELECT {name}, {uuid}, 1");
        let steps = match self.dialect() {
            Dialect::MySql => vec![
                Step::Write(self.statement(
                    &format!(
                        "{insert} FROM DUAL WHERE {unless_handled} ON DUPLICATE KEY UPDATE \
                         attempts = {table}.attempts + 1, last_attempt_at = {now}"
                    ),
                    twice(),
                )),
                Step::Read(self.statement(
                    &format!(
                        "SELECT {attempts} FROM {table} WHERE consumer = ? AND message_id = ? AND {unless_handled}"
                    ),
                    twice(),
                )),
            ],
            Dialect::Postgres | Dialect::Sqlite => vec![Step::Read(self.statement(
                &format!(
                    "{insert} WHERE {unless_handled} ON CONFLICT (consumer, message_id) \
                     DO UPDATE SET attempts = {table}.attempts + 1, last_attempt_at = {now} RETURNING {attempts}"
                ),
                twice(),
            ))],
        };
        let result = self.driver.transaction(Session::Control, steps).await?;
        let Some(row) = result.rows.first().and_then(|rows| rows.first()) else {
            return Ok(None);
        };
        let attempts = row.i64(0)?.and_then(|attempts| u32::try_from(attempts).ok());
        attempts.map(Some).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Other, "count an attempt", "the database returned no number")
        })
    }

    async fn retract_attempt(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let table = self.table(Table::InboxAttempts);
        let of_message = "WHERE consumer = ? AND message_id = ? AND attempts";
        let last = format!("DELETE FROM {table} {of_message} = 1");
        let one_less = format!("UPDATE {table} SET attempts = attempts - 1 {of_message} > 1");
        let key = || vec![Value::from(consumer.as_str()), self.id(id)];
        // In this order: what is one by now has not been one before.
        let steps =
            vec![Step::Also(self.statement(&last, key())), Step::Also(self.statement(&one_less, key()))];
        self.driver.transaction(Session::Control, steps).await?;
        Ok(())
    }

    async fn forget_attempts(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let table = self.table(Table::InboxAttempts);
        let sql = format!("DELETE FROM {table} WHERE consumer = ? AND message_id = ?");
        let statement = self.statement(&sql, vec![Value::from(consumer.as_str()), self.id(id)]);
        self.driver.transaction(Session::Control, vec![Step::Also(statement)]).await?;
        Ok(())
    }

    async fn purge_inbox(
        &self,
        consumer: &ConsumerName,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut purged = 0;
        for (table, time) in [(Table::Inbox, "processed_at"), (Table::InboxAttempts, "last_attempt_at")] {
            purged += self.purge(consumer, (&self.table(table), time), older_than, limit).await?;
        }
        Ok(purged)
    }

    /// The rows are found by the index of the time, so that the cost is that of the rows that go.
    async fn purge(
        &self,
        consumer: &ConsumerName,
        (table, time): (&str, &str),
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let then = self.dialect().now_plus("?");
        let old = |from: &str, then: &str| {
            format!(
                "SELECT consumer, message_id FROM {from} WHERE consumer = ? AND {time} < {then} \
                 ORDER BY {time} LIMIT ?"
            )
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
        let values = vec![
            Value::from(consumer.as_str()),
            Value::from(-microseconds(older_than)),
            Value::from(i64::from(limit)),
        ];
        let steps = vec![Step::Write(self.statement(&sql, values))];
        Ok(self.driver.transaction(Session::Control, steps).await?.applied)
    }
}

#[async_trait]
impl<D: Driver> InboxAdmin for SqlStore<D> {
    async fn count_attempt(
        &self,
        consumer: &ConsumerName,
        id: &MessageId,
    ) -> Result<Option<u32>, StoreError> {
        let counted = self.admin().count_attempt(consumer, id).await;
        counted.map_err(|error| error.during("count an attempt"))
    }

    async fn retract_attempt(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let retracted = self.admin().retract_attempt(consumer, id).await;
        retracted.map_err(|error| error.during("retract an attempt"))
    }

    async fn forget_attempts(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        let forgotten = self.admin().forget_attempts(consumer, id).await;
        forgotten.map_err(|error| error.during("forget attempts"))
    }

    async fn purge_inbox(
        &self,
        consumer: &ConsumerName,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let purged = self.admin().purge_inbox(consumer, older_than, limit).await;
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
            ) -> Result<Option<u32>, $crate::StoreError> {
                $crate::InboxAdmin::count_attempt(&self.sql, consumer, id).await
            }

            async fn retract_attempt(
                &self,
                consumer: &$crate::ConsumerName,
                id: &$crate::MessageId,
            ) -> Result<(), $crate::StoreError> {
                $crate::InboxAdmin::retract_attempt(&self.sql, consumer, id).await
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
                consumer: &$crate::ConsumerName,
                older_than: std::time::Duration,
                limit: u32,
            ) -> Result<u64, $crate::StoreError> {
                $crate::InboxAdmin::purge_inbox(&self.sql, consumer, older_than, limit).await
            }
        }
    };
}
