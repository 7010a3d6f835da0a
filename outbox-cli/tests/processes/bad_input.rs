//! What is wrong is said once, in words, and nothing is lost.

use std::process::Output;
use std::time::Duration;

use crate::brokers::{Broker as _, Nats};
use crate::databases::{Database, POSTGRES};
use crate::eventually::{throughout, until};
use crate::figures::report;
use crate::outbox::{Relay, figure, json, run, succeed};
use crate::proxy::Proxy;

const WATCHED: Duration = Duration::from_secs(5);

/// The exit code for what the caller has to change.
const WRONG: Option<i32> = Some(2);

fn assert_refused(output: &Output, texts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), WRONG, "{stderr}");
    assert!(texts.iter().all(|text| stderr.contains(text)), "{texts:?} are to be in: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(!stderr.contains("c4nary"), "a password: {stderr}");
    assert!(stderr.lines().count() <= 3, "{stderr}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn an_outbox_that_is_not_migrated_is_an_error_of_every_command() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    for words in [
        &["relay", "--transport", "memory:"][..],
        &["relay", "--transport", "memory:", "--drain"],
        &["status"],
        &["dead", "list"],
    ] {
        assert_refused(&run(database.url(), words), &["outbox migrate"]);
    }
}

#[test]
fn another_version_of_the_tables_is_an_error() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    succeed(database.url(), &["migrate"]);
    database.execute("INSERT INTO outbox_migrations (version, name) VALUES (4711, 'of the future')");
    for words in [&["relay", "--transport", "memory:"][..], &["status"], &["migrate"]] {
        assert_refused(&run(database.url(), words), &["4711"]);
    }
}

#[test]
fn urls_that_lead_nowhere_are_refused_without_being_repeated() {
    let memory = "sqlite::memory:";
    let relay = |transport| run(memory, &["relay", "--transport", transport]);
    assert_refused(&relay("gopher://u:c4nary@h"), &["`gopher`", "nats", "memory", "stdout"]);
    assert_refused(&relay("nats://u:c4nary@h?strem=x"), &["strem", "stream"]);
    assert_refused(&run("oracle://u:c4nary@h", &["status"]), &["`oracle`", "postgres", "mysql", "sqlite"]);
    assert_refused(&run("c4nary", &["status"]), &["scheme"]);
}

#[test]
fn names_with_quotes_are_refused() {
    for name in ["a\"b", "a'; DROP TABLE x; --", "a`b", ""] {
        assert_refused(&run("sqlite::memory:", &["status", "--schema", name]), &["schema"]);
    }
    assert_refused(&run("sqlite::memory:", &["migrate", "--prefix", "a\"b"]), &["table prefix", "'\"'"]);
}

#[test]
fn a_database_that_does_not_answer_is_one_line_and_ends_when_it_does() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    succeed(database.url(), &["migrate"]);
    let proxy = Proxy::before(database.url());
    proxy.hang_up(true);
    let mut relay = Relay::start_at(&database, &proxy.instead_of(database.url()), "memory:", &[]);
    relay.logs("does not answer");
    let before = proxy.connections();
    throughout(WATCHED, || ());
    let tries = proxy.connections() - before;
    let lines = relay.count("");
    report("unreachable", format!("{tries} tries in {WATCHED:?}, {lines} lines in the log"));
    assert_eq!(relay.count("does not answer"), 1, "{}", relay.log());
    assert!(lines <= 5, "{}", relay.log());
    assert!((1..=25).contains(&tries), "{tries} tries in {WATCHED:?}");

    proxy.hang_up(false);
    relay.logs("the database answers again");
    database.execute(
        "INSERT INTO outbox_messages (id, topic, payload) VALUES (gen_random_uuid(), 'shop.orders', '')",
    );
    until("it works", Duration::from_secs(30), || figure(&relay.stats(), "delivered") == 1);
    relay.stop();
}

#[test]
fn a_command_on_a_database_that_does_not_answer_fails_with_one_line() {
    let output = run("postgres://u:c4nary@127.0.0.1:1/shop", &["status"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("127.0.0.1:1") && stderr.lines().count() == 1, "{stderr}");
    assert!(!stderr.contains("c4nary"), "{stderr}");
}

#[test]
fn rows_that_are_no_messages_are_refused_by_the_table_or_buried() {
    let (Some(database), Some(nats)) = (Database::create(&POSTGRES), Nats::start()) else { return };
    nats.create_stream(|_| ());
    succeed(database.url(), &["migrate"]);
    let insert = |topic: &str, headers: &str, payload: &str| {
        format!(
            "INSERT INTO outbox_messages (id, topic, ordering_key, headers, payload) \
             VALUES (gen_random_uuid(), {topic}, 'k', {headers}, {payload})"
        )
    };
    let mut client = database.session();
    for statement in [
        insert("repeat('t', 300)", "'{}'", "''"),
        insert("'shop.orders'", "'[]'", "''"),
        insert("'shop.orders'", "'{}'", "decode(repeat('00', 16777217), 'hex')"),
    ] {
        client.run(&format!(
            "DO $$ BEGIN {statement}; RAISE 'it was taken'; EXCEPTION WHEN check_violation THEN NULL; END $$"
        ));
    }
    // What a table can't check, the relay does.
    database.execute(&insert("'shop orders'", "'{}'", "''"));
    database.execute(&insert("'shop.orders'", r#"'{"a\r\nb": "c"}'"#, "''"));
    database.execute(&insert("'shop.orders'", "'{}'", "''"));
    database.execute("UPDATE outbox_messages SET ordering_key = 'other' WHERE seq = (SELECT max(seq) FROM outbox_messages)");
    let relay = Relay::start(&database, &nats.transport(), &[]);
    database.drains(Duration::from_secs(60));
    let figures = relay.stop();
    assert_eq!((figure(&figures, "delivered"), figure(&figures, "dead")), (1, 2), "{figures}");
    assert_eq!(nats.stored(), 1);
    let letters = json(database.url(), &["dead", "list"]);
    let errors =
        letters.as_array().unwrap().iter().map(|letter| letter["last_error"].as_str().unwrap_or_default());
    let errors: Vec<_> = errors.collect();
    report("no messages", errors.join("; "));
}
