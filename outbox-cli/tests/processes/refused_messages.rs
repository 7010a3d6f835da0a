//! The broker refuses a message.

use std::time::Duration;

use serde_json::Value;

use crate::brokers::{Broker as _, Nats};
use crate::checker::{Committed, Verdict};
use crate::databases::{Database, POSTGRES};
use crate::eventually::until;
use crate::figures::report;
use crate::outbox::{Relay, figure, json, succeed};
use crate::writers::hex;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_message_that_is_too_large_parks_its_key_until_it_is_replayed() {
    let (Some(database), Some(nats)) = (Database::create(&POSTGRES), Nats::start()) else { return };
    nats.create_stream(|config| config.max_message_size = 2_000);
    succeed(database.url(), &["migrate"]);
    let relay = Relay::start(&database, &nats.transport(), &[]);
    relay.works();

    let mut committed = vec![
        insert(&database, "large", 1, 10),
        insert(&database, "large", 2, 5_000),
        insert(&database, "large", 3, 10),
        insert(&database, "other", 1, 10),
        insert(&database, "large", 4, 10),
        insert(&database, "other", 2, 10),
    ];
    until("its key is in the dead letters", LIMIT, || dead(&database).len() == 3);
    until("what can be delivered is delivered", LIMIT, || nats.stored() == 3);
    // The key stays parked, and other keys go on.
    committed.push(insert(&database, "large", 5, 10));
    committed.push(insert(&database, "other", 3, 10));
    until("the next of its key has followed", LIMIT, || dead(&database).len() == 4);
    until("other keys flow", LIMIT, || nats.stored() == 4);

    let letters = dead(&database);
    let head = uuid(&committed[1].id);
    let of = |number: usize| {
        let id = uuid(&committed[number].id);
        letters.iter().find(|letter| letter["id"] == id).unwrap_or_else(|| panic!("{letters:?}"))
    };
    let expected = [
        (1, "rejected", 1),
        (2, "parked behind another", 0),
        (4, "parked behind another", 0),
        (6, "parked behind another", 0),
    ];
    for (number, reason, attempts) in expected {
        let letter = of(number);
        assert_eq!((&letter["reason"], &letter["attempts"]), (&reason.into(), &attempts.into()), "{letter}");
        assert_eq!(
            (&letter["parked_behind"], &letter["ordering_key"]),
            (&head.as_str().into(), &"large".into())
        );
    }
    let error = of(1)["last_error"].as_str().unwrap();
    assert!(error.contains("message size exceeds maximum"), "what the broker said: {error}");
    let status = json(database.url(), &["status"]);
    let counts = ["pending", "retrying", "held", "dead", "blocked_keys"].map(|field| figure(&status, field));
    assert_eq!(counts, [0, 0, 0, 4, 1], "{status}");

    nats.update_stream(|config| config.max_message_size = -1);
    assert_eq!(json(database.url(), &["dead", "replay", &head])["asked"], 1);
    until("everything is delivered", LIMIT, || nats.stored() == committed.len() as u64);
    database.drains(LIMIT);
    assert_eq!(dead(&database), Vec::<Value>::new());
    let figures = relay.stop();
    let verdict = Verdict::of(&committed, &nats.read_all());
    report("refused", format!("{verdict}; {figures}"));
    verdict.assert_sound();
    assert_eq!(verdict.duplicates, 0);
    assert_eq!((figure(&figures, "dead"), figure(&figures, "retried")), (4, 0));
}

fn dead(database: &Database) -> Vec<Value> {
    json(database.url(), &["dead", "list"]).as_array().unwrap().clone()
}

fn insert(database: &Database, key: &str, version: u64, size: usize) -> Committed {
    let (id, payload) = (uuid::Uuid::now_v7(), vec![b'x'; size]);
    database.execute(&format!(
        "INSERT INTO outbox_messages (id, topic, ordering_key, payload) VALUES ('{id}', 'shop.orders', '{key}', '\\x{}')",
        hex(&payload)
    ));
    let (id, key, topic) = (id.simple().to_string(), key.to_owned(), "shop.orders".to_owned());
    Committed { id, key, version, topic, payload }
}

fn uuid(hex: &str) -> String {
    uuid::Uuid::parse_str(hex).unwrap().to_string()
}
