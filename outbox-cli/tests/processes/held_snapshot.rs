//! Somebody keeps a transaction open, so that nothing which was deleted since can be cleaned away.

use std::time::{Duration, Instant};

use crate::databases::{Database, POSTGRES};
use crate::eventually::{until, until_some};
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};

const BURSTS: u64 = 10;
/// Rows per claim, the relay's default.
const BATCH: u64 = 1_000;

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
    let mut delivered = 0;
    let mut deliver = |relay: &mut Relay, rows: u64, waiting: u64| {
        let started = Instant::now();
        insert(&database, rows);
        delivered += rows + waiting;
        until("they are delivered", Duration::from_secs(120), || {
            figure(&relay.stats(), "delivered") == delivered
        });
        (started.elapsed(), delivered)
    };
    deliver(&mut relay, burst, 0);
    let first = claim_pages(&database, &mut relay, &mut deliver);
    let mut times = Vec::new();
    for _ in 2..BURSTS {
        times.push(deliver(&mut relay, burst, 0));
    }
    let before = index_entries(&database, times[times.len() - 1].1);
    times.push(deliver(&mut relay, burst, 0));
    let entries = index_entries(&database, times[times.len() - 1].1) - before;
    let last = claim_pages(&database, &mut relay, &mut deliver);
    let dead = dead_rows(&database);
    drop(holder);
    relay.stop();

    let per_row = entries as f64 / burst as f64;
    let times: Vec<_> = times.iter().map(|(time, _)| format!("{time:.1?}")).collect();
    report(
        "held snapshot",
        format!(
            "a claim of {BATCH} rows reads {first} pages at first, {last} at last; {per_row:.2} index entries per row of \
             the last burst; {dead} dead rows; bursts of {burst} in {}",
            times.join(" ")
        ),
    );
    assert!(
        dead >= i64::try_from(BURSTS * burst).unwrap(),
        "the snapshot held nothing back, so nothing was shown"
    );
    // The index may have grown by a level.
    assert!(last as f64 <= first as f64 * 1.2 + 2.0, "a claim reads {last} pages, {first} at first");
    // One to claim a row, one to delete it, and for each claim at most what has come since the last low mark, which is
    // not more than this burst. Whoever began at the start of the table would have read every dead row with each claim.
    let bound = 2.0 + (burst / BATCH) as f64;
    assert!(
        per_row <= bound,
        "{per_row} index entries for each row delivered, at most {bound} are explained"
    );
}

/// Rows of 1,000 keys, all in one statement.
pub(crate) fn insert(database: &Database, rows: u64) {
    database.execute(&format!(
        "INSERT INTO outbox_messages (id, topic, ordering_key, payload) \
         SELECT gen_random_uuid(), 'shop.orders', 'key ' || n % 1000, '\\x00' FROM generate_series(1, {rows}) AS n"
    ));
}

/// How many pages the relay's own claim of a whole batch reads, at the place where the relay is: the statement is the one
/// that its session made last, run while it stands still.
fn claim_pages(
    database: &Database,
    relay: &mut Relay,
    deliver: &mut impl FnMut(&mut Relay, u64, u64) -> (Duration, u64),
) -> u64 {
    let claim = until_some("the text of a claim", Duration::from_secs(30), || {
        let sessions = "SELECT translate(query, E'\\n', ' ') FROM pg_stat_activity \
                        WHERE datname = current_database() AND application_name = 'outbox-relay'";
        let texts = database.query(sessions).into_iter().map(|row| row.join(" "));
        // A text that was cut off does not end like this.
        let mut claims = texts.filter(|text| {
            text.contains("m.payload")
                && text.trim_end().ends_with("WHERE m.seq > $2 ORDER BY m.seq LIMIT $3")
        });
        claims.next()
    });
    relay.signal("STOP");
    let cursor =
        database.number("SELECT last_value FROM pg_sequences WHERE sequencename = 'outbox_messages_seq_seq'");
    insert(database, BATCH);
    let plan = database.query(&format!(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off;\n\
         SET plan_cache_mode = force_generic_plan;\n\
         PREPARE claim AS {claim};\n\
         EXPLAIN (ANALYZE, BUFFERS) EXECUTE claim (15, {cursor}, {BATCH});"
    ));
    relay.signal("CONT");
    deliver(relay, 0, BATCH);
    let lines: Vec<String> = plan.into_iter().map(|row| row.join(" ")).collect();
    assert!(
        lines[0].contains(&format!("rows={BATCH} loops=1")),
        "it claims a whole batch:\n{}",
        lines.join("\n")
    );
    let buffers = lines.iter().find(|line| line.contains("Buffers: ")).unwrap();
    let count = |what: &str| {
        let text = buffers.split(' ').find_map(|word| word.strip_prefix(what));
        text.map_or(0, |number| number.parse::<u64>().unwrap())
    };
    count("hit=") + count("read=")
}

/// How many entries of the index have been read since it was made, once the sessions have told: they do so some seconds
/// after the last statement. By then each row was fetched to be claimed and fetched to be deleted. Nobody but the relay
/// reads this index in earnest.
fn index_entries(database: &Database, delivered: u64) -> i64 {
    let rows = i64::try_from(delivered).unwrap();
    let told = "SELECT n_tup_del, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'outbox_messages'";
    until("the sessions have told what they did", Duration::from_secs(60), || {
        let told: Vec<i64> = database.query(told)[0].iter().map(|number| number.parse().unwrap()).collect();
        told[0] >= rows && told[1] >= 2 * rows
    });
    database.number("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE relname = 'outbox_messages'")
}

/// Rows that were deleted and are still there, counted by a look at every one of them.
fn dead_rows(database: &Database) -> i64 {
    database.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple");
    database.number("SELECT dead_tuple_count FROM pgstattuple('outbox_messages')")
}
