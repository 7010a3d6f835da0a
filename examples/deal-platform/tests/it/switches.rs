use crate::place::{Place, until};

const TABLES: &str =
    "SELECT count(*) FROM pg_tables WHERE tablename LIKE '%box\\_%' AND schemaname = 'public'";

/// Intervals in which nobody finds anything by polling.
const NEVER_POLLS: [(&str, &str); 4] = [
    ("OUTBOX_RELAY_POLL_BUSY", "1h"),
    ("OUTBOX_RELAY_POLL_CALM", "1h"),
    ("OUTBOX_RELAY_POLL_IDLE", "1h"),
    ("OUTBOX_RELAY_BACKSTOP_INTERVAL", "1h"),
];

#[test]
fn scenario_2_without_an_outbox_the_same_calls_publish_directly() {
    Place::visit(async |place: &Place| {
        let platform = place.platform(&[("OUTBOX_ENABLED", "false"), ("SETTLEMENT_URL", "")]);
        assert_eq!(platform.quote("ACME", 100), "direct");
        platform.close("ada", 1);
        assert_eq!(place.published("quotes.moved").await.len(), 1, "it is there when the call returns");
        assert_eq!(place.published("deals.closed").await.len(), 1);
        assert_eq!(platform.figures()["relay"], "Off");
        assert_eq!(place.count(TABLES).await, 0, "there is no table of the outbox");
        assert_eq!(platform.checks(), [""; 0], "and nothing of it to look at");
        platform.terminate();
    });
}

#[test]
fn scenario_2_an_instance_that_only_writes_wakes_the_one_that_relays() {
    Place::visit(async |place: &Place| {
        let writes = place.platform(&[("OUTBOX_PROCESSOR_ENABLED", "false"), ("SETTLEMENT_URL", "")]);
        writes.close("ada", 1);
        assert_eq!(
            (writes.quote("ACME", 100).as_str(), &writes.figures()["relay"]),
            ("stored", &"Off".into())
        );
        assert_eq!(writes.start_relay(), "Off", "it is not for this one to relay");
        assert_eq!(place.waiting().await, 2);

        let relays = place.platform(&NEVER_POLLS);
        until("what was left is published", async || relays.figure("delivered") == 2).await;
        for deal in 2..5 {
            writes.close("ada", deal);
            // Only the notification of the other process tells it.
            until("it is settled", async || relays.figure("settled") == deal).await;
        }
        writes.terminate();
        relays.terminate();
        assert_eq!(place.waiting().await, 0);
    });
}

#[test]
fn scenario_2_a_relay_starts_when_it_is_told_to() {
    Place::visit(async |place: &Place| {
        let platform = place.platform(&[("OUTBOX_AUTO_START", "false")]);
        platform.close("ada", 1);
        assert_eq!((platform.figures()["relay"].clone(), place.waiting().await), ("Waiting".into(), 1));
        assert_eq!(platform.start_relay(), "Running");
        until("it is settled", async || platform.figure("settled") == 1).await;
        assert_eq!(platform.start_relay(), "Running");
        platform.terminate();
        assert_eq!(place.waiting().await, 0);
    });
}

/// No hint of any kind: then the interval is what a deal waits at most.
#[test]
fn scenario_2_without_wake_ups_polling_delivers() {
    Place::visit(async |place: &Place| {
        let silent = [
            ("OUTBOX_WAKEUPS_IN_PROCESS", "false"),
            ("OUTBOX_WAKEUPS_LISTEN", "false"),
            ("OUTBOX_POLL_INTERVAL", "50ms"),
        ];
        let platform = place.platform(&silent);
        for deal in 1..=3 {
            platform.close("ada", deal);
            until("it is settled", async || platform.figure("settled") == deal).await;
        }
        platform.terminate();
    });
}
