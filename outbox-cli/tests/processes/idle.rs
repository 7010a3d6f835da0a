//! What a relay costs that has nothing to do.

use std::time::{Duration, Instant};

use crate::databases::{Database, POSTGRES};
use crate::eventually::{throughout, until};
use crate::figures::report;
use crate::outbox::{Relay, succeed};
use crate::proxy::Proxy;

const WATCHED: Duration = Duration::from_secs(20);

/// Counted in the protocol, on the way to the server: the server's own figures count transactions.
#[test]
fn an_idle_relay_makes_at_most_two_statements_a_second() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    succeed(database.url(), &["migrate"]);
    let proxy = Proxy::before(database.url());
    let relay = Relay::start_at(&database, &proxy.instead_of(database.url()), "memory:", &[]);
    relay.works();
    // It looks often at first, then ever more seldom.
    let mut since = (Instant::now(), proxy.statements());
    until("it has calmed down", Duration::from_secs(60), || {
        if since.0.elapsed() < Duration::from_secs(2) {
            return false;
        }
        let before = std::mem::replace(&mut since, (Instant::now(), proxy.statements()));
        since.1 - before.1 <= 4
    });
    let before = proxy.statements();
    throughout(WATCHED, || ());
    let statements = proxy.statements() - before;
    relay.stop();
    report("idle", format!("{statements} statements in {WATCHED:?}"));
    assert!(before > 10, "the statements pass through here");
    assert!(statements as u64 <= 2 * WATCHED.as_secs(), "{statements} statements in {WATCHED:?}");
}
