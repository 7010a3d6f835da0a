use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outbox_core::{
    DeadLetterQuery, MessageId, OperatorAction, OutboxAdmin, OutboxMessage, PublishErrorKind,
    TransportCapabilities,
};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::{OnDead, Relay, RetryPolicy};
use tokio::time::Instant;

use crate::gate::{Closed, Gate};
use crate::harness::*;

async fn dead(store: &MemoryStore) -> Vec<(usize, String, u16)> {
    let mut dead = store.dead_letters(&DeadLetterQuery { limit: 1000, ..Default::default() }).await.unwrap();
    dead.sort_by_key(|letter| letter.seq);
    dead.into_iter().map(|letter| (number(&letter.message), letter.reason, letter.attempts)).collect()
}

fn reject(victim: &OutboxMessage) -> impl Fn(&OutboxMessage, u32) -> Verdict + Send + Sync + 'static {
    let victim: MessageId = *victim.id();
    move |message, _| match *message.id() == victim {
        true => Verdict::Fail(PublishErrorKind::Rejected),
        false => Verdict::Accept,
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_message_is_tried_on_schedule_and_then_dead() {
    let store = MemoryStore::new();
    let tries: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&tries);
    let broker = plain_broker().with_behaviour(move |_, _| {
        seen.lock().unwrap().push(Instant::now());
        Verdict::Fail(PublishErrorKind::Retryable)
    });
    store.enqueue_all(&[keyed("k", 0)]);
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()));
    let relay = start(relay.configure(|config| config.retry.jitter = 0.0)).await;
    drained(&relay).await;
    let tries = tries.lock().unwrap().clone();
    let gaps: Vec<u64> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(gaps, [5, 15, 60, 300, 900], "each pause of the schedule is made");
    assert_eq!(dead(&store).await, [(0, "attempts exhausted".to_owned(), 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_retrying_message_holds_its_key_and_nobody_else() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|message, nth| {
        let fails = message.ordering_key().unwrap().as_str() == "slow" && number(message) == 0 && nth <= 2;
        if fails { Verdict::Fail(PublishErrorKind::Retryable) } else { Verdict::Accept }
    });
    let slow: Vec<_> = (0..5).map(|n| keyed("slow", n)).collect();
    let fast: Vec<_> = (0..5).map(|n| keyed("fast", n)).collect();
    store.enqueue_all(&slow);
    store.enqueue_all(&fast);
    let relay = relay(&store, &broker).await;
    until("the other key is through", || broker.delivered().len() == 5).await;
    assert_eq!(store.deferred().len(), 5, "the whole key waits in the deferred table");
    // Later ones of the key join it there.
    let later: Vec<_> = (5..8).map(|n| keyed("slow", n)).collect();
    store.enqueue_all(&later);
    until("they have joined", || store.deferred().len() == 8).await;
    assert_eq!(broker.delivered().len(), 5);
    drained(&relay).await;
    assert_in_order(&broker.delivered());
    assert_eq!(broker.delivered().len(), 13);
    assert_eq!(dead(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn park_takes_the_rest_of_the_key_along_until_it_is_replayed_in_order() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..6).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[2]));
    store.enqueue_all(&messages[..4]);
    store.enqueue_all(&[keyed("other", 0)]);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    store.enqueue_all(&messages[4..]);
    drained(&relay).await;
    let parked = |n| (n, "parked behind another".to_owned(), 0);
    let expected = [(2, "rejected".to_owned(), 1), parked(3), parked(4), parked(5)];
    assert_eq!(dead(&store).await, expected);
    let of_key = || {
        let mut delivered = broker.delivered();
        delivered.retain(|message| message.ordering_key().unwrap().as_str() == "k");
        numbers(&delivered)
    };
    assert_eq!(of_key(), [0, 1]);

    broker.set_behaviour(|_, _| Verdict::Accept);
    let replayed = store.request(&[*messages[2].id()], OperatorAction::Replay).await.unwrap();
    assert_eq!(replayed, 1);
    // New messages of the key keep their place behind those that are replayed.
    let after = [keyed("k", 6)];
    store.enqueue_all(&after);
    arrived(&broker, 8).await;
    drained(&relay).await;
    assert_eq!(of_key(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(dead(&store).await, []);
    store.enqueue_all(&[keyed("k", 7)]);
    drained(&relay).await;
    assert_eq!(number(broker.delivered().last().unwrap()), 7, "the key flows again");
}

#[tokio::test(start_paused = true)]
async fn a_replayed_key_is_held_until_all_of_it_is_delivered() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..40).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[0]));
    broker.set_latency(Duration::from_millis(20));
    store.enqueue_all(&messages);
    // Pages much smaller than the key, so that new messages are read while most of it still waits.
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .configure(|config| config.batch_size = 3);
    let relay = start(relay).await;
    drained(&relay).await;
    assert_eq!(dead(&store).await.len(), 40);
    broker.set_behaviour(|_, _| Verdict::Accept);
    store.request(&[*messages[0].id()], OperatorAction::Replay).await.unwrap();
    until("the replay has begun", || !broker.delivered().is_empty()).await;
    store.enqueue_all(&(40..60).map(|n| keyed("k", n)).collect::<Vec<_>>());
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), (0..60).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_replay_is_written_queues_behind_it() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..3).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[0]));
    store.enqueue_all(&messages);
    let mut gate = Gate::new(&store);
    gate.settle_latency = Some(Duration::from_secs(1));
    let relay = start(Relay::shared(Arc::new(gate), Arc::new(broker.clone()))).await;
    until("the key is parked", || store.dead().len() == 3).await;
    drained(&relay).await;
    broker.set_behaviour(|_, _| Verdict::Accept);
    let asked = store.calls("settle");
    store.request(&[*messages[0].id()], OperatorAction::Replay).await.unwrap();
    until("it is being written", || store.calls("settle") > asked).await;
    store.enqueue_all(&[keyed("k", 3)]);
    relay.waker().wake();
    arrived(&broker, 4).await;
    store.enqueue_all(&[keyed("k", 4)]);
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), [0, 1, 2, 3, 4]);
    assert_eq!(dead(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_being_written_keep_nothing_else_waiting() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|_, _| Verdict::Fail(PublishErrorKind::Rejected));
    let messages: Vec<_> = (0..250).map(unkeyed).collect();
    store.enqueue_all(&messages);
    let mut gate = Gate::new(&store);
    gate.reply_latency = Duration::from_millis(1);
    let relay = start(Relay::shared(Arc::new(gate.clone()), Arc::new(broker.clone()))).await;
    drained(&relay).await;
    broker.set_behaviour(|_, _| Verdict::Accept);
    gate.close(Closed::Settles);
    let ids: Vec<_> = messages.iter().map(|message| *message.id()).collect();
    store.request(&ids, OperatorAction::Replay).await.unwrap();
    let asked = store.calls("requests");
    until("they are read", || store.calls("requests") > asked + 1).await;
    store.enqueue_all(&[unkeyed(250)]);
    relay.waker().wake();
    let reads = relay.stats().reads;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(numbers(&broker.delivered()), [250]);
    // One each 100 ms, and the usual looks. One after the other, these would be 2,000.
    let reads = relay.stats().reads - reads;
    assert!(reads < 50, "{reads} reads in 2 seconds");
    gate.open();
    arrived(&broker, 251).await;
    drained(&relay).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_can_not_be_written_keeps_nobody_waiting() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..3).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[0]));
    store.enqueue_all(&messages);
    let gate = Gate::new(&store);
    let relay = start(Relay::shared(Arc::new(gate.clone()), Arc::new(broker.clone()))).await;
    until("the key is parked", || store.dead().len() == 3).await;
    broker.set_behaviour(|_, _| Verdict::Accept);
    gate.refuse_replays(true);
    store.request(&[*messages[0].id()], OperatorAction::Replay).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let settles = relay.stats().settles;
    for number in 0..60 {
        store.enqueue_all(&[keyed("other", number)]);
        relay.waker().wake();
        let begin = Instant::now();
        arrived(&broker, number + 1).await;
        until("it is settled", || store.pending().is_empty()).await;
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Once for each message, and the replay once or twice.
    let settles = relay.stats().settles - settles;
    assert!((60..65).contains(&settles), "{settles} settles");
    // What comes of the key meanwhile waits.
    store.enqueue_all(&[keyed("k", 3)]);
    gate.refuse_replays(false);
    arrived(&broker, 64).await;
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()[60..]), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_handed_over_although_a_replay_can_not_be_written() {
    let store = MemoryStore::with_shards(2);
    let broker = plain_broker().with_behaviour(|_, _| Verdict::Fail(PublishErrorKind::Rejected));
    let messages: Vec<_> = (0..20).map(|k| keyed(&format!("k{k}"), 0)).collect();
    store.enqueue_all(&messages);
    let mut gate = Gate::new(&store);
    gate.settle_latency = Some(Duration::from_secs(12));
    let first = relay_on(Arc::new(gate.clone()), Arc::new(Connection(broker.clone()))).await;
    until("all keys are parked", || store.dead().len() == 20).await;
    broker.set_behaviour(|_, _| Verdict::Accept);
    gate.refuse_replays(true);
    let ids: Vec<_> = messages.iter().map(|message| *message.id()).collect();
    let settles = first.stats().settles;
    store.request(&ids, OperatorAction::Replay).await.unwrap();
    until("one is being written", || first.stats().settles > settles).await;
    let second = relay(&store, &broker).await;
    until("they share", || first.stats().shards == 1 && second.stats().shards == 1).await;
    until("its requests are carried out", || !broker.delivered().is_empty()).await;
    first.shutdown().await.unwrap();
    drained(&second).await;
    arrived(&broker, 20).await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_ends_although_a_replay_can_not_be_written() {
    let store = MemoryStore::new();
    let messages = [keyed("k", 0)];
    let broker = plain_broker().with_behaviour(reject(&messages[0]));
    store.enqueue_all(&messages);
    let gate = Gate::new(&store);
    let first = relay_on(Arc::new(gate.clone()), Arc::new(Connection(broker.clone()))).await;
    until("the key is parked", || store.dead().len() == 1).await;
    broker.set_behaviour(|_, _| Verdict::Accept);
    gate.refuse_replays(true);
    store.request(&[*messages[0].id()], OperatorAction::Replay).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let begin = Instant::now();
    first.shutdown().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    // The next one finds the request.
    let second = relay(&store, &broker).await;
    arrived(&broker, 1).await;
    drained(&second).await;
}

#[tokio::test(start_paused = true)]
async fn discarding_the_head_of_a_parked_key_lets_the_rest_go() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..4).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[1]));
    store.enqueue_all(&messages);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    assert_eq!(dead(&store).await.len(), 3);
    store.request(&[*messages[1].id()], OperatorAction::Discard).await.unwrap();
    arrived(&broker, 3).await;
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), [0, 2, 3]);
    assert_eq!(dead(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn skip_leaves_a_hole_and_goes_on() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..4).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[1]));
    store.enqueue_all(&messages);
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .on_dead("orders".parse().unwrap(), OnDead::Skip);
    let relay = start(relay).await;
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), [0, 2, 3]);
    assert_eq!(dead(&store).await, [(1, "rejected".to_owned(), 1)]);
    // A replayed one comes late, and uses its key like any other.
    broker.set_behaviour(|_, _| Verdict::Accept);
    store.request(&[*messages[1].id()], OperatorAction::Replay).await.unwrap();
    arrived(&broker, 4).await;
    assert_eq!(numbers(&broker.delivered()), [0, 2, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn block_stays_at_the_head_until_an_operator_decides() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..4).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[1]));
    store.enqueue_all(&messages);
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .on_dead("*".parse().unwrap(), OnDead::Block);
    let relay = start(relay).await;
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(numbers(&broker.delivered()), [0]);
    assert_eq!(dead(&store).await, []);
    // Tried again about every 15 minutes.
    let retried = relay.stats().retried;
    assert!((7..=9).contains(&retried), "{retried}");
    store.request(&[*messages[1].id()], OperatorAction::Discard).await.unwrap();
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), [0, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_head_can_be_tried_at_once() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..3).map(|n| keyed("k", n)).collect();
    let broker = plain_broker().with_behaviour(reject(&messages[0]));
    store.enqueue_all(&messages);
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .on_dead("*".parse().unwrap(), OnDead::Block);
    let relay = start(relay).await;
    until("the head is blocked", || relay.stats().retried == 1).await;
    broker.set_behaviour(|_, _| Verdict::Accept);
    let asked = Instant::now();
    store.request(&[*messages[0].id()], OperatorAction::Replay).await.unwrap();
    drained(&relay).await;
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    assert_eq!(numbers(&broker.delivered()), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_a_key_stops_at_its_first_failure() {
    // With pipelined order a batch has many messages of a key. The broker accepts none behind the failed one, and the
    // relay sends none of them before it has been delivered.
    let store = MemoryStore::new();
    let broker = MemoryTransport::new().with_capabilities(
        TransportCapabilities::new("pipelined").pipelined_order(true).max_batch(64).max_in_flight(64),
    );
    broker.set_behaviour(|message, nth| match number(message) % 7 == 3 && nth == 1 {
        true => Verdict::Fail(PublishErrorKind::Retryable),
        false => Verdict::Accept,
    });
    let messages: Vec<_> = (0..300).map(|n| keyed(&format!("k{}", n % 3), n)).collect();
    store.enqueue_all(&messages);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
    assert_eq!(dead(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_message_may_carry_its_own_number_of_tries() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|_, _| Verdict::Fail(PublishErrorKind::Retryable));
    let once = OutboxMessage::bytes("t", "0").unwrap().max_attempts(1).build().unwrap();
    store.enqueue_all(&[once, unkeyed(1)]);
    let relay = relay(&store, &broker).await;
    until("the first is dead", || store.dead().len() == 1).await;
    assert_eq!(store.deferred().len(), 1);
    drained(&relay).await;
    assert_eq!(dead(&store).await.iter().map(|(_, _, attempts)| *attempts).collect::<Vec<_>>(), [1, 6]);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_retries_of_many() {
    let store = MemoryStore::new();
    let tries: Arc<Mutex<HashMap<MessageId, Vec<Instant>>>> = Arc::default();
    let seen = Arc::clone(&tries);
    let broker = plain_broker().with_behaviour(move |message, nth| {
        seen.lock().unwrap().entry(*message.id()).or_default().push(Instant::now());
        if nth == 1 { Verdict::Fail(PublishErrorKind::Retryable) } else { Verdict::Accept }
    });
    store.enqueue_all(&(0..100).map(unkeyed).collect::<Vec<_>>());
    let mut retry = RetryPolicy::default();
    retry.jitter = 1.0;
    let relay = start(Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone())).retry(retry)).await;
    drained(&relay).await;
    let mut gaps: Vec<f64> =
        tries.lock().unwrap().values().map(|tries| (tries[1] - tries[0]).as_secs_f64()).collect();
    gaps.sort_by(f64::total_cmp);
    assert!(gaps[0] >= 5.0 && gaps[99] <= 10.5, "{} to {}", gaps[0], gaps[99]);
    assert!(gaps[90] - gaps[10] > 2.0, "they are spread out: {} to {}", gaps[10], gaps[90]);
}
