//! Each broker is killed while messages flow, and started again, several times.

use std::time::{Duration, Instant};

use crate::brokers::{Broker, Kafka, Nats, Rabbitmq, Redis};
use crate::checker::Verdict;
use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};
use crate::writers::{Work, Writers};

/// More than any transport has under way at most by default.
const IN_FLIGHT: usize = 8_192;

#[test]
fn a_kafka_that_is_killed_loses_nothing() {
    run(Kafka::durable());
}

#[test]
fn a_rabbitmq_that_is_killed_loses_nothing() {
    run(Rabbitmq::start());
}

#[test]
fn a_nats_that_is_killed_loses_nothing() {
    let nats = Nats::start();
    if let Some(nats) = &nats {
        nats.create_stream(|_| ());
    }
    run(nats);
}

#[test]
fn a_redis_that_is_killed_loses_nothing() {
    run(Redis::start());
}

fn run(broker: Option<impl Broker>) {
    let (Some(broker), Some(database)) = (broker, Database::create(&POSTGRES)) else { return };
    succeed(database.url(), &["migrate"]);
    Writers::prepare(&database);
    let relay = Relay::start(&database, &broker.transport(), &[]);
    relay.works();

    let kills = size("OUTBOX_E2E_KILLS", 5);
    let burst = Work { rows: broker.burst(), keys: 200, transaction: 20 };
    let mut resumed = Vec::new();
    for kill in 1..=kills {
        let before = broker.stored();
        let writers = Writers::start(&database, burst, kill);
        until("messages flow", Duration::from_secs(60), || broker.stored() > before);
        broker.kill();
        writers.finish();
        let back = Instant::now();
        broker.restart();
        let before = broker.stored();
        until("delivery resumes", Duration::from_secs(30), || {
            broker.stored() > before || database.waiting() == 0
        });
        resumed.push(back.elapsed());
    }
    let drained = database.drains(Duration::from_secs(30));

    let figures = relay.stop();
    let committed = Writers::committed(&database);
    let verdict = Verdict::on(&broker, &committed);
    let slowest = resumed.iter().max().unwrap();
    report(
        broker.name(),
        format!(
            "{kills} kills: {verdict}; resumed within {slowest:.1?}, drained {drained:.1?} later; {figures}"
        ),
    );
    verdict.assert_sound();
    assert_eq!((figure(&figures, "dead"), figure(&figures, "stale_settles")), (0, 0));
    let most = usize::try_from(kills).unwrap() * IN_FLIGHT;
    assert!(verdict.duplicates <= most, "only what was under way may come twice");
}
