use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use outbox_conformance::transaction_suite::{CountedHints, DatabaseSql};
use outbox_conformance::{FixtureTransaction, RawRow, StoreFixture};
use outbox_core::{
    ClaimRequest, ClaimSource, MessageId, OutboxAdmin, OutboxMessage, OutboxStore, Scope, ShardSet,
    StoredMessage, TopicFilter,
};
use outbox_sql::{Statement, Value};
use outbox_sqlx::{Backend, SqlxStore, SqlxWriter};
use sqlx::{AssertSqlSafe, Pool, Transaction};

/// What a test needs to know about a database.
pub(crate) trait TestDatabase: Backend {
    /// Makes an empty database. `None` if there is no server.
    fn create(name: &str) -> impl Future<Output = Option<Pool<Self>>> + Send;

    /// Removes it.
    fn remove(name: &str) -> impl Future<Output = ()> + Send;

    /// What turns a text into the type of the column of headers.
    const AS_JSON: &str = "";

    /// Its SQL in the transaction suite.
    const SQL: &DatabaseSql;
}

/// A database of its own for each case.
pub(crate) struct Fixture<DB: TestDatabase> {
    pub(crate) pool: Pool<DB>,
    pub(crate) writer: SqlxWriter<DB>,
    /// All shards, all topics.
    pub(crate) scope: Scope,
    /// How often the hook after a commit was called.
    pub(crate) commits: Arc<AtomicUsize>,
    pub(crate) hints: Arc<CountedHints>,
    pub(crate) store: Arc<SqlxStore<DB>>,
    made: Mutex<Vec<(String, Pool<DB>)>>,
}

impl<DB: TestDatabase> Fixture<DB> {
    /// All fresh rows.
    pub(crate) async fn fresh(&self) -> Vec<StoredMessage> {
        let scope = self.scope.clone();
        let source = ClaimSource::Fresh { after: 0 };
        let request = ClaimRequest { scope, source, limit: 10_000, max_bytes: usize::MAX >> 1 };
        self.store.claim(&request).await.unwrap().rows
    }

    /// The ids of all fresh rows.
    pub(crate) async fn fresh_ids(&self) -> Vec<MessageId> {
        self.fresh().await.iter().map(|row| *row.message.id()).collect()
    }

    async fn make() -> Option<(String, Pool<DB>)> {
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        let pool = DB::create(&name).await?;
        Some((name, pool))
    }
}

#[async_trait]
impl<DB: TestDatabase> StoreFixture for Fixture<DB> {
    type Store = SqlxStore<DB>;

    async fn new() -> Option<Self> {
        let (name, pool) = Self::make().await?;
        let store = Arc::new(SqlxStore::new(&pool));
        store.migrate().await.unwrap();
        let shards = store.stats(0).await.unwrap().shards.len();
        let shards = ShardSet::all(u8::try_from(shards).unwrap());
        let scope = Scope { shards, topics: TopicFilter::all() };
        let made = Mutex::new(vec![(name, pool.clone())]);
        let commits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&commits);
        let hints = Arc::new(CountedHints::default());
        let writer = SqlxWriter::new().after_commit(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let writer = writer.with_hint(Arc::clone(&hints));
        Some(Self { pool, writer, scope, commits, hints, store, made })
    }

    fn store(&self) -> Arc<SqlxStore<DB>> {
        Arc::clone(&self.store)
    }

    async fn unmigrated(&self) -> Arc<SqlxStore<DB>> {
        let (name, pool) = Self::make().await.unwrap();
        let store = Arc::new(SqlxStore::new(&pool));
        self.made.lock().unwrap().push((name, pool));
        store
    }

    async fn begin(&self) -> Box<dyn FixtureTransaction> {
        let transaction = self.pool.begin().await.unwrap();
        Box::new(Open { transaction, writer: self.writer.clone() })
    }

    async fn insert_raw(&self, row: RawRow) -> Result<(), String> {
        let mut columns = vec!["id", "topic", "payload"];
        let mut values = vec![
            Value::Uuid(Some(*row.id.as_uuid())),
            Value::from(row.topic.as_str()),
            Value::from(&row.payload[..]),
        ];
        if let Some(key) = &row.ordering_key {
            columns.push("ordering_key");
            values.push(Value::from(key.as_str()));
        }
        if let Some(headers) = &row.headers {
            columns.push("headers");
            values.push(Value::from(headers.as_str()));
        }
        let place = |(index, column): (usize, &&str)| {
            let cast = if *column == "headers" { DB::AS_JSON } else { "" };
            format!("{}{cast}", DB::DIALECT.parameter(index + 1))
        };
        let places: Vec<String> = columns.iter().enumerate().map(place).collect();
        let sql =
            format!("INSERT INTO outbox_messages ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let mut connection = self.pool.acquire().await.unwrap();
        let query = bound::<DB>(&Statement::once(sql, values), "");
        DB::execute(&mut connection, query).await.map(drop).map_err(|error| error.to_string())
    }

    async fn cleanup(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap());
        for (name, pool) in made {
            // Bounded, because sqlx can lose a connection of MySQL whose operation was cut off.
            let _ = tokio::time::timeout(Duration::from_secs(2), pool.close()).await;
            DB::remove(&name).await;
        }
    }
}

/// A statement, with something in front of it.
pub(crate) fn bound<DB: Backend>(
    statement: &Statement<'_>,
    prefix: &str,
) -> sqlx::query::Query<'static, DB, DB::Arguments> {
    let arguments = DB::arguments(statement.values.clone()).unwrap();
    sqlx::query_with(AssertSqlSafe(format!("{prefix}{}", statement.sql)), arguments)
}

struct Open<DB: Backend> {
    transaction: Transaction<'static, DB>,
    writer: SqlxWriter<DB>,
}

#[async_trait]
impl<DB: Backend> FixtureTransaction for Open<DB> {
    async fn enqueue(&mut self, messages: &[OutboxMessage]) {
        self.writer.enqueue_all(&mut self.transaction, messages).await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.transaction.commit().await.unwrap();
    }

    async fn rollback(self: Box<Self>) {
        self.transaction.rollback().await.unwrap();
    }
}
