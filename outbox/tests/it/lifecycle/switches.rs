use outbox::memory::MemoryStore;
use outbox::relay::PublishPath;
use outbox::{CommitHint, DeliveryMode, OutboxAdmin, OutboxWaker, RelayState};

use super::{NEVER_POLLS, World, all_that_can_run, in_time, message, without_database};

#[tokio::test]
async fn everything_is_on_by_default() {
    let world = World::default();
    world.commit(3);
    let outbox = world.application(&[]).start().await.unwrap();
    assert_eq!((outbox.state(), outbox.mode()), (RelayState::Running, DeliveryMode::Transactional));
    world.delivered(3).await;
    assert_eq!(outbox.shutdown().await.unwrap().delivered, 3);
}

#[tokio::test]
async fn without_an_outbox_messages_go_directly_and_no_table_is_touched() {
    for switch in [("OUTBOX_ENABLED", "false"), ("OUTBOX_MODE", "direct")] {
        let world = World { store: MemoryStore::unmigrated(), ..World::default() };
        let (outbox, publisher) =
            world.application(&[switch]).start_with_publisher(world.sink()).await.unwrap();
        assert_eq!((outbox.state(), outbox.mode()), (RelayState::Off, DeliveryMode::Direct));
        assert_eq!(publisher.publish(&message()).await.unwrap(), PublishPath::Direct);
        assert_eq!(world.broker.delivered().len(), 1);
        assert_eq!(outbox.start().await.unwrap(), RelayState::Off, "there is nothing to start");
        outbox.waker().wake();
        outbox.drained().await.unwrap();
        outbox.shutdown().await.unwrap();
        assert_eq!((world.store.all_calls(), outbox.monitor().is_none()), (0, true), "{switch:?}");
    }
}

/// Neither a URL of a database nor one of a broker.
#[tokio::test]
async fn without_an_outbox_no_database_is_asked_for() {
    let nothing = without_database(&[("OUTBOX_ENABLED", "false")]).start().await.unwrap();
    nothing.shutdown().await.unwrap();
    let error = without_database(&[("OUTBOX_TRANSPORT_URL", "memory:")]).start().await.unwrap_err();
    assert!(error.to_string().starts_with("no store URL: set store.url"), "{error}");
}

#[tokio::test]
async fn an_instance_that_does_not_process_writes_and_leaves_it_to_another() {
    let world = World::default();
    let (writer, publisher) = world
        .application(&[("OUTBOX_PROCESSOR_ENABLED", "false")])
        .start_with_publisher(world.sink())
        .await
        .unwrap();
    assert_eq!(publisher.publish(&message()).await.unwrap(), PublishPath::Stored);
    writer.waker().wake();
    assert_eq!((writer.state(), writer.start().await.unwrap()), (RelayState::Off, RelayState::Off));
    all_that_can_run().await;
    assert_eq!((world.store.pending().len(), world.store.calls("claim"), world.owned().await), (1, 0, 0));

    let relay = world.application(&[]).start().await.unwrap();
    // Also for those who do not relay.
    in_time("it is delivered", writer.drained()).await.unwrap();
    assert_eq!(world.broker.delivered().len(), 1);
    assert_eq!((writer.stats().delivered, relay.shutdown().await.unwrap().delivered), (0, 1));
    assert_eq!(writer.shutdown().await.unwrap().delivered, 0);
}

#[tokio::test]
async fn without_auto_start_it_waits_to_be_started() {
    let world = World::default();
    world.commit(1);
    let outbox = world.application(&[("OUTBOX_AUTO_START", "false")]).start().await.unwrap();
    outbox.waker().wake();
    all_that_can_run().await;
    assert_eq!(
        (outbox.state(), world.store.pending().len(), world.owned().await),
        (RelayState::Waiting, 1, 0)
    );

    assert_eq!(outbox.start().await.unwrap(), RelayState::Running);
    world.delivered(1).await;
    assert_eq!(outbox.start().await.unwrap(), RelayState::Running, "again is no error");
    assert_eq!(world.store.stats(100).await.unwrap().relays.len(), 1, "and no second relay");
    assert_eq!(outbox.shutdown().await.unwrap().delivered, 1);
}

#[tokio::test]
async fn a_commit_wakes_the_relay_of_the_same_process_and_may_be_told_not_to() {
    let hints: [fn(&OutboxWaker); 3] = [OutboxWaker::wake, CommitHint::committed, CommitHint::expected];
    for (in_process, hint) in ["true", "false"].into_iter().flat_map(|on| hints.map(|hint| (on, hint))) {
        let world = World::default();
        let variables = [&NEVER_POLLS[..], &[("OUTBOX_WAKEUPS_IN_PROCESS", in_process)]].concat();
        let outbox = world.application(&variables).start().await.unwrap();
        // Handed out before the relay knows what it owns, as an application does.
        let waker = outbox.waker();
        in_time("it owns something", async {
            while outbox.monitor().unwrap().leases().shards == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        all_that_can_run().await;
        let before = world.store.calls("claim");
        world.commit(1);
        hint(&waker);
        if in_process == "true" {
            world.delivered(1).await;
        } else {
            all_that_can_run().await;
            assert_eq!((world.store.calls("claim"), world.store.pending().len()), (before, 1));
        }
        outbox.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn without_hints_polling_delivers() {
    let world = World::default();
    let variables = [("OUTBOX_WAKEUPS_IN_PROCESS", "false"), ("OUTBOX_POLL_INTERVAL", "20ms")];
    let outbox = world.application(&variables).start().await.unwrap();
    for count in 1..=3 {
        world.commit(1);
        outbox.waker().wake();
        world.delivered(count).await;
    }
    outbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_falls_back_wakes_the_relay_by_the_same_connections() {
    let world = World::default();
    let variables = [&NEVER_POLLS[..], &[("OUTBOX_MODE", "direct_first")]].concat();
    let variables = [&variables[..], &[("OUTBOX_RELAY_BREAKER_LONGEST", "250ms")]].concat();
    let (outbox, publisher) = world.application(&variables).start_with_publisher(world.sink()).await.unwrap();
    assert_eq!(publisher.publish(&message()).await.unwrap(), PublishPath::Direct);
    world.broker.down();
    assert_eq!(publisher.publish(&message()).await.unwrap(), PublishPath::Fallback);
    world.broker.up();
    world.delivered(2).await;
    assert_eq!(outbox.shutdown().await.unwrap().delivered, 1);
    assert_eq!(publisher.stats().all(), 2);
}
