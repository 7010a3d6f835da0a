use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, DeadLetter, DeadLetterQuery, Fence, Finding, KeyHold, LateCommitMark, Lease,
    LeaseRequest, LeasedShard, MessageId, Migration, OperatorAction, OperatorRequest, OrderingKey,
    OutboxAdmin, OutboxStats, OutboxStore, Outcome, RelayId, RowId, SchemaDrift, Scope, Seq, Settled,
    StoreCapabilities, StoreError, StoreErrorKind,
};
use outbox_sql::{SqlStore, TableNames};
use sea_orm::DatabaseConnection;
use tokio::sync::OnceCell;

use crate::SeaOrmDriver;
use crate::connections::Connections;
use crate::origin;

/// The outbox of one database, as the relay and the operator see it. Which kind of database it is in is seen at run
/// time.
///
/// It opens connections of its own, at most two for each of reading, settling and everything else, when they are first
/// needed: their settings never leak into the user's queries, and the relay never waits for a connection that the
/// user's code holds. A database that can't be reached is an error of the operation, and the next operation tries again.
pub struct SeaOrmStore {
    sql: SqlStore<SeaOrmDriver>,
    examined: OnceCell<()>,
}

impl SeaOrmStore {
    /// The outbox in the database of this connection, with the default names of the tables. Connects to nothing yet.
    ///
    /// sea-orm's connection is a pool. Of it, only the options are used that it opens its connections with, and in
    /// PostgreSQL its `search_path`, which is asked for once, through it; not its connections, and not what its callbacks
    /// do. The exception is SQLite in memory: such a database exists in the pool's connections only, so those are used, and the
    /// relay waits for one where the user's code holds them all.
    ///
    /// A connection that a store can't use is an error of each operation, [`StoreErrorKind::Invalid`]: one to a database
    /// whose feature is off, one of a test (mock, proxy), or one that is disconnected.
    #[must_use]
    pub fn new(connection: &DatabaseConnection) -> Self {
        Self::with_names(connection, TableNames::default())
    }

    /// The same with other names of the tables.
    #[must_use]
    pub fn with_names(connection: &DatabaseConnection, names: TableNames) -> Self {
        Self::build(Connections::new(origin::of(connection)), names)
    }

    /// The outbox in the database at a URL, with the default names of the tables: `postgres://…`, `mysql://…` or
    /// `sqlite:…`. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] if it is no URL of a database whose feature is on. The text does not repeat the URL.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::from_url_with_names(url, TableNames::default())
    }

    /// The same with other names of the tables.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmStore::from_url`].
    pub fn from_url_with_names(url: &str, names: TableNames) -> Result<Self, StoreError> {
        Ok(Self::build(Connections::new(origin::at(url)?), names))
    }

    /// [`SeaOrmStore::from_url`], and makes sure that the database can be reached.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] if it is no URL of a database whose feature is on, [`StoreErrorKind::Unavailable`] if
    /// nobody answers there. The text never has a password.
    ///
    /// # Cancel safety
    ///
    /// Yes: nothing stays behind.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::from_url(url)?;
        store.connections().reader(outbox_sql::Session::Read).await?.give_back();
        Ok(store)
    }

    /// Whether a transaction pooler is in between: a program that gives every transaction another server connection.
    /// Never so where the database is not PostgreSQL.
    ///
    /// Through one, settings of a session and prepared statements are gone or belong to somebody else.
    /// [`OutboxStore::check`] asks this once, and refuses with [`StoreErrorKind::Invalid`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a connection can't be opened.
    ///
    /// # Cancel safety
    ///
    /// Yes: the two connections that it opens are closed.
    #[cfg(feature = "postgres")]
    pub async fn detect_pooler(&self) -> Result<bool, StoreError> {
        if self.connections().dialect() != outbox_sql::Dialect::Postgres {
            return Ok(false);
        }
        crate::postgres::detect(self.connections()).await
    }

    fn build(connections: Connections, names: TableNames) -> Self {
        let dialect = connections.dialect();
        let sql = SqlStore::new(SeaOrmDriver::over(connections), dialect, names);
        Self { sql, examined: OnceCell::new() }
    }

    fn connections(&self) -> &Connections {
        self.sql.driver().connections()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl OutboxStore for SeaOrmStore {
    fn capabilities(&self) -> StoreCapabilities {
        self.sql.capabilities()
    }

    async fn check(&self) -> Result<(), StoreError> {
        // First, because what it finds explains the errors that the other check would end with.
        self.examined.get_or_try_init(|| self.connections().examine()).await?;
        self.sql.check().await
    }

    async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError> {
        self.sql.renew(request).await
    }

    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError> {
        self.sql.acquire(request, most).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        self.sql.release(fence).await
    }

    async fn retire(&self, relay: RelayId) -> Result<(), StoreError> {
        self.sql.retire(relay).await
    }

    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError> {
        self.sql.absolve(fence).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError> {
        self.sql.claim(request).await
    }

    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError> {
        self.sql.scan(scope, after, upto, limit).await
    }

    async fn holds(
        &self,
        scope: &Scope,
        keys: Option<&[OrderingKey]>,
        limit: usize,
    ) -> Result<Vec<KeyHold>, StoreError> {
        self.sql.holds(scope, keys, limit).await
    }

    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError> {
        self.sql.next_due(scope).await
    }

    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError> {
        self.sql.requests(scope, limit).await
    }

    async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError> {
        self.sql.settle(fence, outcomes).await
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.sql.is_empty().await
    }

    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError> {
        self.sql.mark_late_commits().await
    }

    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError> {
        self.sql.late_commits_over(mark).await
    }
}

#[async_trait]
// A method with a default that is not passed on would silently be the default.
#[deny(clippy::missing_trait_methods)]
impl OutboxAdmin for SeaOrmStore {
    async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        self.sql.migrate().await
    }

    async fn schema_check(&self) -> Result<Vec<SchemaDrift>, StoreError> {
        self.sql.schema_check().await
    }

    async fn stats(&self, count_limit: u64) -> Result<OutboxStats, StoreError> {
        self.sql.stats(count_limit).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.sql.dead_letters(query).await
    }

    async fn request(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError> {
        self.sql.request(ids, action).await
    }

    async fn set_shard_count(&self, count: u8) -> Result<(), StoreError> {
        self.sql.set_shard_count(count).await
    }

    async fn diagnose(&self) -> Vec<Finding> {
        let examined = self.examined.get_or_try_init(|| self.connections().examine()).await;
        match examined {
            // The rest says so, with what to do.
            Err(error) if error.kind() != StoreErrorKind::Unavailable => {
                let remedy = "give the relay a direct connection to the server";
                vec![Finding::error("database", error.to_string(), remedy)]
            }
            _ => self.sql.diagnose().await,
        }
    }

    async fn waiting_topics(&self, rows: u64) -> Result<Vec<String>, StoreError> {
        self.sql.waiting_topics(rows).await
    }
}

outbox_sql::inbox_admin_of_sql_store!([] SeaOrmStore);

impl fmt::Debug for SeaOrmStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrmStore").field("connections", self.connections()).finish_non_exhaustive()
    }
}
