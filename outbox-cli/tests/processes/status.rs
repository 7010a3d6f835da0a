//! `outbox status` on a state that was made by hand.

use serde_json::Value;

use crate::databases::{Database, POSTGRES};
use crate::outbox::{Relay, figure, json, succeed};

const STATE: &str = "
INSERT INTO outbox_messages (id, topic, ordering_key, payload, created_at)
SELECT gen_random_uuid(), 'shop.orders', 'pending ' || n, '', clock_timestamp() - interval '1 hour' FROM generate_series(1, 3) n;

INSERT INTO outbox_deferred (seq, id, topic, ordering_key, schema_version, content_type, headers, payload, created_at,
  attempts, due_at, held_behind, deferred_at)
SELECT 100 + n, gen_random_uuid(), 'shop.orders', key, 1, 'text/plain', '{}', '', clock_timestamp(),
  attempts, due_at, held_behind, clock_timestamp() - interval '10 minutes'
FROM (VALUES
  (1, 'retrying 1', 2, clock_timestamp() + interval '1 hour', NULL),
  (2, 'retrying 2', 1, clock_timestamp() + interval '1 hour', NULL),
  (3, 'retrying 2', 0, NULL, gen_random_uuid()),
  (4, 'delayed', 0, clock_timestamp() + interval '1 day', NULL)
) AS state (n, key, attempts, due_at, held_behind);

INSERT INTO outbox_dead_letters (seq, id, topic, ordering_key, schema_version, content_type, headers, payload, created_at,
  reason, attempts, died_at, parked_behind)
SELECT 50 + n, id, 'shop.orders', key, 1, 'text/plain', '{}', '', clock_timestamp(),
  'rejected', 1, clock_timestamp() - interval '20 minutes', CASE WHEN key = 'parked' THEN id END
FROM (VALUES (1, gen_random_uuid(), 'parked'), (2, gen_random_uuid(), 'skipped')) AS state (n, id, key);
";

#[test]
fn status_tells_what_waits_what_stands_still_and_who_works() {
    let Some(database) = Database::create(&POSTGRES) else { return };
    succeed(database.url(), &["migrate"]);
    database.execute(STATE);
    // Nothing listens at port 1, so everything stays as it is.
    let relay = Relay::start(&database, "nats://127.0.0.1:1", &[("LABEL", "till 7")]);
    relay.works();

    let status = json(database.url(), &["status"]);
    let fields = ["pending", "retrying", "held", "delayed", "dead", "blocked_keys"];
    assert_eq!(fields.map(|field| figure(&status, field)), [3, 2, 1, 1, 2, 3], "{status}");
    let about = |field: &str, seconds: f64| {
        let found = status[field].as_f64().unwrap_or_else(|| panic!("no {field} in {status}"));
        assert!((seconds..seconds + 60.0).contains(&found), "{field}: {found}");
    };
    about("oldest_pending_seconds", 3600.0);
    about("longest_blocked_seconds", 1200.0);

    let relays = status["relays"].as_array().unwrap();
    assert_eq!(relays.len(), 1);
    assert_eq!((&relays[0]["label"], &relays[0]["alive"]), (&"till 7".into(), &true.into()));
    let shards = status["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 16);
    for shard in shards {
        assert_eq!(shard["owner"], relays[0]["relay"], "{shard}");
        assert!(shard["lease_left_seconds"].as_f64().is_some_and(|left| left > 0.0), "{shard}");
    }
    let table = succeed(database.url(), &["status"]);
    assert!(table.contains("till 7") && table.contains("blocked keys"), "{table}");

    let figures = relay.stop();
    assert_eq!(figure(&figures, "delivered"), 0);
    let status = json(database.url(), &["status"]);
    let owners = status["shards"].as_array().unwrap().iter().map(|shard| &shard["owner"]);
    assert!(owners.clone().all(Value::is_null), "{status}");
    assert_eq!(figure(&status, "pending"), 3, "nothing was lost on the way");
}
