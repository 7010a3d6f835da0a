use std::fmt::Write as _;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bb8::{ManageConnection, Pool};
use diesel::QueryResult;
use diesel_async::TransactionManager;
use outbox_conformance::transaction_suite::{CountedHints, DatabaseSql};
use outbox_conformance::{FixtureTransaction, RawRow, StoreFixture};
use outbox_core::{
    ClaimRequest, ClaimSource, MessageId, OutboxAdmin, OutboxMessage, OutboxStore, Scope, ShardSet,
    StoredMessage, TopicFilter,
};
use outbox_diesel::{AsyncBackend, AsyncDieselStore, AsyncDieselWriter, AsyncProducerConnection};

/// What a test needs to know about a database.
pub(crate) trait TestDatabase: AsyncBackend {
    /// What the cases of transactions need to know of it.
    const SQL: &'static DatabaseSql;

    /// A connection as users of diesel-async have it.
    type User: AsyncProducerConnection<Database = Self::Database>;
    /// Makes such connections for a pool.
    type Manager: ManageConnection<Connection = Self::User>;

    /// What makes users' connections.
    fn manager(url: &str) -> Self::Manager;

    /// Reads a number.
    fn number(connection: &mut Self::User, sql: &str) -> impl Future<Output = QueryResult<i64>> + Send;

    /// Makes an empty database, and returns its URL. `None` if there is no server.
    fn create(name: &str) -> impl Future<Output = Option<String>> + Send;

    /// Removes it.
    fn remove(name: &str) -> impl Future<Output = ()> + Send;

    /// Opens a producer's connection.
    fn producer(url: &str) -> impl Future<Output = Self> + Send {
        async { Self::establish(url).await.unwrap() }
    }

    /// The literal of a UUID that has these hexadecimal digits.
    fn uuid(hex: &str) -> String {
        Self::bytes(hex)
    }

    /// The literal of bytes that have these hexadecimal digits.
    fn bytes(hex: &str) -> String {
        format!("X'{hex}'")
    }

    /// The literal of a text in UTF-8 whose bytes have these hexadecimal digits.
    fn text(hex: &str) -> String;

    /// What turns a text into the type of the column of headers.
    const AS_JSON: &str = "";
}

/// A database of its own for each case.
pub(crate) struct Fixture<C: TestDatabase> {
    pub(crate) url: String,
    pub(crate) writer: AsyncDieselWriter<C::Database>,
    /// Connections of the user's.
    pub(crate) users: Pool<C::Manager>,
    /// How often the writer's hook was called.
    pub(crate) commits: Arc<AtomicUsize>,
    pub(crate) hints: Arc<CountedHints>,
    /// All shards, all topics.
    pub(crate) scope: Scope,
    pub(crate) store: Arc<AsyncDieselStore<C>>,
    made: Mutex<Vec<String>>,
}

impl<C: TestDatabase> Fixture<C> {
    /// A producer's connection.
    pub(crate) async fn producer(&self) -> C {
        C::producer(&self.url).await
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

    async fn make() -> Option<(String, String)> {
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        let url = C::create(&name).await?;
        Some((name, url))
    }
}

#[async_trait]
impl<C: TestDatabase> StoreFixture for Fixture<C> {
    type Store = AsyncDieselStore<C>;

    async fn new() -> Option<Self> {
        let (name, url) = Self::make().await?;
        let store = Arc::new(AsyncDieselStore::from_url(&url).unwrap());
        store.migrate().await.unwrap();
        let shards = store.stats(0).await.unwrap().shards.len();
        let shards = ShardSet::all(u8::try_from(shards).unwrap());
        let scope = Scope { shards, topics: TopicFilter::all() };
        let users = Pool::builder().max_size(16).build_unchecked(C::manager(&url));
        let commits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&commits);
        let hints = Arc::new(CountedHints::default());
        let writer = AsyncDieselWriter::new().after_commit(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let writer = writer.with_hint(Arc::clone(&hints));
        let made = Mutex::new(vec![name]);
        Some(Self { url, writer, users, commits, hints, scope, store, made })
    }

    fn store(&self) -> Arc<AsyncDieselStore<C>> {
        Arc::clone(&self.store)
    }

    async fn unmigrated(&self) -> Arc<AsyncDieselStore<C>> {
        let (name, url) = Self::make().await.unwrap();
        self.made.lock().unwrap().push(name);
        Arc::new(AsyncDieselStore::from_url(&url).unwrap())
    }

    async fn begin(&self) -> Box<dyn FixtureTransaction> {
        let mut connection = self.producer().await;
        C::TransactionManager::begin_transaction(&mut connection).await.unwrap();
        Box::new(Open { connection, writer: self.writer.clone() })
    }

    async fn insert_raw(&self, row: RawRow) -> Result<(), String> {
        let mut columns = vec!["id", "topic", "payload"];
        let mut values = vec![
            C::uuid(&row.id.as_uuid().simple().to_string()),
            C::text(&hex(row.topic.as_bytes())),
            C::bytes(&hex(&row.payload)),
        ];
        if let Some(key) = &row.ordering_key {
            columns.push("ordering_key");
            values.push(C::text(&hex(key.as_bytes())));
        }
        if let Some(headers) = &row.headers {
            columns.push("headers");
            values.push(format!("{}{}", C::text(&hex(headers.as_bytes())), C::AS_JSON));
        }
        let (columns, values) = (columns.join(", "), values.join(", "));
        let sql = format!("INSERT INTO outbox_messages ({columns}) VALUES ({values})");
        self.producer().await.batch_execute(&sql).await.map_err(|error| error.to_string())
    }

    async fn cleanup(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap());
        for name in made {
            C::remove(&name).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

struct Open<C: TestDatabase> {
    connection: C,
    writer: AsyncDieselWriter<C::Database>,
}

#[async_trait]
impl<C: TestDatabase> FixtureTransaction for Open<C> {
    async fn enqueue(&mut self, messages: &[OutboxMessage]) {
        self.writer.enqueue_all(&mut self.connection, messages).await.unwrap();
    }

    async fn commit(mut self: Box<Self>) {
        C::TransactionManager::commit_transaction(&mut self.connection).await.unwrap();
    }

    async fn rollback(mut self: Box<Self>) {
        C::TransactionManager::rollback_transaction(&mut self.connection).await.unwrap();
    }
}
