use std::time::{Duration, Instant};

use redis::AsyncCommands as _;

use crate::place::{Place, until};

/// Five pauses, as in production: tenths of a second stand for what there is a minute.
const SCHEDULE: [(&str, &str); 2] =
    [("OUTBOX_RETRY_SCHEDULE", "50ms,100ms,150ms,200ms,250ms"), ("OUTBOX_RETRY_JITTER", "0")];
const PAUSES: Duration = Duration::from_millis(50 + 100 + 150 + 200 + 250);

const CUSTOMERS: [&str; 3] = ["ada", "grace", "zoë"];
const OWNED: &str = "SELECT count(*) FROM outbox_shards WHERE owner IS NOT NULL";

#[test]
fn scenario_2_deals_are_published_once_or_end_dead() {
    Place::visit(async |place: &Place| {
        let platform = place.platform(&SCHEDULE);
        let closed: Vec<_> =
            (0..30).zip(CUSTOMERS.iter().cycle()).map(|(amount, who)| platform.close(who, amount)).collect();
        until("all are settled", async || platform.figure("settled") == 30).await;
        assert_eq!(published_deals(place).await.len(), 30);
        for customer in CUSTOMERS {
            let of = |deals: &[serde_json::Value]| -> Vec<_> {
                deals.iter().filter(|deal| deal["customer"] == customer).cloned().collect()
            };
            assert_eq!(of(&published_deals(place).await), of(&closed), "in the order of {customer}'s deals");
        }

        // What comes twice, because a confirmation was lost, is settled once.
        for entry in place.published("deals.closed").await {
            let () = place.broker().await.xadd("deals.closed", "*", &entry).await.unwrap();
        }
        until("the copies are dropped", async || platform.figure("duplicates") == 30).await;
        assert_eq!(place.count("SELECT count(*) FROM settlements").await, 30);
        assert_eq!(place.count("SELECT count(DISTINCT deal) FROM settlements").await, 30);

        // Somebody uses the name of a stream for something else: nothing can be published there.
        let () = place.broker().await.set("quotes.moved", "busy").await.unwrap();
        let begun = Instant::now();
        assert_eq!(platform.quote("ACME", 100), "stored");
        until("the quote is dead", async || {
            place.count("SELECT count(*) FROM outbox_dead_letters").await == 1
        })
        .await;
        assert!(begun.elapsed() >= PAUSES, "each pause was made: {:?}", begun.elapsed());
        let dead = "SELECT topic, reason, attempts::int8 FROM outbox_dead_letters";
        let dead: (String, String, i64) = sqlx::query_as(dead).fetch_one(&place.pool).await.unwrap();
        assert_eq!(dead, ("quotes.moved".to_owned(), "attempts exhausted".to_owned(), 6));
        platform.close("ada", 31);
        until("deals go on", async || platform.figure("settled") == 31).await;

        let figures = platform.figures();
        assert_eq!((&figures["delivered"], &figures["dead"]), (&31.into(), &1.into()), "{figures}");
        assert_eq!(place.count(OWNED).await, 16);
        platform.terminate();
        assert_eq!((place.count(OWNED).await, place.waiting().await), (0, 0), "the shards are free at once");
    });
}

#[test]
fn scenario_2_what_is_repaired_in_time_is_published_and_how_often_it_is_tried_is_a_variable() {
    Place::visit(async |place: &Place| {
        let twice = [&SCHEDULE[..], &[("OUTBOX_MAX_ATTEMPTS", "2")]].concat();
        let () = place.broker().await.set("quotes.moved", "busy").await.unwrap();
        let hasty = place.platform(&twice);
        hasty.quote("ACME", 100);
        until("the quote is dead", async || hasty.figure("dead") == 1).await;
        assert_eq!(place.count("SELECT attempts::int8 FROM outbox_dead_letters").await, 2);
        hasty.terminate();

        let patient = [("OUTBOX_RETRY_SCHEDULE", "1s"), ("OUTBOX_MAX_ATTEMPTS", "100")];
        let patient = place.platform(&patient);
        patient.quote("INIT", 200);
        until("it is tried", async || place.count("SELECT count(*) FROM outbox_deferred").await == 1).await;
        let () = place.broker().await.del("quotes.moved").await.unwrap();
        until("it is published", async || patient.figure("delivered") == 1).await;
        assert_eq!(place.published("quotes.moved").await.len(), 1);
        assert_eq!(patient.figure("dead"), 0);
        patient.terminate();
        assert_eq!(place.waiting().await, 0);
    });
}

/// What was published to the topic of the deals, read by a client that is not ours.
async fn published_deals(place: &Place) -> Vec<serde_json::Value> {
    let entries = place.published("deals.closed").await;
    let payload = |entry: Vec<(String, Vec<u8>)>| {
        let (_, payload) = entry.into_iter().find(|(name, _)| name == "payload").expect("it has a payload");
        serde_json::from_slice(&payload).unwrap()
    };
    entries.into_iter().map(payload).collect()
}
