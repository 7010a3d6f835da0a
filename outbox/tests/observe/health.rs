use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use outbox::memory::{MemoryStore, MemoryTransport};
use outbox::observe::{ObserveError, Observer};
use outbox::relay::{Relay, RelayHandle};
use outbox::{OutboxAdmin, OutboxMessage};
use tokio::net::TcpListener;

use crate::client::{get, until};
use crate::defective::Defective;

const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn relay(store: &MemoryStore, broker: &MemoryTransport) -> RelayHandle {
    Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .configure(|config| config.breaker_longest = Duration::from_millis(300))
        .start()
        .await
        .unwrap()
}

fn observer(store: &MemoryStore) -> Observer {
    Observer::new().store(Arc::new(store.clone())).interval(Duration::from_millis(100))
}

fn message() -> OutboxMessage {
    OutboxMessage::bytes("orders", "x").unwrap().build().unwrap()
}

#[tokio::test]
async fn a_healthy_process_is_alive_and_ready() {
    let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
    let relay = relay(&store, &broker).await;
    let observing = observer(&store).relay(&relay).serve(ANYWHERE).await.unwrap();
    assert_ne!(observing.address().port(), 0, "it says which port it got");
    let ready = until(observing.address(), "/readyz", |answer| answer.status == 200).await;
    assert!(ready.head.contains("content-type: application/json"), "{}", ready.head);
    assert!(ready.head.contains("cache-control: no-store"), "{}", ready.head);
    assert_eq!(ready.reasons(), [""; 0]);
    assert_eq!(ready.check("leases")["detail"], "16 of 16 shards");
    assert_eq!(ready.check("broker memory")["state"], "ok");
    for check in ["database", "schema", "relay", "relay's database"] {
        assert_eq!(ready.check(check)["state"], "ok", "{check}");
    }
    assert!(observing.readiness().ready);
    let alive = get(observing.address(), "/healthz").await;
    assert_eq!((alive.status, alive.json()["ready"].as_bool()), (200, Some(true)));
    assert_eq!(get(observing.address(), "/other").await.status, 404);
    relay.shutdown().await.unwrap();
    observing.shutdown().await;
}

#[tokio::test]
async fn before_the_first_look_it_is_not_ready() {
    let store = MemoryStore::new();
    store.set_latency(Duration::from_secs(3600));
    let observing = observer(&store).timeout(Duration::from_secs(3600)).serve(ANYWHERE).await.unwrap();
    // Although the database does not answer, this does, and at once.
    let answer = get(observing.address(), "/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.check("schema")["state"], "unknown");
    assert_eq!(get(observing.address(), "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_away_makes_it_unready_and_says_since_when() {
    let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
    let relay = relay(&store, &broker).await;
    let observing = observer(&store).relay(&relay).serve(ANYWHERE).await.unwrap();
    until(observing.address(), "/readyz", |answer| answer.status == 200).await;
    store.down();
    let away = until(observing.address(), "/readyz", |answer| answer.reasons().len() == 2).await;
    assert_eq!((away.status, away.reasons()), (503, vec!["database".into(), "relay's database".into()]));
    let check = away.check("database");
    assert!(check["error"].as_str().unwrap().contains("check"), "{check}");
    assert!(check["since"].as_str().unwrap().ends_with('Z'), "{check}");
    assert_eq!(away.check("schema")["state"], "ok", "an outage says nothing about the tables");
    assert_eq!(get(observing.address(), "/healthz").await.status, 200, "restarting it would not help");
    store.up();
    until(observing.address(), "/readyz", |answer| answer.status == 200).await;
}

#[tokio::test]
async fn an_outbox_that_is_not_migrated_is_told_apart_from_one_that_is_away() {
    let store = MemoryStore::unmigrated();
    let observing = observer(&store).serve(ANYWHERE).await.unwrap();
    let answer =
        until(observing.address(), "/readyz", |answer| answer.check("schema")["state"] == "failed").await;
    assert_eq!((answer.status, answer.reasons()), (503, vec!["schema".to_owned()]));
    store.migrate().await.unwrap();
    until(observing.address(), "/readyz", |answer| answer.status == 200).await;
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_and_stops_the_service_only_where_that_is_wanted() {
    let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
    let relay = relay(&store, &broker).await;
    let lenient = observer(&store).relay(&relay).serve(ANYWHERE).await.unwrap();
    let strict = observer(&store).relay(&relay).brokers_required(true).serve(ANYWHERE).await.unwrap();
    broker.down();
    store.enqueue_all(&[message()]);
    relay.waker().wake();
    let told = until(lenient.address(), "/readyz", |answer| {
        answer.status == 200 && answer.reasons() == ["broker memory"]
    });
    let check = told.await.check("broker memory");
    assert_eq!((check["state"].as_str(), check["required"].as_bool()), (Some("failed"), Some(false)));
    assert!(check["since"].is_string() && check["error"].is_string(), "{check}");
    let unready = until(strict.address(), "/readyz", |answer| answer.status == 503).await;
    assert_eq!(unready.reasons(), ["broker memory"]);
    broker.up();
    let closed = |answer: &crate::client::Answer| answer.status == 200 && answer.reasons().is_empty();
    let well = until(lenient.address(), "/readyz", closed).await;
    assert_eq!(well.check("broker memory")["error"], serde_json::Value::Null, "what is over is not an error");
    until(strict.address(), "/readyz", closed).await;
}

#[tokio::test]
async fn a_relay_that_has_died_is_not_alive_and_one_that_stops_is() {
    let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
    let stopping = relay(&store, &broker).await;
    let observing = observer(&store).relay(&stopping).serve(ANYWHERE).await.unwrap();
    until(observing.address(), "/readyz", |answer| answer.status == 200).await;
    stopping.shutdown().await.unwrap();
    let stopped = get(observing.address(), "/readyz").await;
    assert_eq!((stopped.status, stopped.reasons()[0].as_str()), (503, "relay"));
    assert_eq!(get(observing.address(), "/healthz").await.status, 200);

    // A defect of a transport ends its relay.
    let store = MemoryStore::new();
    store.enqueue_all(&[message()]);
    let dead = Relay::shared(Arc::new(store), Arc::new(Defective)).start().await.unwrap();
    let observing = Observer::new().relay(&dead).serve(ANYWHERE).await.unwrap();
    let answer = until(observing.address(), "/healthz", |answer| answer.status == 503).await;
    assert_eq!(
        (answer.reasons(), answer.check("relay")["detail"].as_str()),
        (vec!["relay".into()], Some("it has ended"))
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let taken = TcpListener::bind(ANYWHERE).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Observer::new().without_metrics().serve(address).await.unwrap_err();
    assert!(
        matches!(error, ObserveError::Bind { .. }) && error.to_string().contains(&address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_shutdown_frees_the_port_and_so_does_a_drop() {
    let rebind = async |address: SocketAddr| {
        let binding = async {
            while TcpListener::bind(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), binding).await.expect("the port is free");
    };
    let observing = Observer::new().without_metrics().serve(ANYWHERE).await.unwrap();
    let address = observing.address();
    assert_eq!(get(address, "/metrics").await.status, 404, "metrics go elsewhere");
    observing.shutdown().await;
    assert!(TcpListener::bind(address).await.is_ok(), "free at once");
    let observing = Observer::new().without_metrics().serve(ANYWHERE).await.unwrap();
    let address = observing.address();
    drop(observing);
    rebind(address).await;
}
