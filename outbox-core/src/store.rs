use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Epoch, Fence, Lease, LeaseRequest, LeasedShard, MessageId, OperatorAction, OrderingKey, Outcome, RelayId,
    RowId, Seq, ShardId, ShardSet, StoreError, StoredMessage, TopicFilter,
};

/// The relay's side of a database: leases, reads and settles.
///
/// # Contract
///
/// Between a store and the relay.
///
/// * **The table is the truth.** A row that exists in `outbox_messages` or `outbox_deferred` is not delivered. A read
///   returns committed rows only, and never changes one.
/// * **Order.** Reads return rows sorted as documented at [`ClaimSource`], also where the database gives no order.
/// * **Leases** are decided by the database's clock alone.
/// * **Fence.** [`OutboxStore::settle`] changes either all it was asked to or nothing: it locks the shard rows in the
///   fence against a take-over, in the same transaction, and if one of them has another owner or epoch it changes
///   nothing and says so.
/// * **No transaction stays open** between two calls.
/// * **Set-based.** A settle takes a number of statements that does not depend on the number of rows.
///
/// # Cancel safety
///
/// Every method may be cancelled by dropping its future; a write may then have happened or not. All writes can be
/// repeated.
#[async_trait]
pub trait OutboxStore: Send + Sync + 'static {
    /// What differs between databases, as data.
    fn capabilities(&self) -> StoreCapabilities;

    /// Whether the database can be reached and has the tables in the version this code knows.
    async fn check(&self) -> Result<(), StoreError>;

    /// Gives a sign of life and renews every lease of this relay, also an expired one that nobody took over.
    async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError>;

    /// Takes up to `most` shards that are free or whose lease has run out, each with its epoch raised by one.
    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError>;

    /// Gives shards back, so that another relay can take them at once. Shards with another owner or epoch are left
    /// alone.
    async fn release(&self, fence: &Fence) -> Result<(), StoreError>;

    /// Removes this relay from the live ones and releases whatever it still owns.
    async fn retire(&self, relay: RelayId) -> Result<(), StoreError>;

    /// Sets the unclean take-overs of these shards back to 0: what was in flight when an owner vanished is settled.
    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError>;

    /// Reads rows.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError>;

    /// The `seq`s of fresh rows with `after < seq <= upto`, ascending, at most `limit`. What the sweep compares with
    /// the rows in memory, without reading payloads a second time.
    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError>;

    /// The keys that do not flow: those with a retrying or held row in `outbox_deferred`, and the parked ones. All of
    /// them, up to `limit`, or only those among `keys`. First those in [`HoldState::Releasing`], which wait for the relay
    /// alone, then [`HoldState::Retrying`], then [`HoldState::Parked`].
    async fn holds(
        &self,
        scope: &Scope,
        keys: Option<&[OrderingKey]>,
        limit: usize,
    ) -> Result<Vec<KeyHold>, StoreError>;

    /// How long until the next deferred row falls due; zero if one is due, `None` if none waits for a time.
    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError>;

    /// What operators asked for, oldest first, at most `limit`.
    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError>;

    /// Carries out what the relay decided, all or nothing.
    async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError>;

    /// Whether nothing at all waits: no fresh and no deferred row, in any shard.
    async fn is_empty(&self) -> Result<bool, StoreError>;

    /// Reads how far `seq` has been given out, and then which transactions may still commit a lower one.
    ///
    /// Stores without [`StoreCapabilities::late_commits`] return a mark that has passed.
    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError>;

    /// Whether none of the transactions of the mark is running any more: from now on every row up to the mark's `seq`
    /// is visible or will never be.
    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError>;
}

/// What differs between databases.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCapabilities {
    /// What to call it: `postgres`, `mysql`, `sqlite`, `memory`.
    pub name: &'static str,
    /// Whether a lower `seq` can become visible after a higher one, so that a sweep is needed.
    pub late_commits: bool,
    /// The most shards it can have.
    pub max_shards: u8,
}

impl StoreCapabilities {
    /// A database with concurrent writers and 64 shards; change what differs.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, late_commits: true, max_shards: ShardSet::MAX }
    }

    /// Sets [`StoreCapabilities::late_commits`].
    #[must_use]
    pub const fn late_commits(mut self, possible: bool) -> Self {
        self.late_commits = possible;
        self
    }

    /// Sets [`StoreCapabilities::max_shards`].
    #[must_use]
    pub const fn max_shards(mut self, count: u8) -> Self {
        self.max_shards = count;
        self
    }
}

/// Which rows concern a reader: those of its shards and of its destination's topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The shards it owns.
    pub shards: ShardSet,
    /// The topics of its destination.
    pub topics: TopicFilter,
}

/// What to read, how much at most.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Which rows concern the reader.
    pub scope: Scope,
    /// Where to read.
    pub source: ClaimSource,
    /// At most this many rows.
    pub limit: usize,
    /// Stop after the row that reaches this many bytes ([`crate::OutboxMessage::size`]). At least one row is returned.
    pub max_bytes: usize,
}

/// Where to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimSource {
    /// Fresh rows with `seq > after`, by `seq`.
    Fresh {
        /// The cursor.
        after: Seq,
    },
    /// Fresh rows with these `seq`s, by `seq`; those that are gone are left out.
    Exact {
        /// What to look for.
        seqs: Vec<Seq>,
    },
    /// Deferred rows whose time has come, by due time and then number, after a position.
    Due {
        /// The position of the last one read; `None` from the start.
        after: Option<DuePosition>,
    },
    /// Deferred rows of these keys that wait behind another (`held_behind` is set), by `seq`, after a `seq`.
    Held {
        /// The keys.
        keys: Vec<OrderingKey>,
        /// Rows with a higher `seq` than this.
        after: Seq,
    },
}

/// A position in the order of due times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuePosition {
    /// The due time, in microseconds since 1970 by the database's clock.
    pub due_at: i64,
    /// The number of the deferred row.
    pub number: i64,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Claim {
    /// The rows, sorted.
    pub rows: Vec<StoredMessage>,
    /// Whether there may be more rows: the limit or the byte budget ended the read.
    pub more: bool,
}

/// What a settle changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// Rows changed. Fewer than asked for, if somebody else had removed them before.
    pub applied: u64,
    /// The fence did not hold: nothing was changed.
    pub stale: bool,
}

/// A key that does not flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHold {
    /// The key.
    pub key: OrderingKey,
    /// Its shard.
    pub shard: ShardId,
    /// Why.
    pub state: HoldState,
}

/// Why a key does not flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldState {
    /// A message of it waits for its next try.
    Retrying {
        /// That message.
        head: MessageId,
        /// Its place.
        seq: Seq,
    },
    /// Messages of it wait behind one that is gone: they can go, in order of `seq`, once the fresh ones before them have
    /// gone.
    Releasing {
        /// The place of the first of them.
        first: Seq,
    },
    /// It ended in the dead letters. This counts more than the other two: what still waits in `outbox_deferred` is to
    /// follow it there.
    Parked {
        /// The message it stopped at.
        behind: MessageId,
    },
}

/// Something an operator asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRequest {
    /// The row it is about: in [`crate::Lane::Dead`] or [`crate::Lane::Deferred`].
    pub row: RowId,
    /// Its shard.
    pub shard: ShardId,
    /// The message.
    pub id: MessageId,
    /// Its key.
    pub key: Option<OrderingKey>,
    /// Whether it is a dead letter of a parked key: the message that the key stopped at, or one that followed it.
    pub parked: bool,
    /// Whether it is the message that a parked key stopped at.
    pub stops_key: bool,
    /// What to do.
    pub action: OperatorAction,
}

/// How far `seq` had been given out, and what may still commit below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateCommitMark {
    /// Every number given out so far is at most this.
    pub seq: Seq,
    /// The store's own description of the transactions in question; opaque to everyone else.
    pub holders: Vec<String>,
}

impl LateCommitMark {
    /// A mark that nothing holds.
    #[must_use]
    pub const fn passed(seq: Seq) -> Self {
        Self { seq, holders: Vec::new() }
    }
}

impl Fence {
    /// The fence of one relay for some shards of its leases.
    #[must_use]
    pub fn new(relay: RelayId, shards: impl IntoIterator<Item = (ShardId, Epoch)>) -> Self {
        Self { relay, shards: shards.into_iter().collect() }
    }
}
