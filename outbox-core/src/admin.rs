use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::{Epoch, Finding, MessageId, OutboxMessage, Seq, ShardId, StoreError};

/// The operator's side of a database: schema, figures, dead letters. Nothing here is on the path of a message.
#[async_trait]
pub trait OutboxAdmin: Send + Sync + 'static {
    /// Applies the migrations that are missing, and returns them. Safe to run at the same time from several places.
    async fn migrate(&self) -> Result<Vec<Migration>, StoreError>;

    /// How the tables differ from what the migrations made; empty if they do not.
    async fn schema_check(&self) -> Result<Vec<SchemaDrift>, StoreError>;

    /// Figures for `outbox status`. Counts stop at `count_limit`, so that a large backlog costs no full scan.
    async fn stats(&self, count_limit: u64) -> Result<OutboxStats, StoreError>;

    /// Dead letters, the newest first.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError>;

    /// Asks the owner of the shard to replay or discard messages. Only dead letters and blocked heads (deferred rows
    /// that were tried) can be asked for; ids that are neither are ignored. Returns how many were asked for.
    async fn request(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError>;

    /// Changes the number of shards: a power of two from 1 to the store's most. Refused with
    /// [`crate::StoreErrorKind::Invalid`] while any lease is held: the same key would be in two relays at once.
    async fn set_shard_count(&self, count: u8) -> Result<(), StoreError>;

    /// Everything about the database that an operator should know: whether it is reachable and migrated, which of its
    /// settings can lose or delay messages, whether somebody works. Changes nothing.
    ///
    /// The default compares the tables with what the migrations made.
    async fn diagnose(&self) -> Vec<Finding> {
        match self.schema_check().await {
            Ok(drifts) if drifts.is_empty() => vec![Finding::ok("tables", "as the migrations made them")],
            Ok(drifts) => drifts.into_iter().map(SchemaDrift::into_finding).collect(),
            Err(error) => vec![Finding::error("database", error.to_string(), "start it, or correct its URL")],
        }
    }

    /// Topics of messages that wait: those of the oldest rows, at most `rows` of each table. Others may wait, too.
    ///
    /// The default knows none.
    async fn waiting_topics(&self, rows: u64) -> Result<Vec<String>, StoreError> {
        let _ = rows;
        Ok(Vec::new())
    }
}

/// A migration that was applied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migration {
    /// Its number.
    pub version: i32,
    /// What it does.
    pub name: String,
}

/// One difference between the tables and what the migrations made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SchemaDrift {
    /// Table, or table and column.
    pub object: String,
    /// What was expected and what was found.
    pub problem: String,
}

impl SchemaDrift {
    /// The difference as a line of a diagnosis.
    #[must_use]
    pub fn into_finding(self) -> Finding {
        Finding::error(self.object, self.problem, "see `outbox schema print` for what it should be")
    }
}

/// What an operator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OperatorAction {
    /// Deliver it after all.
    Replay,
    /// Give it up.
    Discard,
}

impl OperatorAction {
    /// The stored form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

/// Which dead letters to list.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterQuery {
    /// Only this message.
    pub id: Option<MessageId>,
    /// Only this topic.
    pub topic: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// A message that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its place in the order of its key.
    pub seq: Seq,
    /// The message.
    pub message: OutboxMessage,
    /// Why, as stored ([`crate::DeadReason::as_str`]).
    pub reason: String,
    /// Tries.
    pub attempts: u16,
    /// What the broker said last.
    pub last_error: Option<String>,
    /// When it was given up, by the database's clock.
    pub died_at: SystemTime,
    /// The message that its key is parked at; its own id for that message itself.
    pub parked_behind: Option<MessageId>,
    /// What an operator has asked for and no relay has carried out yet.
    pub requested: Option<OperatorAction>,
}

/// The state of an outbox.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Rows in `outbox_messages`, at most `count_limit`.
    pub pending: u64,
    /// Age of the oldest pending row.
    pub oldest_pending: Option<Duration>,
    /// Deferred rows that wait for a time and were never tried.
    pub delayed: u64,
    /// Deferred rows that were tried and wait for their next try.
    pub retrying: u64,
    /// Deferred rows that wait behind another of their key.
    pub held: u64,
    /// Keys that stand still: held behind a retrying message, or parked.
    pub blocked_keys: u64,
    /// How long the longest-standing of them has stood still.
    pub longest_blocked: Option<Duration>,
    /// Dead letters.
    pub dead: u64,
    /// The limit at which the counts above stop.
    pub count_limit: u64,
    /// Every shard and its owner.
    pub shards: Vec<ShardInfo>,
    /// Relays that are known, dead ones for a day.
    pub relays: Vec<RelayInfo>,
}

/// A shard and its owner.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ShardInfo {
    /// Its number.
    pub shard: ShardId,
    /// The relay that owns it, also when the lease has run out.
    pub owner: Option<String>,
    /// How often it changed hands.
    pub epoch: Epoch,
    /// What is left of the lease; `None` if it has run out or was released.
    pub lease_left: Option<Duration>,
    /// How often in a row an owner vanished instead of releasing it.
    pub unclean_takeovers: u32,
}

/// A relay that gave a sign of life.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RelayInfo {
    /// Its id.
    pub relay: String,
    /// What it calls itself.
    pub label: String,
    /// Whether it is alive by its own ttl.
    pub alive: bool,
    /// Time since its last sign of life.
    pub last_seen: Duration,
}
