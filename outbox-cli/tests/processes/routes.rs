//! One relay feeds several brokers, and one of them goes away.

use std::time::{Duration, Instant};

use crate::brokers::{Broker, Nats, Rabbitmq, Redis};
use crate::checker::{Committed, Verdict};
use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::{report, size};
use crate::outbox::{CONFIG, Relay, figure, succeed};
use crate::writers::{Work, Writers};

#[test]
fn a_broker_that_is_away_stops_nobody_else() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    let (Some(nats), Some(rabbitmq), Some(redis)) = (Nats::start(), Rabbitmq::start(), Redis::start()) else {
        return;
    };
    nats.create_stream(|_| ());
    succeed(database.url(), &["migrate"]);
    Writers::prepare(&database);
    let brokers: [(&str, &dyn Broker); 3] =
        [("shop.orders", &redis), ("shop.payments", &rabbitmq), ("shop.stock", &nats)];
    let route = |(topic, broker): &(&str, &dyn Broker)| {
        format!("[[route]]\ntopics = [\"{topic}\"]\ntransport = \"{}\"\n", broker.transport())
    };
    let file = database.file("outbox.toml");
    std::fs::write(&file, brokers.iter().map(route).collect::<String>()).unwrap();
    // What goes to no route would be lost here, and be missed.
    let relay = Relay::start(&database, "memory:", &[(CONFIG, file.to_str().unwrap())]);
    relay.works();

    let outage = Duration::from_secs(size("OUTBOX_E2E_OUTAGE", 20));
    Writers::start(&database, Work { rows: 3_000, keys: 200, transaction: 20 }, 1).finish();
    until("all three have messages", Duration::from_secs(60), || {
        brokers.iter().all(|(_, broker)| broker.stored() > 0)
    });
    rabbitmq.kill();
    let gone = Instant::now();
    let (mut round, mut slowest) = (2, Duration::ZERO);
    while gone.elapsed() < outage {
        Writers::start(&database, Work { rows: 2_000, keys: 200, transaction: 20 }, round).finish();
        round += 1;
        let committed = Writers::committed(&database);
        for (topic, broker) in [brokers[0], brokers[2]] {
            let expected = of(&committed, topic).len() as u64;
            let took = until("a broker that is there gets its messages", Duration::from_secs(10), || {
                broker.stored() >= expected
            });
            slowest = slowest.max(took);
        }
    }
    database.assert_nothing_failed();
    rabbitmq.restart();
    let drained = database.drains(Duration::from_secs(60));

    database.assert_nothing_failed();
    let log = relay.log();
    let figures = relay.stop();
    let committed = Writers::committed(&database);
    for (topic, broker) in brokers {
        let verdict = Verdict::on(broker, &of(&committed, topic));
        report(broker.name(), &verdict);
        verdict.assert_sound();
    }
    report(
        "routes",
        format!(
            "away {outage:?}; the others caught up within {slowest:.1?}; drained {drained:.1?}; {figures}"
        ),
    );
    let counts = ["retried", "dead", "held"].map(|field| figure(&figures, field));
    assert_eq!(counts, [0, 0, 0], "an outage is not a failure: {figures}\n{log}");
    // More than once where a broker answers before its queues do.
    assert!(figure(&figures, "breaker_opened") >= 1, "{figures}\n{log}");
}

fn of(committed: &[Committed], topic: &str) -> Vec<Committed> {
    committed.iter().filter(|one| one.topic == topic).cloned().collect()
}
