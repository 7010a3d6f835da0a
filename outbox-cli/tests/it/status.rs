use crate::shell::{Running, Shell, eventually};

#[test]
fn it_tells_what_waits() {
    let shell = Shell::migrated();
    (1..=3).for_each(|number| shell.insert(number, "orders.placed", "k"));
    let json = shell.on_store(&["status", "--json"]).succeeds().json();
    assert_eq!(json["pending"], 3);
    assert!(json["oldest_pending_seconds"].as_f64().is_some_and(|age| age < 60.0), "{json}");
    for nothing in ["delayed", "retrying", "held", "blocked_keys", "dead"] {
        assert_eq!(json[nothing], 0, "{nothing}");
    }
    assert_eq!(json["shards"][0]["owner"], serde_json::Value::Null);

    let text = shell.on_store(&["status"]).succeeds().stdout;
    let pending = text.lines().find(|line| line.contains("pending")).unwrap();
    assert!(pending.contains(" 3 ") && pending.contains("oldest"), "{text}");
    assert!(text.contains("no relay has worked here within a day"), "{text}");
    let limited = shell.on_store(&["status", "--count-limit", "2"]).succeeds().stdout;
    assert!(limited.contains(" 2+ "), "{limited}");
}

#[test]
fn it_tells_who_works() {
    let shell = Shell::migrated();
    let mut relay = shell.command(&["--store", &shell.url(), "relay", "--transport", "memory:"]);
    relay.env("OUTBOX_RELAY_LABEL", "relay-7");
    let _relay = Running::start(relay);
    let status = || shell.on_store(&["status", "--json"]).succeeds().json();
    eventually("the shard has an owner", || !status()["shards"][0]["owner"].is_null());
    let json = status();
    assert_eq!(json["shards"][0]["owner"], json["relays"][0]["relay"]);
    assert_eq!((&json["relays"][0]["label"], &json["relays"][0]["alive"]), (&"relay-7".into(), &true.into()));
    assert!(json["shards"][0]["lease_left_seconds"].as_f64().is_some_and(|left| left > 1.0), "{json}");

    let text = shell.on_store(&["status"]).succeeds().stdout;
    assert_eq!(text.matches("relay-7").count(), 2, "as an owner and as a relay: {text}");
    assert!(text.contains("alive"), "{text}");
}
