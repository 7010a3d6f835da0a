use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, Fence, KeyHold, LateCommitMark, Lease, LeaseRequest, LeasedShard, OperatorRequest,
    OrderingKey, OutboxStore, Outcome, RelayId, RowId, Scope, Seq, Settled, StoreCapabilities, StoreError,
    StoreErrorKind,
};

use crate::claim::Claims;
use crate::fence::Fences;
use crate::holds::Holds;
use crate::late_commits::LateCommits;
use crate::lease::Leases;
use crate::settle::Settles;
use crate::vocabulary::Vocabulary;
use crate::{Dialect, Driver, TableNames};

/// The outbox in an SQL database, over any [`Driver`].
///
/// All texts are made once, here; what is left for each call are values. Each part of the contract is a file of its own:
/// reads, settles, leases, what does not flow, and late commits; the operator's side is in the folder `admin`.
pub struct SqlStore<D> {
    pub(crate) driver: D,
    pub(crate) names: TableNames,
    pub(crate) words: Vocabulary,
    pub(crate) fences: Fences,
    pub(crate) claims: Claims,
    pub(crate) settles: Settles,
    pub(crate) leases: Leases,
    pub(crate) holds: Holds,
    pub(crate) late_commits: LateCommits,
}

impl<D> SqlStore<D> {
    /// A store on the tables with these names. Talks to nothing yet.
    ///
    /// SQLite has no schemas: with one, [`OutboxStore::check`] says so, and so does the database.
    #[must_use]
    pub fn new(driver: D, dialect: Dialect, names: TableNames) -> Self {
        let words = Vocabulary::new(dialect, &names);
        Self {
            driver,
            fences: Fences::new(&words),
            claims: Claims::new(&words),
            settles: Settles::new(&words),
            leases: Leases::new(&words),
            holds: Holds::new(&words),
            late_commits: LateCommits::new(&words, &names),
            names,
            words,
        }
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The database's dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.words.dialect
    }

    /// Where the tables are.
    #[must_use]
    pub fn names(&self) -> &TableNames {
        &self.names
    }
}

#[async_trait]
impl<D: Driver> OutboxStore for SqlStore<D> {
    fn capabilities(&self) -> StoreCapabilities {
        let capabilities = StoreCapabilities::new(self.words.dialect.name());
        match self.words.dialect {
            Dialect::Postgres | Dialect::MySql => capabilities,
            Dialect::Sqlite => capabilities.late_commits(false).max_shards(1),
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        if self.words.dialect == Dialect::Sqlite
            && let Some(schema) = self.names.schema()
        {
            let text = format!("SQLite has no schemas: leave out {schema:?}, use a table prefix instead");
            return Err(StoreError::new(StoreErrorKind::Invalid, "check", text));
        }
        self.admin().check().await
    }

    async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError> {
        self.renew_leases(request).await.map_err(|error| error.during("renew"))
    }

    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError> {
        self.acquire_shards(request, most).await.map_err(|error| error.during("acquire"))
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        self.release_shards(fence).await.map_err(|error| error.during("release"))
    }

    async fn retire(&self, relay: RelayId) -> Result<(), StoreError> {
        self.retire_relay(relay).await.map_err(|error| error.during("retire"))
    }

    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError> {
        self.absolve_shards(fence).await.map_err(|error| error.during("absolve"))
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError> {
        self.read_messages(request).await.map_err(|error| error.during("claim"))
    }

    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError> {
        self.read_seqs(scope, after, upto, limit).await.map_err(|error| error.during("scan"))
    }

    async fn holds(
        &self,
        scope: &Scope,
        keys: Option<&[OrderingKey]>,
        limit: usize,
    ) -> Result<Vec<KeyHold>, StoreError> {
        self.read_holds(scope, keys, limit).await.map_err(|error| error.during("holds"))
    }

    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError> {
        self.read_next_due(scope).await.map_err(|error| error.during("next due"))
    }

    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError> {
        self.read_requests(scope, limit).await.map_err(|error| error.during("requests"))
    }

    async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError> {
        self.carry_out(fence, outcomes).await.map_err(|error| error.during("settle"))
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.has_nothing().await.map_err(|error| error.during("is empty"))
    }

    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError> {
        self.mark().await.map_err(|error| error.during("mark late commits"))
    }

    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError> {
        self.mark_has_passed(mark).await.map_err(|error| error.during("late commits"))
    }
}

impl<D: fmt::Debug> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("driver", &self.driver)
            .field("dialect", &self.words.dialect)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
