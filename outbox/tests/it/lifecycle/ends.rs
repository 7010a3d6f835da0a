use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use outbox::memory::MemoryTransport;
use outbox::relay::{RelayError, RelayMonitor};
use outbox::{OutboxHandle, RelayState, StartError, Transport as _};

use super::defective::Defective;
use super::{World, in_time, message};

/// Ends an application in the middle of its work, and sees that the next one does the rest, at once and no message twice.
async fn nothing_is_left_behind(end: impl AsyncFnOnce(OutboxHandle, &World)) {
    let world = World::default();
    world.broker.set_latency(Duration::from_millis(20));
    // Small publishes, so that there is a middle.
    let small = [("OUTBOX_BATCH_SIZE", "10"), ("OUTBOX_RELAY_WINDOW_ROWS", "10")];
    let outbox = world.application(&small).start().await.unwrap();
    let monitor = outbox.monitor().unwrap();
    world.commit(500);
    outbox.waker().wake();
    world.delivered(1).await;
    end(outbox, &world).await;
    in_time("the relay ends", stopped(&monitor)).await;
    assert_eq!(world.owned().await, 0, "its leases are released");
    let delivered = world.broker.delivered().len();
    assert!((1..500).contains(&delivered), "it was not in the middle: {delivered}");
    assert_eq!(world.store.pending().len(), 500 - delivered, "what was published is settled");

    world.broker.set_latency(Duration::ZERO);
    let next = world.application(&[]).start().await.unwrap();
    world.delivered(500).await;
    next.shutdown().await.unwrap();
    assert_eq!(world.broker.delivered().len(), 500, "none twice");
}

async fn stopped(monitor: &RelayMonitor) {
    while monitor.status().running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way_and_releases_the_leases() {
    nothing_is_left_behind(async |outbox: OutboxHandle, world: &World| {
        let stats = outbox.shutdown().await.unwrap();
        assert_eq!(stats.delivered, world.broker.delivered().len() as u64);
        assert_eq!(outbox.state(), RelayState::Ended);
        assert_eq!(outbox.shutdown().await.unwrap(), stats, "a second one says the same");
        assert!(matches!(outbox.start().await, Err(StartError::ShutDown)));
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_that_nobody_waits_for_goes_on() {
    nothing_is_left_behind(async |outbox: OutboxHandle, _: &World| {
        tokio::select! {
            biased;
            _ = outbox.shutdown() => panic!("there is something to finish"),
            () = ready(()) => {}
        }
        outbox.ended().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn dropping_the_handle_stops_it_in_the_background() {
    nothing_is_left_behind(async |outbox: OutboxHandle, _: &World| {
        let ended = outbox.ended();
        drop(outbox);
        in_time("it ends", ended).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relay_that_ends_by_itself_is_noticed() {
    let world = World::default();
    let outbox = world.application(&[]).transport(Arc::new(Defective)).start().await.unwrap();
    // What a server may have as the signal of its shutdown.
    let ended = tokio::spawn(outbox.ended());
    assert_eq!(outbox.state(), RelayState::Running);
    world.commit(1);
    outbox.waker().wake();
    let error = in_time("it ends", ended).await.unwrap().unwrap_err();
    assert!(matches!(*error, RelayError::Panicked), "{error}");
    assert_eq!((outbox.state(), outbox.start().await.unwrap()), (RelayState::Ended, RelayState::Ended));
    let again = outbox.shutdown().await.unwrap_err();
    assert!(Arc::ptr_eq(&error, &again), "the shutdown tells it, too: {again}");
}

/// Who brings a transport along and holds it no more leaves its closing to the outbox.
#[tokio::test]
async fn a_shutdown_closes_the_transport_of_the_relay_and_of_the_publisher() {
    for mode in ["transactional", "direct_first", "direct"] {
        let (world, broker) = (World::default(), MemoryTransport::new());
        let builder = world.application(&[("OUTBOX_MODE", mode)]).transport(Arc::new(broker.clone()));
        let (outbox, publisher) = builder.start_with_publisher(world.sink()).await.unwrap();
        outbox.shutdown().await.unwrap();
        assert!(broker.publish(&[message()]).await[0].is_err(), "{mode}");
        // What can be stored still is.
        assert_eq!(publisher.publish(&message()).await.is_ok(), mode != "direct", "{mode}");
    }
}

#[tokio::test]
async fn without_a_relay_it_ends_with_the_shutdown() {
    for switch in [("OUTBOX_PROCESSOR_ENABLED", "false"), ("OUTBOX_AUTO_START", "false")] {
        let outbox = World::default().application(&[switch]).start().await.unwrap();
        let ended = outbox.ended();
        tokio::pin!(ended);
        tokio::select! {
            biased;
            ended = &mut ended => panic!("nothing has ended: {ended:?}"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(outbox.shutdown().await.unwrap().delivered, 0);
        ended.await.unwrap();
    }
}
