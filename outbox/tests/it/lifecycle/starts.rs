use std::time::Duration;

use outbox::memory::MemoryStore;
use outbox::relay::RelayError;
use outbox::{OutboxAdmin, RelayState, StartError, StoreErrorKind};

use super::{World, in_time, without_database};

#[tokio::test]
async fn a_database_that_is_not_migrated_is_an_error_after_which_it_can_be_tried_again() {
    let world = World { store: MemoryStore::unmigrated(), ..World::default() };
    let error = world.application(&[]).start().await.unwrap_err();
    let not_migrated = |error: &StartError| match error {
        StartError::Relay(RelayError::Store(error)) => error.kind() == StoreErrorKind::NotMigrated,
        _ => false,
    };
    assert!(not_migrated(&error), "{error:?}");

    let outbox = world.application(&[("OUTBOX_AUTO_START", "false")]).start().await.unwrap();
    for _ in 0..2 {
        assert!(not_migrated(&outbox.start().await.unwrap_err()));
        assert_eq!(outbox.state(), RelayState::Waiting);
    }
    world.store.migrate().await.unwrap();
    world.commit(1);
    assert_eq!(outbox.start().await.unwrap(), RelayState::Running);
    world.delivered(1).await;
    outbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_away_is_no_error() {
    let world = World::default();
    world.store.down();
    let outbox = world.application(&[]).start().await.unwrap();
    assert!(outbox.monitor().unwrap().status().store.is_some(), "it is known");
    world.store.up();
    world.commit(1);
    world.delivered(1).await;
    outbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_has_not_begun() {
    let world = World::default();
    let outbox = world.application(&[("OUTBOX_AUTO_START", "false")]).start().await.unwrap();
    world.store.set_latency(Duration::from_secs(3_600));
    tokio::select! {
        biased;
        _ = outbox.start() => panic!("the database does not answer"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(outbox.state(), RelayState::Waiting);
    world.store.set_latency(Duration::ZERO);
    assert_eq!(outbox.start().await.unwrap(), RelayState::Running);
    outbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_a_start_that_waits_for_the_database() {
    let world = World::default();
    let outbox = world.application(&[("OUTBOX_AUTO_START", "false")]).start().await.unwrap();
    world.store.set_latency(Duration::from_secs(3_600));
    let (started, ended) =
        in_time("both end", async { tokio::join!(outbox.start(), outbox.shutdown()) }).await;
    assert!(matches!(started, Err(StartError::ShutDown)), "{started:?}");
    assert_eq!(ended.unwrap().delivered, 0);
    assert!(matches!(outbox.start().await, Err(StartError::ShutDown)));
}

#[tokio::test]
async fn a_wrong_url_is_an_error_at_the_start_also_where_the_relay_waits() {
    let variables = [
        ("OUTBOX_STORE_URL", "sqlite:x.db"),
        ("OUTBOX_TRANSPORT_URL", "carrier-pigeon://u:c4nary@h"),
        ("OUTBOX_AUTO_START", "false"),
    ];
    let error = without_database(&variables).start().await.unwrap_err();
    assert!(matches!(error, StartError::Connect(_)), "{error:?}");
    assert!(error.to_string().contains("`carrier-pigeon`") && !format!("{error:?}").contains("c4nary"));
}
