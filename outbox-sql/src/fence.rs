use std::sync::Arc;

use outbox_core::{Epoch, Fence, ShardId};

use crate::vocabulary::Vocabulary;
use crate::{Dialect, Statement, Step, Value};

/// The texts that count how many shards of a fence still have its owner and its epoch. Whether a lease has run out does
/// not matter: until somebody takes the shard over, nobody else can have settled its rows.
#[derive(Debug)]
pub(crate) struct Fences {
    dialect: Dialect,
    shared: Arc<str>,
    exclusive: Arc<str>,
    plain: Arc<str>,
}

impl Fences {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let count = |lock| words.text(&format!("SELECT count(*) FROM {}", matching(words, lock)));
        let (shared, exclusive) = match words.dialect {
            Dialect::Postgres => (" FOR SHARE OF s", " FOR UPDATE OF s"),
            // Understood by MariaDB as well, unlike FOR SHARE.
            Dialect::MySql => (" LOCK IN SHARE MODE", " FOR UPDATE"),
            // The transaction is the only one that writes.
            Dialect::Sqlite => ("", ""),
        };
        Self { dialect: words.dialect, shared: count(shared), exclusive: count(exclusive), plain: count("") }
    }

    /// Goes first in a transaction: until that ends, nobody can take these shards over.
    pub(crate) fn shared<'a>(&self, fence: &Fence) -> Step<'a> {
        self.step(&self.shared, fence)
    }

    /// The same, and no other settle of these shards runs meanwhile.
    pub(crate) fn exclusive<'a>(&self, fence: &Fence) -> Step<'a> {
        self.step(&self.exclusive, fence)
    }

    /// Without a lock.
    pub(crate) fn plain<'a>(&self, fence: &Fence) -> Statement<'a> {
        Statement::new(&self.plain, values(self.dialect, fence))
    }

    fn step<'a>(&self, text: &Arc<str>, fence: &Fence) -> Step<'a> {
        Step::Fence { statement: Statement::new(text, values(self.dialect, fence)), expect: expected(fence) }
    }
}

/// How many shards there are in a fence that holds.
pub(crate) fn expected(fence: &Fence) -> i64 {
    i64::try_from(fence.shards.len()).unwrap_or(i64::MAX)
}

/// The rows of a fence as a relation; its parameters are [`values`].
pub(crate) fn matching(words: &Vocabulary, lock: &str) -> String {
    let (shards, list, condition) = (&words.shards, list(words.dialect), condition());
    let join = match words.dialect {
        Dialect::Postgres => format!("SELECT 1 FROM {list} JOIN {shards} s"),
        Dialect::MySql => return format!("{list} STRAIGHT_JOIN {shards} s ON {condition}{lock}"),
        Dialect::Sqlite => return format!("{list} CROSS JOIN {shards} s ON {condition}"),
    };
    format!("({join} ON {condition}{lock}) AS held")
}

fn condition() -> &'static str {
    #[cfg(outbox_sabotage)]
    if outbox_core::sabotage::is("no-epoch-check") {
        return "s.shard = f.shard AND (s.owner = ? OR s.shard >= 0)";
    }
    "s.shard = f.shard AND s.epoch = f.epoch AND s.owner = ?"
}

/// The shards and epochs of a fence as a table `f(shard, epoch)`.
pub(crate) const fn list(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "unnest(?::int8[], ?::int8[]) AS f(shard, epoch)",
        Dialect::MySql => {
            "json_table(?, '$[*]' COLUMNS (shard BIGINT PATH '$[0]', epoch BIGINT PATH '$[1]')) AS f"
        }
        Dialect::Sqlite => {
            "(SELECT json_extract(value, '$[0]') AS shard, json_extract(value, '$[1]') AS epoch \
             FROM json_each(?)) AS f"
        }
    }
}

/// The values of [`list`] and then the owner.
pub(crate) fn values<'a>(dialect: Dialect, fence: &Fence) -> Vec<Value<'a>> {
    // Always locked in the same order, so that two settles never wait for each other.
    let mut shards: Vec<(ShardId, Epoch)> = fence.shards.clone();
    shards.sort_unstable();
    let owner = Value::from(fence.relay.to_string());
    if dialect == Dialect::Postgres {
        let numbers = shards.iter().map(|(shard, _)| Some(i64::from(*shard))).collect();
        let epochs = shards.iter().map(|(_, epoch)| Some(*epoch)).collect();
        return vec![Value::I64Array(numbers), Value::I64Array(epochs), owner];
    }
    let pairs: Vec<String> = shards.iter().map(|(shard, epoch)| format!("[{shard},{epoch}]")).collect();
    vec![Value::from(format!("[{}]", pairs.join(","))), owner]
}
