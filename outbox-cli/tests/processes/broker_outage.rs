//! The broker goes away while messages flow, and comes back.

use std::time::{Duration, Instant};

use crate::brokers::{Broker as _, Nats};
use crate::checker::Verdict;
use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};
use crate::writers::{Work, Writers};

/// Messages that wait for a confirmation at most, as the transport has it by default.
const IN_FLIGHT: usize = 256;

#[test]
fn an_outage_of_the_broker_uses_no_attempt_and_leaves_two_lines_in_the_log() {
    let (Some(database), Some(nats)) = (Database::create(&POSTGRES), Nats::start()) else { return };
    let outage = Duration::from_secs(size("OUTBOX_E2E_OUTAGE", 20));
    nats.create_stream(|_| ());
    succeed(database.url(), &["migrate"]);
    Writers::prepare(&database);
    let mut relay = Relay::start(&database, &nats.transport(), &[]);
    relay.works();

    let burst = Work { rows: 10_000, keys: 200, transaction: 20 };
    let writers = Writers::start(&database, burst, 1);
    until("messages flow", Duration::from_secs(60), || nats.stored() > 1_000);
    nats.kill();
    let gone = Instant::now();
    writers.finish();
    relay.logs("the broker is not available");
    let trickle = Work { rows: 400, ..burst };
    let mut round = 2;
    while gone.elapsed() < outage {
        Writers::start(&database, trickle, round).finish();
        round += 1;
    }
    database.assert_nothing_failed();
    assert_eq!(relay.count("takes messages again"), 0);
    let waiting = figure(&relay.stats(), "delivered");

    nats.restart();
    let back = Instant::now();
    let before = nats.stored();
    until("delivery resumes", Duration::from_secs(5), || nats.stored() > before);
    let resumed = back.elapsed();
    database.drains(Duration::from_secs(120));
    let drained = back.elapsed();

    database.assert_nothing_failed();
    let log = relay.log();
    let lines =
        ["the broker is not available", "the broker takes messages again"].map(|line| relay.count(line));
    let figures = relay.stop();
    let committed = Writers::committed(&database);
    let verdict = Verdict::of(&committed, &nats.read_all());
    report(
        "outage",
        format!(
            "{verdict}; away {outage:?}, {waiting} delivered before, resumed {resumed:.1?} after the return, drained \
             {drained:.1?}; {figures}"
        ),
    );
    verdict.assert_sound();
    assert_eq!(lines, [1, 1], "one line per change of state:\n{log}");
    assert!(log.lines().count() <= 12, "and no others instead:\n{log}");
    let counts = ["retried", "dead", "held", "breaker_opened"].map(|field| figure(&figures, field));
    assert_eq!(counts, [0, 0, 0, 1], "{figures}");
    assert!(verdict.duplicates <= IN_FLIGHT, "only what was under way may come twice");
}
