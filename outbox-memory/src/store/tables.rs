use std::collections::{BTreeMap, BTreeSet, HashMap};

use outbox_core::{
    ConsumerName, Epoch, Headers, Limits, MessageId, OperatorAction, OrderingKey, OutboxMessage, RelayId,
    Scope, Seq, ShardId, StoredParts,
};

use super::inbox::Tries;
use crate::clock::{Micros, system_time};

/// All tables. Each part of the contract is a file beside this one that reads and changes it under one lock.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) migrated: bool,
    pub(crate) last_seq: Seq,
    last_number: i64,
    last_transaction: u64,
    /// Transactions that were given a `seq` and have not ended.
    pub(crate) open: BTreeSet<u64>,
    pub(crate) fresh: BTreeMap<Seq, Row>,
    pub(crate) deferred: BTreeMap<i64, Deferred>,
    pub(crate) dead: BTreeMap<i64, Dead>,
    /// In the order in which they were asked for.
    pub(crate) requests: Vec<(MessageId, OperatorAction)>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) relays: BTreeMap<RelayId, Relay>,
    /// What consumers have tried.
    pub(super) tries: HashMap<(ConsumerName, MessageId), Tries>,
}

/// What is the same in whichever table a message is.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) seq: Seq,
    pub(crate) message: OutboxMessage,
    pub(crate) defect: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Deferred {
    pub(crate) row: Row,
    /// Exactly one of `due_at` and `held_behind` is set.
    pub(crate) due_at: Option<Micros>,
    pub(crate) held_behind: Option<MessageId>,
    pub(crate) attempts: u16,
    pub(crate) last_attempt_at: Option<Micros>,
    pub(crate) last_error: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Dead {
    pub(crate) row: Row,
    pub(crate) reason: &'static str,
    pub(crate) attempts: u16,
    pub(crate) last_error: Option<String>,
    pub(crate) died_at: Micros,
    pub(crate) parked_behind: Option<MessageId>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Shard {
    pub(crate) owner: Option<RelayId>,
    pub(crate) epoch: Epoch,
    pub(crate) lease_until: Micros,
    pub(crate) unclean: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) label: String,
    pub(crate) last_seen: Micros,
    pub(crate) alive_until: Micros,
}

impl Tables {
    pub(crate) fn new(shard_count: u8, migrated: bool) -> Self {
        Self {
            migrated,
            last_seq: 0,
            last_number: 0,
            last_transaction: 0,
            open: BTreeSet::new(),
            fresh: BTreeMap::new(),
            deferred: BTreeMap::new(),
            dead: BTreeMap::new(),
            requests: Vec::new(),
            shards: vec![Shard::default(); usize::from(shard_count)],
            relays: BTreeMap::new(),
            tries: HashMap::new(),
        }
    }

    pub(crate) fn shard_count(&self) -> u8 {
        u8::try_from(self.shards.len()).unwrap_or(u8::MAX)
    }

    /// The shard of a row: like the databases, by its key, or by its id if it has none.
    pub(crate) fn shard(&self, row: &Row) -> ShardId {
        let hash = match row.message.ordering_key() {
            Some(key) => fnv(key.as_str().as_bytes()),
            None => fnv(row.message.id().as_bytes()),
        };
        (hash & (u64::from(self.shard_count()) - 1)).to_le_bytes()[0]
    }

    pub(crate) fn in_scope(&self, row: &Row, scope: &Scope) -> bool {
        scope.shards.contains(self.shard(row)) && scope.topics.matches(row.message.topic().as_str())
    }

    /// The primary key of a row that moves to another table.
    pub(crate) fn next_number(&mut self) -> i64 {
        self.last_number += 1;
        self.last_number
    }

    pub(crate) fn begin(&mut self) -> u64 {
        self.last_transaction += 1;
        self.last_transaction
    }

    /// Gives out a `seq`, long before it can be seen: the transaction may commit later than one with a higher number.
    pub(crate) fn next_seq(&mut self, transaction: u64) -> Seq {
        self.open.insert(transaction);
        self.last_seq += 1;
        self.last_seq
    }
}

impl Row {
    pub(crate) fn inserted(seq: Seq, message: OutboxMessage, now: Micros) -> Self {
        let mut parts = message.into_parts();
        parts.created_at = Some(system_time(now));
        Self { seq, message: OutboxMessage::stored(parts), defect: None }
    }

    /// A row whose writer did not use this library: what is wrong with it is found when it is read.
    pub(crate) fn inserted_raw(seq: Seq, mut parts: StoredParts, headers: Option<&str>, now: Micros) -> Self {
        let headers = Headers::from_json(headers.unwrap_or("{}"));
        parts.headers = headers.as_ref().ok().cloned().unwrap_or_default();
        let mut row = Self::inserted(seq, OutboxMessage::stored(parts), now);
        let limits = Limits::default().with_payload(Limits::MAX_PAYLOAD);
        row.defect = headers.and_then(|_| row.message.check(&limits)).err().map(|error| error.to_string());
        row
    }

    pub(crate) fn id(&self) -> MessageId {
        *self.message.id()
    }

    pub(crate) fn key(&self) -> Option<&OrderingKey> {
        self.message.ordering_key()
    }
}

impl Deferred {
    /// A row that waits for a time and was never tried.
    pub(crate) fn due(row: Row, due_at: Micros) -> Self {
        Self {
            row,
            due_at: Some(due_at),
            held_behind: None,
            attempts: 0,
            last_attempt_at: None,
            last_error: None,
        }
    }

    /// Whether it was tried and waits for its next try; with a key, it holds that key.
    pub(crate) fn is_retrying(&self) -> bool {
        self.due_at.is_some() && self.attempts > 0
    }
}

/// FNV-1a: stable over processes and versions, unlike the standard library's hasher.
fn fnv(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits decide; the high ones are mixed better.
    hash ^ (hash >> 32)
}
