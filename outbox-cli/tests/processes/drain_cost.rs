//! What a message costs the database on its way out: statements, and bytes in PostgreSQL's log. Not a timing, so that it
//! can be a limit.

use std::time::Duration;

use outbox_conformance::started;

use crate::databases::{Database, POSTGRES};
use crate::figures::report;
use crate::held_snapshot::insert;
use crate::outbox::{Relay, succeed};
use crate::proxy::Proxy;

const ROWS: u32 = 20_000;

/// With everything that the relay does beside: connections, leases, looks for late commits.
const STATEMENTS: usize = 200;

/// To delete a row takes 54 bytes. More than a second record for each row, whatever for, is an update or an index.
const BYTES_PER_ROW: i64 = 70;

#[test]
fn a_backlog_costs_few_statements_and_one_record_in_the_log_for_each_row() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    let Some(log) = started("pg_walinspect (of PostgreSQL's contrib)", Log::open(&database)) else { return };
    succeed(database.url(), &["migrate"]);
    // What it writes, and when, is not the relay's.
    database.execute("ALTER TABLE outbox_messages SET (autovacuum_enabled = false)");
    insert(&database, ROWS.into());
    let proxy = Proxy::before(database.url());
    let from = log.end();
    let relay = Relay::start_at(&database, &proxy.instead_of(database.url()), "memory:", &[]);
    database.drains(Duration::from_secs(60));
    let statements = proxy.statements();
    let (bytes, rows) = (log.bytes_since(&from), i64::from(ROWS));
    relay.stop();
    database.assert_nothing_failed();
    report("drain cost", format!("{ROWS} rows: {statements} statements, {bytes} bytes in the log"));
    assert!(statements > 2 * 20, "the statements pass through here: {statements}");
    assert!(statements <= STATEMENTS, "{statements} statements for {ROWS} rows");
    assert!(bytes >= rows * 20, "each row is deleted: {bytes} bytes for {ROWS} rows");
    assert!(bytes <= rows * BYTES_PER_ROW, "{bytes} bytes in the log for {ROWS} rows");
}

/// What this database writes into the log that all databases of the server share.
struct Log<'a>(&'a Database);

impl<'a> Log<'a> {
    /// `None` if the server has no such extension.
    fn open(database: &'a Database) -> Option<Self> {
        let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_walinspect'";
        if database.number(available) == 0 {
            return None;
        }
        database.execute("CREATE EXTENSION pg_walinspect");
        Some(Self(database))
    }

    fn end(&self) -> String {
        self.0.query("SELECT pg_current_wal_flush_lsn()")[0][0].clone()
    }

    /// Without whole pages, which the server adds after each of its checkpoints.
    fn bytes_since(&self, from: &str) -> i64 {
        self.0.number(&format!(
            "SELECT coalesce(sum(record_length - fpi_length), 0)::bigint
             FROM pg_get_wal_records_info('{from}', pg_current_wal_flush_lsn())
             WHERE block_ref LIKE '%/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/%'"
        ))
    }
}
