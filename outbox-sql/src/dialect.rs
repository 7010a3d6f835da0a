use outbox_core::ShardSet;

/// A kind of database, and how its SQL differs from that of the others.
///
/// The methods make pieces of SQL text from constants and from names of columns and parameters that this crate chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

/// Microseconds since 1970. Not `unixepoch('subsec')`, which SQLite has from 3.42 on only: older programs write, too.
macro_rules! sqlite_now {
    () => {
        "CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)"
    };
}

impl Dialect {
    /// What to call it: `postgres`, `mysql`, `sqlite`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// The most shards there can be.
    #[must_use]
    pub const fn max_shards(self) -> u8 {
        match self {
            Self::Postgres | Self::MySql => ShardSet::MAX,
            // A single writer has nothing to share.
            Self::Sqlite => 1,
        }
    }

    /// What each connection of the relay runs, one by one, before it prepares anything. Never run them on a connection
    /// of the user's.
    #[must_use]
    pub const fn session_settings(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &[
                // A database or a role may have another default, at which claims and settles would fail each other.
                "SET default_transaction_isolation = 'read committed'",
                // A plan that was made while the tables were empty is a sequential scan for ever. With these there is
                // only one plan for each statement: along the primary key, without a sort.
                "SET enable_seqscan = off",
                "SET enable_bitmapscan = off",
                "SET enable_sort = off",
                "SET plan_cache_mode = force_generic_plan",
                // Compiling costs more than any of the statements.
                "SET jit = off",
                // Whoever locks the tables for longer than this makes the relay say so, and try again.
                "SET lock_timeout = '5s'",
                "SET statement_timeout = '25s'",
                // A relay whose machine disappeared must not keep its locks until TCP notices.
                "SET idle_in_transaction_session_timeout = '30s'",
            ],
            Self::MySql => &[
                // The default locks the gaps that producers insert into.
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                // A single statement is a transaction, also where the server's default says otherwise.
                "SET SESSION autocommit = 1",
                "SET SESSION time_zone = '+00:00'",
                "SET SESSION innodb_lock_wait_timeout = 5",
                // The texts mean the same whatever the server's modes are, and nothing is cut off in silence.
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
            ],
            Self::Sqlite => &[
                "PRAGMA busy_timeout = 5000",
                "PRAGMA journal_mode = WAL",
                // NORMAL may lose the last commits when the power fails.
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
            ],
        }
    }

    /// An identifier in quotes. It was checked before by [`crate::TableNames`].
    #[must_use]
    pub fn quote(self, identifier: &str) -> String {
        match self {
            Self::MySql => format!("`{identifier}`"),
            Self::Postgres | Self::Sqlite => format!("\"{identifier}\""),
        }
    }

    /// The parameter with this number, from 1. Where parameters have no numbers they must stand in this order.
    #[must_use]
    pub fn parameter(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::MySql | Self::Sqlite => "?".to_owned(),
        }
    }

    /// The time at which the statement runs, by the database's clock, in the type of the time columns.
    #[must_use]
    pub const fn now(self) -> &'static str {
        match self {
            Self::Postgres => "clock_timestamp()",
            Self::MySql => "utc_timestamp(6)",
            Self::Sqlite => sqlite_now!(),
        }
    }

    /// Microseconds from 1970 until now by the database's clock, a 64-bit number.
    #[must_use]
    pub const fn now_us(self) -> &'static str {
        match self {
            Self::Postgres => "(date_part('epoch', clock_timestamp()) * 1000000)::int8",
            Self::MySql => "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
            Self::Sqlite => sqlite_now!(),
        }
    }

    /// [`Dialect::now`] and so many microseconds more, a 64-bit number.
    #[must_use]
    pub fn now_plus(self, microseconds: &str) -> String {
        match self {
            Self::Postgres => format!("clock_timestamp() + {microseconds}::int8 * interval '1 microsecond'"),
            Self::MySql => format!("utc_timestamp(6) + INTERVAL {microseconds} MICROSECOND"),
            Self::Sqlite => format!("{} + {microseconds}", sqlite_now!()),
        }
    }

    /// A time column as microseconds since 1970, a 64-bit number; null stays null.
    #[must_use]
    pub fn epoch_us(self, time: &str) -> String {
        match self {
            Self::Postgres => format!("(date_part('epoch', {time}) * 1000000)::int8"),
            Self::MySql => format!("timestampdiff(MICROSECOND, '1970-01-01', {time})"),
            Self::Sqlite => time.to_owned(),
        }
    }

    /// Microseconds since 1970 in the type of the time columns; null stays null.
    #[must_use]
    pub fn from_epoch_us(self, microseconds: &str) -> String {
        match self {
            Self::Postgres => {
                format!("timestamptz 'epoch' + {microseconds}::int8 * interval '1 microsecond'")
            }
            Self::MySql => format!("timestamp('1970-01-01') + INTERVAL {microseconds} MICROSECOND"),
            Self::Sqlite => microseconds.to_owned(),
        }
    }

    /// Microseconds from now until a time, a 64-bit number, negative if it has passed; null stays null.
    #[must_use]
    pub fn us_until(self, time: &str) -> String {
        match self {
            Self::Postgres => format!("(date_part('epoch', {time} - clock_timestamp()) * 1000000)::int8"),
            Self::MySql => format!("timestampdiff(MICROSECOND, utc_timestamp(6), {time})"),
            Self::Sqlite => format!("{time} - {}", sqlite_now!()),
        }
    }

    /// The shard of a row, a 64-bit number. `mask` is a parameter with the number of shards less one.
    ///
    /// All rows of a key are in one shard, and so is a row without a key whichever table it is in.
    #[must_use]
    pub fn shard(self, ordering_key: &str, id: &str, mask: &str) -> String {
        match self {
            Self::Postgres => {
                format!("(hashtextextended(coalesce({ordering_key}, {id}::text), 0) & {mask}::int8)")
            }
            Self::MySql => format!("(crc32(coalesce({ordering_key}, hex({id}))) & {mask})"),
            // There is one shard; the mask is used so that each text has the same parameters.
            Self::Sqlite => format!("(0 & {mask})"),
        }
    }
}
