//! What a transport does while its broker is dead, frozen, or coming back. Each case has a broker of its own.

use std::collections::HashMap;
use std::sync::Arc;

use outbox_core::{OutboxMessage, PublishErrorKind, Transport};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::TransportFixture;
use super::publishing::{
    MARGIN, PublishResult, all_confirmed, batches, holds_exactly, is_outage, kind, large, never_arrive,
    publish_all, publish_until_confirmed, text, texts,
};

/// While the broker is dead, every call ends in its time, as unavailable or unknown: nothing is confirmed, and nothing
/// uses up attempts.
pub async fn a_dead_broker_is_never_a_success<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("dead"));
    publish_all(&*transport, &texts(&topic, 3)).await;
    fixture.broker().unwrap().kill().await;
    for _ in 0..5 {
        let results = in_time(&*transport, &texts(&topic, 20)).await;
        assert!(results.iter().all(is_outage), "{results:?}");
        transport.reset().await;
    }
    let error = transport.check().await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error}");
    let results = in_time(&*transport, &texts(&topic, 1)).await;
    assert_eq!(kind(&results[0]), Some(PublishErrorKind::Unavailable), "by now it is known: {results:?}");
}

/// The same transport works again after a restart, without anybody's help.
pub async fn publishing_resumes_after_a_restart<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("back"));
    let broker = fixture.broker().unwrap();
    let mut messages = Vec::new();
    for round in 0..3 {
        let message = text(&topic, format!("round {round}"));
        broker.kill().await;
        let results = in_time(&*transport, std::slice::from_ref(&message)).await;
        assert!(is_outage(&results[0]), "{results:?}");
        transport.reset().await;
        broker.start().await;
        publish_until_confirmed(&*transport, &message).await;
        messages.push(message);
    }
    transport.check().await.unwrap();
    holds_exactly(&*fixture, &topic, &messages).await;
}

/// A message that failed while the broker was dead stays failed: no client keeps it and sends it after the reset, when
/// the row may belong to somebody else.
pub async fn what_failed_while_the_broker_was_dead_never_arrives<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("late"));
    let before = text(&topic, "before");
    publish_all(&*transport, std::slice::from_ref(&before)).await;
    fixture.broker().unwrap().kill().await;
    // More than a client's buffer: a little of it might get lost by luck.
    let failed: Vec<OutboxMessage> = (0..40).map(|_| large(&topic, 50_000)).collect();
    // At once, so that the client may not have noticed yet, and again, when it has.
    for _ in 0..2 {
        let results = in_time(&*transport, &failed).await;
        assert!(results.iter().all(is_outage), "{results:?}");
    }
    transport.reset().await;
    fixture.broker().unwrap().start().await;
    let after = text(&topic, "after");
    publish_until_confirmed(&*transport, &after).await;
    never_arrive(&*fixture, &topic, &failed).await;
    holds_exactly(&*fixture, &topic, &[before, after]).await;
}

/// A broker that stands still confirms nothing, in the time that was promised; and after the reset, what had not left
/// this process never will.
pub async fn a_reset_drops_what_a_frozen_broker_has_not_taken<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("frozen"));
    publish_all(&*transport, &[text(&topic, "before")]).await;
    fixture.broker().unwrap().freeze().await;
    // Far more than the operating system takes into its own buffers, which nobody can take back.
    let count = transport.capabilities().max_batch.min(60);
    let batch: Vec<OutboxMessage> = (0..count).map(|_| large(&topic, 900_000)).collect();
    let results = in_time(&*transport, &batch).await;
    assert!(results.iter().all(is_outage), "{results:?}");
    transport.reset().await;
    fixture.broker().unwrap().thaw().await;
    publish_until_confirmed(&*transport, &text(&topic, "after")).await;
    never_arrive(&*fixture, &topic, &batch[count / 2..]).await;
}

/// The broker is killed in the middle of a stream of calls. Whatever was confirmed is there after its restart, and
/// publishing the rest again completes it: once each, where the broker drops second copies.
pub async fn confirmed_messages_survive_a_kill<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("killed"));
    let broker = fixture.broker().unwrap();
    let mut outcomes = Outcomes::default();
    for round in 0..3 {
        // In the middle of it, each time a little later.
        let (calls, confirmed) = (Semaphore::new(0), 5 * (round + 1));
        let (calls, ()) = tokio::join!(publish_until_cut(&*transport, &topic, &calls), async {
            drop(calls.acquire_many(confirmed).await);
            broker.kill().await;
        });
        transport.reset().await;
        outcomes.confirmed.extend(calls.confirmed);
        outcomes.failed.extend(calls.failed);
        broker.start().await;
        publish_until_confirmed(&*transport, &text(&fixture.topic("marker"), "up")).await;
    }
    let mut copies: HashMap<String, usize> = HashMap::new();
    for received in fixture.read_back(&topic).await {
        *copies.entry(received.id).or_default() += 1;
    }
    assert!(!outcomes.confirmed.is_empty() && !outcomes.failed.is_empty());
    for message in &outcomes.confirmed {
        assert!(copies.contains_key(&message.id().to_string()), "{message:?} was confirmed and is lost");
    }
    for batch in batches(&*transport, &outcomes.failed) {
        all_confirmed(&transport.publish(&batch).await, batch.len());
    }
    if transport.capabilities().dedup_window.is_some() {
        let all: Vec<OutboxMessage> = outcomes.confirmed.into_iter().chain(outcomes.failed).collect();
        holds_exactly(&*fixture, &topic, &all).await;
    }
}

#[derive(Default)]
struct Outcomes {
    confirmed: Vec<OutboxMessage>,
    failed: Vec<OutboxMessage>,
}

/// Batch after batch, until one fails. Adds a permit for each.
async fn publish_until_cut(transport: &dyn Transport, topic: &str, calls: &Semaphore) -> Outcomes {
    let mut outcomes = Outcomes::default();
    while outcomes.failed.is_empty() {
        let batch = texts(topic, 50);
        calls.add_permits(1);
        for (message, result) in batch.iter().zip(in_time(transport, &batch).await) {
            match result {
                Ok(()) => outcomes.confirmed.push(message.clone()),
                Err(_) => {
                    assert!(is_outage(&result), "{result:?}");
                    outcomes.failed.push(message.clone());
                }
            }
        }
    }
    outcomes
}

/// Publishes, and checks that it took no longer than the transport says.
async fn in_time(transport: &dyn Transport, batch: &[OutboxMessage]) -> Vec<PublishResult> {
    let (most, begun) = (transport.capabilities().max_send_time + MARGIN, Instant::now());
    let results = transport.publish(batch).await;
    assert!(begun.elapsed() < most, "publish took {:?}, at most {most:?} were promised", begun.elapsed());
    assert_eq!(results.len(), batch.len(), "one result per message");
    results
}
