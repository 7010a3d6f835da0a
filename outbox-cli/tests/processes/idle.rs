//! What a relay costs that has nothing to do. `cargo xtask idle` watches it for ten minutes.

use std::time::{Duration, Instant};

use crate::databases::{Database, POSTGRES};
use crate::eventually::{throughout, until};
use crate::figures::{report, size};
use crate::outbox::{CONFIG, Relay, succeed};
use crate::proxy::Proxy;

/// What the memory of a process may grow by without being a leak: allocators keep what they once had.
const SLACK_KIB: u64 = 1024;

/// With the profile for production, metrics included, and nobody who scrapes them.
const PRODUCTION: &str = "profile = \"production\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n";

/// Counted in the protocol, on the way to the server: the server's own figures count transactions. A statement that begins
/// or ends a transaction is one, too.
#[test]
fn an_idle_relay_makes_at_most_one_statement_a_second_and_does_not_grow() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    let watched = Duration::from_secs(size("OUTBOX_TEST_IDLE_SECONDS", 20));
    succeed(database.url(), &["migrate"]);
    let proxy = Proxy::before(database.url());
    let config = database.file("production.toml");
    std::fs::write(&config, PRODUCTION).unwrap();
    let settings = [(CONFIG, config.to_str().unwrap())];
    let relay = Relay::start_at(&database, &proxy.instead_of(database.url()), "memory:", &settings);
    relay.works();
    // It looks often at first, then ever more seldom.
    let mut since = (Instant::now(), proxy.statements());
    until("it has calmed down", Duration::from_secs(60), || {
        if since.0.elapsed() < Duration::from_secs(5) {
            return false;
        }
        let before = std::mem::replace(&mut since, (Instant::now(), proxy.statements()));
        since.1 - before.1 <= 5
    });
    let (before, memory) = (proxy.statements(), relay.memory_kib());
    throughout(watched, || ());
    let (statements, grown) = (proxy.statements() - before, relay.memory_kib());
    relay.stop();
    report("idle", format!("{statements} statements in {watched:?}; memory {memory} KiB, then {grown} KiB"));
    assert!(before > 10, "the statements pass through here");
    assert!(statements as u64 <= watched.as_secs(), "{statements} statements in {watched:?}");
    assert!(grown <= memory + SLACK_KIB, "memory was {memory} KiB, and is {grown} KiB");
}
