use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use diesel::connection::TransactionManager;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::r2d2::{self, ConnectionManager, CustomizeConnection, Pool, PooledConnection, R2D2Connection};
use diesel::{QueryResult, RunQueryDsl};
use outbox_conformance::transaction_suite::{CountedHints, DatabaseSql};
use outbox_conformance::{FixtureTransaction, RawRow, StoreFixture};
use outbox_core::{
    ClaimRequest, ClaimSource, MessageId, OutboxAdmin, OutboxMessage, OutboxStore, Scope, ShardSet,
    StoredMessage, TopicFilter,
};
use outbox_diesel::{Backend, BlockingBackend, DieselStore, DieselWriter};
use outbox_sql::Value;

/// What a test needs to know about a database.
pub(crate) trait TestDatabase: BlockingBackend + R2D2Connection {
    /// What is to be removed when nobody uses the database any more.
    type Made: Send;

    /// Makes an empty database, and says what its URL is. `None` if there is no server.
    fn create(name: &str) -> Option<(String, Self::Made)>;

    /// Removes it.
    fn remove(made: Self::Made);

    /// What a producer's connection runs first.
    const PRODUCER: &str = "SELECT 1";

    /// What turns a text into the type of the column of headers.
    const AS_JSON: &str = "";

    /// Its SQL in the transaction suite.
    const SQL: &DatabaseSql;
}

/// Expands to one test per case of a file.
macro_rules! cases {
    ($fixture:path => $file:ident: $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                outbox_conformance::run_case::<$fixture, _, _>($crate::$file::$case);
            }
        )+
    };
}
pub(crate) use cases;

/// A connection of a pool.
pub(crate) type Pooled<C> = PooledConnection<ConnectionManager<C>>;

/// A database of its own for each case.
pub(crate) struct Fixture<C: TestDatabase> {
    pub(crate) url: String,
    /// Of producers' connections.
    pub(crate) pool: Pool<ConnectionManager<C>>,
    pub(crate) writer: DieselWriter<C::Database>,
    /// All shards, all topics.
    pub(crate) scope: Scope,
    /// How often the hook after a commit was called.
    pub(crate) commits: Arc<AtomicUsize>,
    pub(crate) hints: Arc<CountedHints>,
    pub(crate) store: Arc<DieselStore<C>>,
    made: Mutex<Vec<C::Made>>,
}

impl<C: TestDatabase> Fixture<C> {
    /// A producer's connection, not of the pool.
    pub(crate) fn producer(&self) -> C {
        let mut connection = C::establish(&self.url).unwrap();
        connection.batch_execute(C::PRODUCER).unwrap();
        connection
    }

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

    fn make() -> Option<(String, C::Made)> {
        C::create(&format!("outbox_test_{}", MessageId::new().as_uuid().simple()))
    }
}

#[async_trait]
impl<C: TestDatabase> StoreFixture for Fixture<C> {
    type Store = DieselStore<C>;

    async fn new() -> Option<Self> {
        let (url, made) = Self::make()?;
        let store = Arc::new(DieselStore::from_url(&url).unwrap());
        store.migrate().await.unwrap();
        let shards = store.stats(0).await.unwrap().shards.len();
        let shards = ShardSet::all(u8::try_from(shards).unwrap());
        let scope = Scope { shards, topics: TopicFilter::all() };
        let pool = Pool::builder()
            .max_size(12)
            .min_idle(Some(0))
            .connection_customizer(Box::new(Producer))
            .build_unchecked(ConnectionManager::new(&url));
        let commits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&commits);
        let hints = Arc::new(CountedHints::default());
        let writer = DieselWriter::new().after_commit(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let writer = writer.with_hint(Arc::clone(&hints));
        Some(Self { url, pool, writer, scope, commits, hints, store, made: Mutex::new(vec![made]) })
    }

    fn store(&self) -> Arc<DieselStore<C>> {
        Arc::clone(&self.store)
    }

    async fn unmigrated(&self) -> Arc<DieselStore<C>> {
        let (url, made) = Self::make().unwrap();
        self.made.lock().unwrap().push(made);
        Arc::new(DieselStore::from_url(&url).unwrap())
    }

    async fn begin(&self) -> Box<dyn FixtureTransaction> {
        let mut connection = self.producer();
        C::TransactionManager::begin_transaction(&mut connection).unwrap();
        Box::new(Open { connection, writer: self.writer.clone() })
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
            let cast = if *column == "headers" { C::AS_JSON } else { "" };
            format!("{}{cast}", C::Database::DIALECT.parameter(index + 1))
        };
        let places: Vec<String> = columns.iter().enumerate().map(place).collect();
        let sql =
            format!("INSERT INTO outbox_messages ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let inserted = self.producer().execute_returning_count(&Raw { sql, values });
        inserted.map(drop).map_err(|error| error.to_string())
    }

    async fn cleanup(&self) {
        for made in std::mem::take(&mut *self.made.lock().unwrap()) {
            C::remove(made);
        }
    }
}

/// Prepares the connections of the pool.
#[derive(Debug)]
struct Producer;

impl<C: TestDatabase> CustomizeConnection<C, r2d2::Error> for Producer {
    fn on_acquire(&self, connection: &mut C) -> Result<(), r2d2::Error> {
        Ok(connection.batch_execute(C::PRODUCER)?)
    }
}

/// A text and its values.
pub(crate) struct Raw<'v> {
    sql: String,
    values: Vec<Value<'v>>,
}

impl Raw<'static> {
    pub(crate) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }
}

impl<DB: Backend> QueryFragment<DB> for Raw<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql(&self.sql);
        self.values.iter().try_for_each(|value| DB::bind(value, &mut out))
    }
}

impl QueryId for Raw<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Conn> RunQueryDsl<Conn> for Raw<'_> {}

struct Open<C: TestDatabase> {
    connection: C,
    writer: DieselWriter<C::Database>,
}

#[async_trait]
impl<C: TestDatabase> FixtureTransaction for Open<C> {
    async fn enqueue(&mut self, messages: &[OutboxMessage]) {
        self.writer.enqueue_all(&mut self.connection, messages).unwrap();
    }

    async fn commit(mut self: Box<Self>) {
        C::TransactionManager::commit_transaction(&mut self.connection).unwrap();
    }

    async fn rollback(mut self: Box<Self>) {
        C::TransactionManager::rollback_transaction(&mut self.connection).unwrap();
    }
}
