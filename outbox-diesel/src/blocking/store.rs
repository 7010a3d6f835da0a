use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, DeadLetter, DeadLetterQuery, Fence, Finding, KeyHold, LateCommitMark, Lease,
    LeaseRequest, LeasedShard, MessageId, Migration, OperatorAction, OperatorRequest, OrderingKey,
    OutboxAdmin, OutboxStats, OutboxStore, Outcome, RelayId, RowId, SchemaDrift, Scope, Seq, Settled,
    StoreCapabilities, StoreError, StoreErrorKind,
};
use outbox_sql::{Session, SqlStore, TableNames};
use tokio::sync::OnceCell;

use super::backend::BlockingBackend;
use super::connections::Connections;
use super::driver::DieselDriver;
use super::origin::Origin;
use crate::Backend;

/// The outbox of one database, as the relay and the operator see it.
///
/// Use it by its names [`crate::PostgresStore`], [`crate::MySqlStore`] and [`crate::SqliteStore`].
///
/// It opens connections of its own, at most two for each of reading, settling and everything else, when they are first
/// needed: their settings never leak into the user's queries, and the relay never waits for a connection that the
/// user's code holds. A database that can't be reached is an error of the operation, and the next operation tries again.
///
/// diesel's connections block, so each operation runs on a thread of tokio's for blocking work, in a runtime of tokio. An
/// operation that takes longer than 30 seconds is an error; its thread stays occupied until the database, or the network,
/// gives an answer. With PostgreSQL that is bounded by the settings of the connection. The client libraries of MySQL and
/// MariaDB have no such setting that diesel could pass on: a server that disappears without closing its connections is
/// noticed by the operating system only, after minutes or hours, and a runtime that is shut down waits for the threads
/// unless [`shutdown_timeout`](https://docs.rs/tokio/latest/tokio/runtime/struct.Runtime.html#method.shutdown_timeout)
/// says how long.
pub struct DieselStore<C: BlockingBackend> {
    sql: SqlStore<DieselDriver<C>>,
    examined: OnceCell<()>,
}

impl<C: BlockingBackend> DieselStore<C> {
    /// The outbox in the database at a URL, with the default names of the tables. Connects to nothing yet.
    ///
    /// The URL is the one that diesel's connection takes. That of a SQLite database is `sqlite://path`, or the bare path;
    /// a file that is missing is made only with `?mode=rwc`.
    ///
    /// # Errors
    ///
    /// [`outbox_core::StoreErrorKind::Invalid`] if it is no URL of this database. The text does not repeat the URL.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::from_url_with_names(url, TableNames::default())
    }

    /// The same with other names of the tables.
    ///
    /// # Errors
    ///
    /// As [`DieselStore::from_url`].
    pub fn from_url_with_names(url: &str, names: TableNames) -> Result<Self, StoreError> {
        Ok(Self::build(C::origin(url)?, names))
    }

    /// [`DieselStore::from_url`], and makes sure that the database can be reached.
    ///
    /// # Errors
    ///
    /// [`outbox_core::StoreErrorKind::Invalid`] if it is no URL of this database,
    /// [`outbox_core::StoreErrorKind::Unavailable`] if nobody answers there. The text never has a password.
    ///
    /// # Cancel safety
    ///
    /// Yes: nothing stays behind.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::from_url(url)?;
        store.connections().reader(Session::Read).await?.give_back();
        Ok(store)
    }

    fn build(origin: Origin, names: TableNames) -> Self {
        let driver = DieselDriver::new(Connections::new(origin));
        Self { sql: SqlStore::new(driver, C::Database::DIALECT, names), examined: OnceCell::new() }
    }

    pub(super) fn connections(&self) -> &Connections<C> {
        self.sql.driver().connections()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<C: BlockingBackend> OutboxStore for DieselStore<C> {
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
impl<C: BlockingBackend> OutboxAdmin for DieselStore<C> {
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

outbox_sql::inbox_admin_of_sql_store!([<C: BlockingBackend>] DieselStore<C>);

impl<C: BlockingBackend> fmt::Debug for DieselStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselStore").field("connections", self.connections()).finish_non_exhaustive()
    }
}
