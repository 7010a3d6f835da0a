use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use outbox_conformance::transaction_suite::{CountedHints, DatabaseSql, PlainConnection};
use outbox_conformance::{FixtureTransaction, RawRow, StoreFixture};
use outbox_core::{
    ClaimRequest, ClaimSource, MessageId, OutboxAdmin, OutboxMessage, OutboxStore, Scope, ShardSet,
    StoredMessage, TopicFilter,
};
use outbox_seaorm::{SeaOrmStore, SeaOrmWriter};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, QueryResult, Statement,
    TransactionTrait, TryGetable, Value,
};

/// What a test needs to know about a database.
pub(crate) trait TestDatabase: Send + Sync + 'static {
    /// Makes an empty database. `None` if there is no server.
    fn create(name: &str) -> impl Future<Output = Option<DatabaseConnection>> + Send;

    /// Removes it.
    fn remove(name: &str) -> impl Future<Output = ()> + Send;

    /// A parameter.
    fn parameter(_number: usize) -> String {
        "?".to_owned()
    }

    /// Whether tables that were made in a transaction go with it.
    #[cfg(feature = "migration")]
    const TABLES_ROLL_BACK: bool = true;

    /// A query for the number of connections to the current database. Empty if there is nothing like it.
    const CONNECTIONS: &str = "";

    /// What turns a text into the type of the column of headers.
    const AS_JSON: &str = "";

    /// Its SQL in the transaction suite.
    const SQL: &DatabaseSql;

    /// A connection of the pool.
    fn acquire(db: &DatabaseConnection) -> impl Future<Output = Box<dyn PlainConnection>> + Send;
}

/// A database of its own for each case.
pub(crate) struct Fixture<DB: TestDatabase> {
    pub(crate) db: DatabaseConnection,
    pub(crate) writer: SeaOrmWriter,
    /// All shards, all topics.
    pub(crate) scope: Scope,
    /// How often the hook after a commit was called.
    pub(crate) commits: Arc<AtomicUsize>,
    pub(crate) hints: Arc<CountedHints>,
    pub(crate) store: Arc<SeaOrmStore>,
    made: Mutex<Vec<(String, DatabaseConnection)>>,
    database: PhantomData<DB>,
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

    /// An empty database that is removed with the fixture.
    pub(crate) async fn another(&self) -> DatabaseConnection {
        let (name, db) = Self::make().await.unwrap();
        self.made.lock().unwrap().push((name, db.clone()));
        db
    }

    async fn make() -> Option<(String, DatabaseConnection)> {
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        let db = DB::create(&name).await?;
        Some((name, db))
    }
}

#[async_trait]
impl<DB: TestDatabase> StoreFixture for Fixture<DB> {
    type Store = SeaOrmStore;

    async fn new() -> Option<Self> {
        let (name, db) = Self::make().await?;
        let store = Arc::new(SeaOrmStore::new(&db));
        store.migrate().await.unwrap();
        let shards = store.stats(0).await.unwrap().shards.len();
        let shards = ShardSet::all(u8::try_from(shards).unwrap());
        let scope = Scope { shards, topics: TopicFilter::all() };
        let made = Mutex::new(vec![(name, db.clone())]);
        let commits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&commits);
        let hints = Arc::new(CountedHints::default());
        let writer = SeaOrmWriter::new().after_commit(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let writer = writer.with_hint(Arc::clone(&hints));
        Some(Self { db, writer, scope, commits, hints, store, made, database: PhantomData })
    }

    fn store(&self) -> Arc<SeaOrmStore> {
        Arc::clone(&self.store)
    }

    async fn unmigrated(&self) -> Arc<SeaOrmStore> {
        Arc::new(SeaOrmStore::new(&self.another().await))
    }

    async fn begin(&self) -> Box<dyn FixtureTransaction> {
        let transaction = self.db.begin().await.unwrap();
        Box::new(Open { transaction, writer: self.writer.clone() })
    }

    async fn insert_raw(&self, row: RawRow) -> Result<(), String> {
        let backend = self.db.get_database_backend();
        let mut columns = vec!["id", "topic", "payload"];
        let id = match backend {
            DbBackend::Postgres => Value::from(*row.id.as_uuid()),
            _ => Value::from(row.id.as_uuid().as_bytes().to_vec()),
        };
        let mut values = vec![id, row.topic.as_str().into(), row.payload.to_vec().into()];
        if let Some(key) = &row.ordering_key {
            columns.push("ordering_key");
            values.push(key.as_str().into());
        }
        if let Some(headers) = &row.headers {
            columns.push("headers");
            values.push(headers.as_str().into());
        }
        let place = |(index, column): (usize, &&str)| {
            let cast = if *column == "headers" { DB::AS_JSON } else { "" };
            format!("{}{cast}", DB::parameter(index + 1))
        };
        let places: Vec<String> = columns.iter().enumerate().map(place).collect();
        let sql =
            format!("INSERT INTO outbox_messages ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.db.execute_raw(statement).await.map(drop).map_err(|error| error.to_string())
    }

    async fn cleanup(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap());
        for (name, db) in made {
            // Bounded, because sqlx can lose a connection of MySQL whose operation was cut off.
            let _ = tokio::time::timeout(Duration::from_secs(2), db.close()).await;
            DB::remove(&name).await;
        }
    }
}

struct Open {
    transaction: DatabaseTransaction,
    writer: SeaOrmWriter,
}

#[async_trait]
impl FixtureTransaction for Open {
    async fn enqueue(&mut self, messages: &[OutboxMessage]) {
        self.writer.enqueue_all(&self.transaction, messages).await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.transaction.commit().await.unwrap();
    }

    async fn rollback(self: Box<Self>) {
        self.transaction.rollback().await.unwrap();
    }
}

/// The first value of the rows of a query.
pub(crate) async fn select<T: TryGetable>(connection: &impl ConnectionTrait, sql: &str) -> Vec<T> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row: &QueryResult| row.try_get_by(0).unwrap()).collect()
}
