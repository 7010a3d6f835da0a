use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use diesel::ConnectionResult;
use futures_util::future::BoxFuture;
use outbox_core::{
    Claim, ClaimRequest, DeadLetter, DeadLetterQuery, Fence, Finding, KeyHold, LateCommitMark, Lease,
    LeaseRequest, LeasedShard, MessageId, Migration, OperatorAction, OperatorRequest, OrderingKey,
    OutboxAdmin, OutboxStats, OutboxStore, Outcome, RelayId, RowId, SchemaDrift, Scope, Seq, Settled,
    StoreCapabilities, StoreError, StoreErrorKind,
};
use outbox_sql::{SqlStore, TableNames};
use tokio::sync::OnceCell;

use super::backend::AsyncBackend;
use super::connections::Connections;
use super::connector::Connector;
use super::driver::AsyncDieselDriver;
use crate::Backend;

/// The outbox of one database, as the relay and the operator see it, on connections of diesel-async.
///
/// Use it by its names `AsyncPostgresStore`, `AsyncMySqlStore` and `AsyncSqliteStore`.
///
/// It opens connections of its own, at most two for each of reading, settling and everything else, when they are first
/// needed: their settings never leak into the user's queries, and the relay never waits for a connection that the
/// user's code holds. A database that can't be reached is an error of the operation, and the next operation tries again.
///
/// # Encryption
///
/// diesel-async leaves encryption to other crates: a store of PostgreSQL that is made from a URL connects without, and so
/// does one of MySQL or MariaDB unless the program turns on a TLS feature of `mysql_async`. With
/// [`AsyncDieselStore::from_connector`] the connections are opened by your own code: for PostgreSQL with
/// `AsyncPgConnection::try_from_client_and_connection`, which takes whatever `tokio-postgres` has encrypted.
pub struct AsyncDieselStore<C: AsyncBackend> {
    sql: SqlStore<AsyncDieselDriver<C>>,
    examined: OnceCell<()>,
}

impl<C: AsyncBackend> AsyncDieselStore<C> {
    /// The outbox in the database at a URL, with the default names of the tables. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] if it is no URL of this database. The text does not repeat the URL.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::from_url_with_names(url, TableNames::default())
    }

    /// The same with other names of the tables.
    ///
    /// # Errors
    ///
    /// As [`AsyncDieselStore::from_url`].
    pub fn from_url_with_names(url: &str, names: TableNames) -> Result<Self, StoreError> {
        Ok(Self::build(C::connector(url)?, names))
    }

    /// [`AsyncDieselStore::from_url`], and makes sure that the database can be reached.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] if it is no URL of this database, [`StoreErrorKind::Unavailable`] if nobody answers
    /// there. The text never has a password.
    ///
    /// # Cancel safety
    ///
    /// Yes: nothing stays behind.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::from_url(url)?;
        store.connections().reader(outbox_sql::Session::Read).await?.give_back();
        Ok(store)
    }

    /// The outbox in the database that the connections lead to. Connects to nothing yet.
    ///
    /// `open` is called whenever another connection is needed, and has ten seconds for it. It must give a connection that
    /// is nobody else's: the store changes its settings. Errors call the database by `address`; leave the password out of
    /// it.
    ///
    /// ```no_run
    /// # #[cfg(feature = "async-mysql")]
    /// # fn example() {
    /// use diesel_async::{AsyncConnection, AsyncMysqlConnection};
    /// use outbox_diesel::AsyncMySqlStore;
    /// use outbox_sql::TableNames;
    ///
    /// // Read again for each connection, because it may change while the program runs.
    /// let url = || std::fs::read_to_string("/run/secrets/database-url").unwrap_or_default();
    /// let open = move || {
    ///     let url = url();
    ///     Box::pin(async move { AsyncMysqlConnection::establish(url.trim()).await }) as _
    /// };
    /// let store = AsyncMySqlStore::from_connector("the shop's database", open, TableNames::default());
    /// # }
    /// ```
    #[must_use]
    pub fn from_connector(
        address: impl Into<String>,
        open: impl Fn() -> BoxFuture<'static, ConnectionResult<C>> + Send + Sync + 'static,
        names: TableNames,
    ) -> Self {
        Self::build(Connector::new(address.into(), open), names)
    }

    fn build(connector: Connector<C>, names: TableNames) -> Self {
        let driver = AsyncDieselDriver::new(Connections::new(connector));
        Self { sql: SqlStore::new(driver, C::Database::DIALECT, names), examined: OnceCell::new() }
    }

    pub(super) fn connections(&self) -> &Connections<C> {
        self.sql.driver().connections()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<C: AsyncBackend> OutboxStore for AsyncDieselStore<C> {
    fn capabilities(&self) -> StoreCapabilities {
        self.sql.capabilities()
    }

    async fn check(&self) -> Result<(), StoreError> {
        // First, because what it finds explains the errors that the other check would end with.
        self.examined.get_or_try_init(|| C::examine(self.connections())).await?;
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
impl<C: AsyncBackend> OutboxAdmin for AsyncDieselStore<C> {
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
        let examined = self.examined.get_or_try_init(|| C::examine(self.connections())).await;
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

outbox_sql::inbox_admin_of_sql_store!([<C: AsyncBackend>] AsyncDieselStore<C>);

impl<C: AsyncBackend> fmt::Debug for AsyncDieselStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDieselStore").field("connections", self.connections()).finish_non_exhaustive()
    }
}
