//! A relay prepares its statements while the table is empty, and then a backlog comes.

use std::time::{Duration, Instant};

use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::{report, size};
use crate::held_snapshot::insert;
use crate::outbox::{Relay, figure, succeed};

#[test]
fn a_relay_that_started_on_an_empty_table_does_not_scan_a_full_one() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    succeed(database.url(), &["migrate"]);
    // Now the planner knows that it is empty.
    database.execute("VACUUM ANALYZE outbox_messages, outbox_deferred, outbox_dead_letters, outbox_shards");
    let mut relay = Relay::start(&database, "memory:", &[]);
    relay.works();
    insert(&database, 10);
    // Often enough for PostgreSQL to have chosen a plan for ever.
    until("its statements are prepared", Duration::from_secs(60), || {
        let figures = relay.stats();
        figure(&figures, "delivered") == 10 && figure(&figures, "reads") > 10
    });

    let scans =
        || database.number("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'outbox_messages'");
    let before = scans();
    let rows = size("OUTBOX_E2E_SNAPSHOT_ROWS", 200_000);
    let started = Instant::now();
    insert(&database, rows);
    let inserted = started.elapsed();
    until("it is drained", Duration::from_secs(120), || figure(&relay.stats(), "delivered") == rows + 10);
    let drained = started.elapsed();
    // A session that has ended has told everything it did.
    let figures = relay.stop();
    let scans = scans() - before;
    report(
        "plan trap",
        format!("{rows} rows in {inserted:.1?}, drained after {drained:.1?}, {scans} scans; {figures}"),
    );
    assert_eq!(scans, 0, "the table was scanned");
}
