use outbox_core::{Isolation, MessageId};

/// What differs in the SQL of the databases; the same for every ORM. The cases use one table, `accounts`.
#[derive(Debug)]
pub struct DatabaseSql {
    /// Begins a transaction that blocks every producer, on a connection of its own.
    pub(crate) lock_outbox: Option<&'static [&'static str]>,
    /// Ends it.
    pub(crate) unlock_outbox: &'static str,
    /// Inside of a transaction: wait for locks as short a time as the database can.
    pub(crate) wait_briefly: &'static str,
    /// Inside of a rival's transaction: whoever gives up in a deadlock, it is not this one.
    pub(super) never_give_up: &'static str,
    /// A statement that ends the transaction by itself, where there are no deadlocks.
    pub(super) end: Option<&'static str>,
    /// Whether what a caller writes after its transaction has ended is committed at once, which nobody but the caller can
    /// prevent. Where not, it is refused, or undone with the rest.
    pub(crate) keeps_later_writes: bool,
    /// Begins a transaction that keeps all others from writing, where there is such a thing.
    pub(crate) lock_all: Option<&'static str>,
    /// Whether the row locks of several transactions can be held at the same time.
    pub(crate) has_row_locks: bool,
    /// A number that says how a session is set up.
    pub(crate) session: &'static str,
    /// The isolation levels that differ.
    pub(crate) isolations: &'static [Isolation],
    /// So many seconds ago, as the inbox writes a time.
    pub(crate) seconds_ago: fn(u32) -> String,
    /// An id, as the inbox writes it.
    pub(crate) id: fn(&MessageId) -> String,
}

const ISOLATIONS: &[Isolation] =
    &[Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

fn hexadecimal(id: &MessageId) -> String {
    format!("X'{}'", id.as_uuid().simple())
}

impl DatabaseSql {
    /// PostgreSQL.
    pub const POSTGRES: Self = Self {
        lock_outbox: Some(&["BEGIN", "LOCK TABLE outbox_messages IN EXCLUSIVE MODE"]),
        unlock_outbox: "ROLLBACK",
        wait_briefly: "SET LOCAL lock_timeout = '200ms'",
        never_give_up: "SET LOCAL deadlock_timeout = '60s'",
        end: None,
        keeps_later_writes: false,
        lock_all: None,
        has_row_locks: true,
        session: "SELECT CAST(current_setting('default_transaction_read_only') = 'on' AS int)::bigint",
        isolations: ISOLATIONS,
        seconds_ago: |seconds| format!("clock_timestamp() - interval '{seconds} s'"),
        id: |id| format!("'{}'", id.as_uuid()),
    };

    /// MySQL and MariaDB.
    pub const MYSQL: Self = Self {
        lock_outbox: Some(&["LOCK TABLES outbox_messages WRITE"]),
        unlock_outbox: "UNLOCK TABLES",
        wait_briefly: "SET SESSION lock_wait_timeout = 1",
        // It is the one that has changed less.
        never_give_up: "SELECT 1",
        end: None,
        keeps_later_writes: false,
        lock_all: None,
        has_row_locks: true,
        session: "SELECT CAST(@@session.tx_read_only + 2 * (1 - @@session.autocommit) AS SIGNED)",
        isolations: ISOLATIONS,
        seconds_ago: |seconds| format!("utc_timestamp(6) - INTERVAL {seconds} SECOND"),
        id: hexadecimal,
    };

    /// SQLite.
    pub const SQLITE: Self = Self {
        lock_outbox: None,
        unlock_outbox: "ROLLBACK",
        wait_briefly: "SELECT 1",
        never_give_up: "SELECT 1",
        end: Some("INSERT OR ROLLBACK INTO accounts (id, version) VALUES (1, 1)"),
        keeps_later_writes: true,
        lock_all: Some("BEGIN IMMEDIATE"),
        has_row_locks: false,
        session: "SELECT query_only FROM pragma_query_only",
        isolations: &[Isolation::Serializable],
        seconds_ago: |seconds| format!("(CAST(strftime('%s', 'now') AS INTEGER) - {seconds}) * 1000000"),
        id: hexadecimal,
    };
}
