use std::net::SocketAddr;
use std::sync::Arc;

use outbox::RelayState;
use outbox::memory::MemoryTransport;
use outbox::observe::{CheckState, Observer, Readiness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{World, in_time};

const SERVED: [(&str, &str); 2] =
    [("OUTBOX_METRICS_ENABLED", "true"), ("OUTBOX_METRICS_LISTEN", "127.0.0.1:0")];

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn names(readiness: &Readiness) -> Vec<&str> {
    readiness.checks.iter().map(|check| check.name.as_str()).collect()
}

#[tokio::test]
async fn metrics_and_health_are_served_from_the_start_to_the_end() {
    let world = World::default();
    let variables = [&SERVED[..], &[("OUTBOX_AUTO_START", "false")]].concat();
    let outbox = world.application(&variables).start().await.unwrap();
    let address = outbox.metrics_address().unwrap();
    in_time("the database is looked at", async {
        while !outbox.readiness().ready {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(names(&outbox.readiness()), ["database", "schema"], "no relay is missed");

    outbox.start().await.unwrap();
    world.commit(1);
    outbox.waker().wake();
    world.delivered(1).await;
    let readiness = outbox.readiness();
    let expected = ["database", "schema", "relay", "relay's database", "leases", "broker memory"];
    assert!(readiness.ready && names(&readiness) == expected, "{readiness:?}");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/metrics").await.contains("outbox_published_total{path=\"relayed\""));
    outbox.shutdown().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it ends with the outbox");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_and_nothing_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let world = World::default();
    let variables = [("OUTBOX_METRICS_ENABLED", "true"), ("OUTBOX_METRICS_LISTEN", address.as_str())];
    let error = world.application(&variables).start().await.unwrap_err();
    assert!(error.to_string().contains(&format!("listening at {address}")), "{error}");
    assert_eq!(world.store.calls("check"), 0, "no relay was begun");
}

#[tokio::test]
async fn health_can_be_asked_for_where_it_is_not_served() {
    let world = World::default();
    let outbox = world.application(&[]).start().await.unwrap();
    assert!(outbox.metrics_address().is_none());
    in_time("it owns something", async {
        while outbox.readiness().checks.iter().any(|check| check.state != CheckState::Ok) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(names(&outbox.readiness()), ["relay", "relay's database", "leases", "broker memory"]);
    outbox.shutdown().await.unwrap();
    assert_eq!((outbox.readiness().ready, outbox.state()), (false, RelayState::Ended));
}

#[tokio::test]
async fn what_serves_can_be_brought_along_and_a_direct_mode_has_no_database_to_look_at() {
    let world = World::default();
    let variables = [&SERVED[..], &[("OUTBOX_ENABLED", "false")]].concat();
    let builder = world.application(&variables).transport(Arc::new(MemoryTransport::new()));
    let outbox = builder.observer(Observer::new().without_metrics()).start().await.unwrap();
    let address = outbox.metrics_address().unwrap();
    assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 404"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(names(&outbox.readiness()), [""; 0]);
    outbox.shutdown().await.unwrap();
}
