use crate::shell::{Running, Shell, eventually, id};

/// Two messages with headers that are none, a text and some bytes, in the dead letters.
fn with_dead_letters() -> Shell {
    let shell = Shell::migrated();
    insert(&shell, 1, "orders.placed", "'a'", "'{\"number\":1}'");
    insert(&shell, 2, "orders.paid", "NULL", "x'ff00'");
    shell.on_store(&["relay", "--transport", "memory:", "--drain"]).succeeds();
    assert_eq!(shell.count("outbox_dead_letters"), 2);
    shell
}

fn insert(shell: &Shell, number: u32, topic: &str, key: &str, payload: &str) {
    shell.sql(&format!(
        "INSERT INTO outbox_messages (id, topic, ordering_key, payload, headers) \
         VALUES (x'{number:032x}', '{topic}', {key}, CAST({payload} AS BLOB), '{{\"no text\": 1}}')"
    ));
}

#[test]
fn they_are_listed_the_newest_first() {
    let shell = with_dead_letters();
    let json = shell.on_store(&["dead", "list", "--json"]).succeeds().json();
    assert_eq!(json.as_array().unwrap().len(), 2);
    let first = json.as_array().unwrap().iter().find(|letter| letter["id"] == id(1)).unwrap();
    assert_eq!((&first["topic"], &first["reason"]), (&"orders.placed".into(), &"undecodable".into()));
    assert_eq!((&first["ordering_key"], &first["parked_behind"]), (&"a".into(), &id(1).into()));
    assert!(first["died_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(first.get("payload"), None, "a list has no payloads");

    let text = shell.on_store(&["dead", "list"]).succeeds().stdout;
    assert!(text.contains(&id(1)) && text.contains(&id(2)), "{text}");
    let one = shell.on_store(&["dead", "list", "--json", "--topic", "orders.paid"]).succeeds().json();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["id"]), (1, &id(2).into()));
    assert_eq!(
        shell.on_store(&["dead", "list", "--json", "--limit", "1"]).json().as_array().unwrap().len(),
        1
    );
    assert_eq!(Shell::migrated().on_store(&["dead", "list"]).succeeds().stdout, "no dead letters\n");
}

#[test]
fn one_is_shown_with_its_payload() {
    let shell = with_dead_letters();
    let text = shell.on_store(&["dead", "show", &id(1)]).succeeds().stdout;
    assert!(text.contains("orders.placed") && text.ends_with("\n{\"number\":1}\n"), "{text}");
    assert_eq!(shell.on_store(&["dead", "show", "--json", &id(1)]).json()["payload"], "{\"number\":1}");
    assert!(shell.on_store(&["dead", "show", &id(2)]).succeeds().stdout.ends_with("\nff00\n"));
    assert_eq!(shell.on_store(&["dead", "show", "--json", &id(2)]).json()["payload_hex"], "ff00");
    shell.on_store(&["dead", "show", &id(3)]).fails(1, &format!("no dead letter has the id {}", id(3)));
}

#[test]
fn a_long_payload_is_cut_unless_asked_for() {
    let shell = Shell::migrated();
    insert(&shell, 1, "orders.placed", "NULL", "printf('%.5000c', 'x')");
    shell.on_store(&["relay", "--transport", "memory:", "--drain"]).succeeds();
    let xs = |arguments: &[&str]| shell.on_store(arguments).succeeds().stdout.matches("xx").count();
    assert_eq!(xs(&["dead", "show", &id(1)]), 1_000);
    assert_eq!(xs(&["dead", "show", "--full", &id(1)]), 2_500);
}

#[test]
fn a_relay_carries_out_what_was_asked_for() {
    let shell = with_dead_letters();
    let asked = shell.on_store(&["dead", "discard", &id(1), &id(9), "--json"]);
    assert_eq!(asked.stdout, "{\"action\":\"discard\",\"asked\":1,\"unknown\":1}\n");
    assert_eq!(asked.code, 1, "one of them is not known");
    let listed = shell.on_store(&["dead", "list", "--json", "--topic", "orders.placed"]).json();
    assert_eq!(listed[0]["requested"], "discard");

    // Whoever repairs the row can have it delivered.
    shell.sql("UPDATE outbox_dead_letters SET headers = '{}' WHERE topic = 'orders.paid'");
    let asked = shell.on_store(&["dead", "replay", &id(2)]).succeeds();
    assert_eq!(asked.stdout, "replay was asked for 1 messages; a relay carries it out\n");
    let relay = Running::start(shell.command(&["--store", &shell.url(), "relay", "--transport", "stdout:"]));
    assert!(relay.printed().contains(&id(2)));
    eventually("the other one is gone", || shell.count("outbox_dead_letters") == 0);
}
