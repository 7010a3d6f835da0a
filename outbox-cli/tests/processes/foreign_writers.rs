//! Programs that are not ours write, a program that is not ours reads, and `outbox relay` is in between.

use std::time::{Duration, Instant};

use crate::brokers::{Broker as _, Nats, STREAM, SUBJECTS};
use crate::checker::Verdict;
use crate::databases::{Database, Kind, MARIADB, POSTGRES, SQLITE};
use crate::figures::{report, size};
use crate::outbox::{Relay, figure, succeed};
use crate::writers::{Work, Writers};

#[test]
fn what_psql_commits_is_what_nats_has() {
    run(&POSTGRES);
}

#[test]
fn what_mariadb_commits_is_what_nats_has() {
    run(&MARIADB);
}

#[test]
fn what_sqlite3_commits_is_what_nats_has() {
    run(&SQLITE);
}

fn run(kind: &'static Kind) {
    let (Some(database), Some(nats)) = (Database::create(kind), Nats::start()) else { return };
    succeed(database.url(), &["migrate"]);
    Writers::prepare(&database);
    let transport = format!("{}&create=true&subjects={SUBJECTS}", nats.transport());
    let relay = Relay::start(&database, &transport, &[]);
    relay.works();

    let started = Instant::now();
    let work = Work { rows: size("OUTBOX_E2E_ROWS", 50_000), keys: 200, transaction: 50 };
    Writers::start(&database, work, 1).finish();
    let written = started.elapsed();
    database.drains(Duration::from_secs(120));
    let drained = started.elapsed();

    database.assert_nothing_failed();
    let figures = relay.stop();
    let committed = Writers::committed(&database);
    let verdict = Verdict::of(&committed, &nats.read_all());
    report(kind.name, format!("{verdict}; written in {written:.1?}, drained after {drained:.1?}; {figures}"));
    verdict.assert_sound();
    assert!(committed.len() as u64 >= work.rows, "{STREAM}: the writers wrote too little");
    assert_eq!(verdict.duplicates, 0, "nothing failed that could be a reason for one");
    assert_eq!(figure(&figures, "delivered"), committed.len() as u64, "as the relay counts");
}
