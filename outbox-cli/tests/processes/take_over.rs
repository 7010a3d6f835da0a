//! Three relays share the work. One dies, another sleeps past its lease, and wakes up to settle what is not its own any
//! more.

use std::time::{Duration, Instant};

use crate::brokers::{Broker as _, Nats};
use crate::checker::Verdict;
use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};
use crate::proxy::Proxy;
use crate::writers::{Work, Writers};

const LEASE: Duration = Duration::from_secs(6);
/// Rows that a relay has in memory at most, and so the most that it can have published without having settled them.
const WINDOW: usize = 1_000;

#[test]
fn a_relay_that_dies_and_one_that_sleeps_lose_nothing_and_disturb_no_order() {
    let (Some(database), Some(nats)) = (Database::create(&POSTGRES), Nats::start()) else { return };
    nats.create_stream(|_| ());
    succeed(database.url(), &["migrate"]);
    Writers::prepare(&database);
    let transport = format!("{}&publish_timeout=1s", nats.transport());
    let settings = [
        ("LEASE_TTL", "6s"),
        ("LEASE_MARGIN", "500ms"),
        ("PUBLISH_TIMEOUT", "2s"),
        ("WINDOW_ROWS", "1000"),
        ("BATCH_SIZE", "250"),
    ];
    let proxy = Proxy::before(database.url());
    let mut sleeper = Relay::start_at(&database, &proxy.instead_of(database.url()), &transport, &settings);
    let mut victim = Relay::start(&database, &transport, &settings);
    let survivor = Relay::start(&database, &transport, &settings);
    until("all three have shards", Duration::from_secs(60), || owners(&database) == ["3", "16"]);

    // More than the windows of all three at once, so that they are full, and others who write all the while.
    let rows = size("OUTBOX_E2E_ROWS", 50_000);
    let work = Work { rows: rows / 2, keys: 200, transaction: 20 };
    let writers = Writers::start(&database, work, 1);
    Writers::burst(&database, rows / 2, 200);
    until("the sleeper works", Duration::from_secs(60), || figure(&sleeper.stats(), "delivered") > 0);

    // Its database hangs for a moment, so that what is still confirmed of what it has in memory is not settled. Then it
    // sleeps, and whatever it wanted to say is held back until its leases are gone. A stop alone would need luck to hit
    // the milliseconds between a confirmation and its settle.
    until("it has published what it has not settled", Duration::from_secs(30), || {
        proxy.freeze();
        let confirmed = figure(&sleeper.stats(), "delivered");
        let more = figure(&sleeper.stats(), "delivered") > confirmed;
        if !more {
            // It had nothing in memory just then.
            proxy.thaw();
        }
        more
    });
    sleeper.signal("STOP");
    victim.kill();
    until("the survivor has taken everything over", LEASE * 5, || owners(&database) == ["1", "16"]);
    sleeper.signal("CONT");
    proxy.thaw();
    let woken = Instant::now();
    until("the sleeper has noticed", Duration::from_secs(30), || {
        figure(&sleeper.stats(), "stale_settles") > 0
    });
    writers.finish();
    let last_event = Instant::now();
    database.drains(LEASE + Duration::from_secs(10));
    let drained = last_event.elapsed();
    until("it works again", LEASE * 5, || figure(&sleeper.stats(), "shards") > 0);

    database.assert_nothing_failed();
    let (sleeper, survivor) = (sleeper.stop(), survivor.stop());
    let committed = Writers::committed(&database);
    let verdict = Verdict::of(&committed, &nats.read_all());
    report(
        "take-over",
        format!(
            "{verdict}; drained {drained:.1?} after the last event, {:.1?} after the sleeper woke; \
             sleeper {sleeper}; survivor {survivor}",
            woken.elapsed()
        ),
    );
    verdict.assert_sound();
    assert!(figure(&sleeper, "stale_settles") >= 1, "its late settle was refused and counted");
    assert!(figure(&sleeper, "leases_lost") >= 1);
    assert!(
        figure(&sleeper, "stale_rows") >= 1 && verdict.duplicates >= 1,
        "it had published what it could not settle"
    );
    assert!(verdict.duplicates <= 2 * WINDOW, "at most a window for each of the two events");
}

/// How many relays own how many shards.
fn owners(database: &Database) -> Vec<String> {
    let owned =
        "SELECT count(DISTINCT owner), count(*) FROM outbox_shards WHERE lease_until > clock_timestamp()";
    database.query(owned).remove(0)
}
