//! The same program, the same messages, another URL: each broker has exactly what was committed.

use std::time::{Duration, Instant};

use crate::brokers::{Broker, Kafka, Nats, Rabbitmq, Redis};
use crate::checker::Verdict;
use crate::databases::{Database, POSTGRES};
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};
use crate::writers::{Work, Writers};

#[test]
fn what_is_committed_is_what_kafka_has() {
    run(Kafka::start());
}

#[test]
fn what_is_committed_is_what_rabbitmq_has() {
    run(Rabbitmq::start());
}

#[test]
fn what_is_committed_is_what_nats_has() {
    let nats = Nats::start();
    if let Some(nats) = &nats {
        nats.create_stream(|_| ());
    }
    run(nats);
}

#[test]
fn what_is_committed_is_what_redis_has() {
    run(Redis::start());
}

fn run(broker: Option<impl Broker>) {
    let (Some(broker), Some(database)) = (broker, Database::create(&POSTGRES)) else { return };
    succeed(database.url(), &["migrate"]);
    Writers::prepare(&database);
    let relay = Relay::start(&database, &broker.transport(), &[]);
    relay.works();

    let work = Work { rows: size("OUTBOX_E2E_BROKER_ROWS", 20_000), keys: 500, transaction: 50 };
    let started = Instant::now();
    Writers::start(&database, work, 1).finish();
    let written = started.elapsed();
    database.drains(Duration::from_secs(120));
    let drained = started.elapsed();

    database.assert_nothing_failed();
    let figures = relay.stop();
    let committed = Writers::committed(&database);
    let verdict = Verdict::on(&broker, &committed);
    report(
        broker.name(),
        format!("{verdict}; written in {written:.1?}, drained after {drained:.1?}; {figures}"),
    );
    verdict.assert_sound();
    assert_eq!(verdict.duplicates, 0, "nothing failed that could be a reason for one");
    assert_eq!(figure(&figures, "delivered"), committed.len() as u64, "as the relay counts");
}
