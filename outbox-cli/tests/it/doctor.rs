use serde_json::Value;

use crate::shell::Shell;

fn findings(json: &Value, part: &str) -> Vec<Value> {
    let parts = json.as_array().unwrap();
    let part =
        parts.iter().find(|found| found["part"] == part).unwrap_or_else(|| panic!("no {part}: {json}"));
    part["findings"].as_array().unwrap().clone()
}

#[test]
fn a_healthy_outbox_has_no_findings_but_good_ones() {
    let shell = Shell::migrated();
    let ran = shell.on_store(&["doctor", "--transport", "memory:", "--strict"]).succeeds();
    assert!(ran.stdout.starts_with("store\n  ok       database: reachable"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\ntransport\n  ok "), "{}", ran.stdout);
}

#[test]
fn what_is_wrong_fails_and_says_what_to_do() {
    let shell = Shell::new();
    let url = shell.new_url();
    let unmigrated = shell.run(&["--store", &url, "doctor", "--transport", "memory:"]).ends_with(1).stdout;
    assert!(
        unmigrated.contains("error    tables: ") && unmigrated.contains("→ run `outbox migrate`"),
        "{unmigrated}"
    );

    let shell = Shell::migrated();
    shell.insert(1, "orders.placed", "k");
    let waiting = shell.on_store(&["doctor", "--transport", "memory:"]).succeeds().stdout;
    assert!(
        waiting.contains("warning  relay: none is alive") && waiting.contains("→ start one"),
        "{waiting}"
    );
    shell.on_store(&["doctor", "--transport", "memory:", "--strict"]).ends_with(1);

    for (url, name) in [
        ("kafka://u:c4nary@127.0.0.1:1?connect_timeout=1s&publish_timeout=2s", "Kafka"),
        ("amqp://u:c4nary@127.0.0.1:1?connect_timeout=1s", "RabbitMQ"),
        ("nats://u:c4nary@127.0.0.1:1?connect_timeout=1s", "NATS"),
        ("redis://u:c4nary@127.0.0.1:1?connect_timeout=1s", "Redis"),
    ] {
        let ran = shell.on_store(&["doctor", "--json", "--transport", url]).ends_with(1);
        let json: Value = serde_json::from_str(&ran.stdout).unwrap();
        let found = findings(&json, "transport");
        let bad =
            found.iter().find(|finding| finding["severity"] == "error").unwrap_or_else(|| panic!("{json}"));
        assert!(bad["detail"].as_str().unwrap().contains("127.0.0.1:1"), "{name}: {bad}");
        assert!(bad["remedy"].is_string(), "{name}: {bad}");
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("c4nary"), "{name}");
    }
}

#[test]
fn a_ladder_of_time_outs_that_is_wrong_is_found() {
    let shell = Shell::migrated();
    let url = "redis://127.0.0.1:1?connect_timeout=1s&publish_timeout=15s";
    let json = shell.on_store(&["doctor", "--json", "--transport", url]).ends_with(1).stdout;
    let found = findings(&serde_json::from_str(&json).unwrap(), "transport");
    let ladder = found.iter().find(|finding| finding["subject"] == "time-outs").unwrap();
    assert_eq!(ladder["severity"], "error", "{ladder}");
    assert!(ladder["detail"].as_str().unwrap().contains("publish_timeout is 10s"), "{ladder}");
}
