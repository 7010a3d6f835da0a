use serde_json::Value;

use crate::shell::{Running, Shell, eventually, id};

#[test]
fn it_delivers_what_is_there_and_stops_when_that_was_all() {
    let shell = Shell::migrated();
    (1..=60).for_each(|number| shell.insert(number, "orders.placed", ["a", "b", "c"][number as usize % 3]));
    let ran = shell.on_store(&["relay", "--transport", "stdout:", "--drain"]).succeeds();
    let delivered: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(delivered.len(), 60, "messages and nothing else: {}", ran.stdout);
    for key in ["a", "b", "c"] {
        let of_key = delivered.iter().filter(|message| message["ordering_key"] == key);
        let ids: Vec<_> = of_key.map(|message| message["id"].as_str().unwrap()).collect();
        assert!(ids.is_sorted() && ids.len() == 20, "{key}: {ids:?}");
    }
    assert_eq!(shell.count("outbox_messages"), 0);
    assert!(
        ran.stderr.lines().last().unwrap().starts_with("delivered 60, retried 0, dead 0"),
        "{}",
        ran.stderr
    );
}

#[test]
fn it_stops_by_signal_and_tells_its_counters() {
    for signal in ["-TERM", "-INT"] {
        let shell = Shell::migrated();
        let relay = Running::start(shell.command(&[
            "--store",
            &shell.url(),
            "relay",
            "--transport",
            "memory:",
            "--json",
        ]));
        relay.logged("took shards over");
        shell.insert(1, "orders.placed", "a");
        eventually("the message is delivered", || shell.count("outbox_messages") == 0);

        relay.signal("-USR1");
        let now: Value = serde_json::from_str(&relay.printed()).unwrap();
        assert_eq!((&now["delivered"], &now["shards"]), (&1.into(), &1.into()), "{now}");
        shell.insert(2, "orders.placed", "a");
        eventually("it still works", || shell.count("outbox_messages") == 0);

        relay.signal(signal);
        let ran = relay.end().succeeds();
        assert_eq!(
            (&ran.json()["delivered"], &ran.json()["relay"]),
            (&2.into(), &now["relay"]),
            "{}",
            ran.stdout
        );
        let status = shell.on_store(&["status", "--json"]).json();
        assert_eq!(status["shards"][0]["owner"], Value::Null, "its lease was released");
    }
}

#[test]
fn it_waits_for_a_database_that_is_away_and_says_so_once() {
    let shell = Shell::new();
    let relay = Running::start(shell.command(&["--store", &shell.url(), "relay", "--transport", "stdout:"]));
    let mut log = relay.logged("does not answer");
    shell.run(&["--store", &shell.new_url(), "migrate"]).succeeds();
    shell.insert(7, "orders.placed", "a");
    assert!(relay.printed().contains(&id(7)));
    relay.signal("-TERM");
    let ran = relay.end().succeeds();
    log.extend(ran.stderr.lines().map(str::to_owned));
    let lines = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((lines("does not answer"), lines("answers again")), (1, 1), "{log:#?}");
}

#[test]
fn a_relay_that_waits_for_a_database_can_be_stopped() {
    let shell = Shell::new();
    let relay = Running::start(shell.command(&["--store", &shell.url(), "relay", "--transport", "memory:"]));
    relay.logged("does not answer");
    relay.signal("-TERM");
    relay.end().succeeds();
}

#[test]
fn memory_is_no_place_for_messages_that_matter() {
    let shell = Shell::migrated();
    let ran = shell.on_store(&["relay", "--transport", "memory:", "--drain"]).succeeds();
    assert!(ran.stderr.contains("nobody reads from"), "{}", ran.stderr);
}
