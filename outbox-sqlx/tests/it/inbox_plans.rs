//! What an inbox asks the database, as text, and a large inbox to ask about.

#[cfg(feature = "postgres")]
use std::convert::Infallible;
use std::time::Duration;

#[cfg(feature = "postgres")]
use outbox_core::MessageId;
use outbox_core::{ConsumerName, InboxAdmin};
use outbox_sql::Statement;
#[cfg(feature = "postgres")]
use outbox_sql::{InboxExecutor, InboxStatements, TableNames};
use sqlx::{AssertSqlSafe, SqlSafeStr};

#[cfg(feature = "postgres")]
use crate::explain::owned;
use crate::explain::recorded;
use crate::fixture::{Fixture, TestDatabase};

/// As many messages and tries as come of so many doublings, 131,072 of 17, and 1,000 old ones.
pub(crate) async fn fill<DB: TestDatabase>(fixture: &Fixture<DB>, doublings: u32, new_id: &str, old: &str) {
    let mut connection = fixture.pool.acquire().await.unwrap();
    let mut run = async |sql: String| {
        DB::script(&mut connection, AssertSqlSafe(sql).into_sql_str()).await.unwrap();
    };
    for (table, columns, time) in
        [("inbox_messages", "", "processed_at"), ("inbox_attempts", ", attempts", "last_attempt_at")]
    {
        let one = if columns.is_empty() { "" } else { ", 1" };
        let into = format!("INSERT INTO {table} (consumer, message_id{columns}");
        run(format!("{into}) VALUES ('billing', {new_id}{one})")).await;
        for _ in 0..doublings {
            run(format!("{into}) SELECT 'billing', {new_id}{one} FROM {table}")).await;
        }
        run(format!("{into}, {time}) SELECT 'billing', {new_id}{one}, {old} FROM {table} LIMIT 1000")).await;
        let analyze = if DB::DIALECT == outbox_sql::Dialect::MySql { "ANALYZE TABLE" } else { "ANALYZE" };
        run(format!("{analyze} {table}")).await;
    }
}

/// The purge of messages and that of tries.
pub(crate) async fn purge<DB: TestDatabase>() -> Vec<Statement<'static>> {
    let (store, written) = recorded::<DB>();
    let consumer = ConsumerName::new("billing").unwrap();
    store.purge_inbox(&consumer, Duration::from_secs(600), 100).await.unwrap();
    let written = std::mem::take(&mut *written.lock().unwrap());
    assert_eq!(written.len(), 2);
    written
}

/// The admission of one message that is not fresh, and that of a list.
#[cfg(feature = "postgres")]
pub(crate) async fn admit<DB: TestDatabase>() -> Vec<Statement<'static>> {
    let statements = InboxStatements::new(DB::DIALECT, &TableNames::default());
    let consumer = ConsumerName::new("billing").unwrap();
    let ids: Vec<MessageId> = (0..100).map(|_| MessageId::new()).collect();
    let mut all = Executor(Vec::new());
    let _ = statements.admit(&mut all, &consumer, &ids[0]).await.unwrap();
    let mut list = Executor(Vec::new());
    let _ = statements.admit_all(&mut list, &consumer, &ids).await.unwrap();
    all.0.push(list.0.swap_remove(0));
    all.0
}

/// Writes statements down, and finds nothing.
#[cfg(feature = "postgres")]
struct Executor(Vec<Statement<'static>>);

#[cfg(feature = "postgres")]
impl InboxExecutor for Executor {
    type Error = Infallible;

    async fn count(&mut self, statement: Statement<'_>) -> Result<u64, Infallible> {
        self.0.push(owned(statement));
        Ok(0)
    }

    async fn run(&mut self, _sql: &'static str) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_waited(&self, error: &Infallible) -> bool {
        match *error {}
    }
}
