//! Somebody keeps a transaction open, so that nothing which was deleted since can be cleaned away.

use std::time::{Duration, Instant};

use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};

const BURSTS: u64 = 10;
/// Bursts that make the beginning, and the end.
const PART: usize = 3;

#[test]
fn a_held_snapshot_does_not_make_claims_dearer() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    succeed(database.url(), &["migrate"]);
    let mut relay = Relay::start(&database, "memory:", &[]);
    relay.works();
    let mut holder = database.session();
    holder.run(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id(); SELECT count(*) FROM outbox_shards",
    );

    let burst = size("OUTBOX_E2E_SNAPSHOT_ROWS", 200_000) / BURSTS;
    let mut costs = Vec::new();
    let mut before = Work::so_far(&database);
    for number in 1..=BURSTS {
        let started = Instant::now();
        insert(&database, burst);
        let rows = number * burst;
        until("the burst is delivered", Duration::from_secs(120), || {
            figure(&relay.stats(), "delivered") == rows
        });
        let took = started.elapsed();
        let now = Work::after(&database, rows);
        costs.push((now.index_entries - before.index_entries) as f64 / burst as f64);
        report(
            "held snapshot",
            format!(
                "burst {number}: {:.2} index entries and {:.2} pages per row, {took:.1?}",
                costs.last().unwrap(),
                (now.pages - before.pages) as f64 / burst as f64
            ),
        );
        before = now;
    }
    let dead = dead_rows(&database);
    drop(holder);
    relay.stop();

    // The cheapest of each: how many sweeps fall into a burst is a matter of timing, and they only ever add.
    let least = |costs: &[f64]| costs.iter().copied().fold(f64::INFINITY, f64::min);
    let (first, last) = (least(&costs[..PART]), least(&costs[costs.len() - PART..]));
    report(
        "held snapshot",
        format!("{first:.2} index entries per row at first, {last:.2} at last; {dead} dead rows"),
    );
    assert!(dead.cast_unsigned() >= BURSTS * burst, "the snapshot held nothing back, so nothing was shown");
    assert!(last <= first * 1.2 + 0.1, "a row costs {last:.2} index entries, {first:.2} at first");
}

/// Rows of 1,000 keys, all in one statement.
pub(crate) fn insert(database: &Database, rows: u64) {
    database.execute(&format!(
        "INSERT INTO outbox_messages (id, topic, ordering_key, payload) \
         SELECT gen_random_uuid(), 'shop.orders', 'key ' || n % 1000, '\\x00' FROM generate_series(1, {rows}) AS n"
    ));
}

/// What has been done to the table of messages, by everybody since it was made. Of the index, only the relay reads
/// entries: to claim, to sweep and to delete.
struct Work {
    index_entries: i64,
    pages: i64,
}

impl Work {
    fn so_far(database: &Database) -> Self {
        let row = &database.query(
            "SELECT i.idx_tup_read, t.heap_blks_hit + t.heap_blks_read + t.idx_blks_hit + t.idx_blks_read \
             FROM pg_stat_user_indexes i JOIN pg_statio_user_tables t USING (relid) \
             WHERE i.relname = 'outbox_messages'",
        )[0];
        Self { index_entries: row[0].parse().unwrap(), pages: row[1].parse().unwrap() }
    }

    /// Once the sessions have told what they did: they do so some seconds after the last statement. By then each row was
    /// fetched to be claimed and fetched to be deleted.
    fn after(database: &Database, rows: u64) -> Self {
        let rows = i64::try_from(rows).unwrap();
        until("the sessions have told what they did", Duration::from_secs(60), || {
            let told = &database.query(
                "SELECT n_tup_del, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'outbox_messages'",
            )[0];
            let [deleted, fetched] = [0, 1].map(|column: usize| told[column].parse::<i64>().unwrap());
            deleted >= rows && fetched >= 2 * rows
        });
        Self::so_far(database)
    }
}

/// Rows that were deleted and are still there, counted by a look at every one of them.
fn dead_rows(database: &Database) -> i64 {
    database.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple");
    database.number("SELECT dead_tuple_count FROM pgstattuple('outbox_messages')")
}
