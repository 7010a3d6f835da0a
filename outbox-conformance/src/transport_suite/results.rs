//! Each message of a call gets the result that is true for it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::join_all;
use outbox_core::{OutboxMessage, PublishErrorKind, Transport};

use super::TransportFixture;
use super::publishing::{
    all_confirmed, batches, builder, holds_exactly, is_outage, kind, large, publish_all, text, texts,
};
use crate::offered;

/// No message, no result, nothing published.
pub async fn an_empty_batch_publishes_nothing<F: TransportFixture>(fixture: Arc<F>) {
    assert!(fixture.transport().publish(&[]).await.is_empty());
    assert!(fixture.read_back(&fixture.topic("empty")).await.is_empty());
}

/// As many messages as the capabilities allow in one call.
pub async fn a_full_batch_is_confirmed<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("full"));
    let messages = texts(&topic, transport.capabilities().max_batch);
    all_confirmed(&transport.publish(&messages).await, messages.len());
    holds_exactly(&*fixture, &topic, &messages).await;
}

/// Calls run at the same time, together with as many messages as may be in flight.
pub async fn calls_may_run_at_the_same_time<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("together"));
    let capabilities = transport.capabilities();
    let each = (capabilities.max_in_flight / 4).clamp(1, capabilities.max_batch);
    let messages = texts(&topic, each * 4);
    for _ in 0..3 {
        let calls = messages.chunks(each).map(|batch| transport.publish(batch));
        for results in join_all(calls).await {
            all_confirmed(&results, each);
        }
    }
    let copies = if capabilities.dedup_window.is_some() { 1 } else { 3 };
    let expected: Vec<OutboxMessage> = std::iter::repeat_n(messages, copies).flatten().collect();
    holds_exactly(&*fixture, &topic, &expected).await;
}

/// Bad messages between good ones: every result stands at the place of its message, and the good ones are delivered.
pub async fn each_message_gets_its_own_result<F: TransportFixture>(fixture: Arc<F>) {
    let topic = fixture.topic("mixed");
    let mut batch = vec![text(&topic, "good 0")];
    let mut expected = vec![None];
    let mut add = |bad: Option<OutboxMessage>, kind| {
        if let Some(bad) = bad {
            batch.push(bad);
            expected.push(Some(kind));
        }
        batch.push(text(&topic, format!("good {}", batch.len())));
        expected.push(None);
    };
    for _ in 0..3 {
        let oversized = fixture.oversized().map(|size| large(&topic, size));
        let unroutable = fixture.unroutable_topic().map(|topic| text(&topic, "to nowhere"));
        add(oversized, PublishErrorKind::Rejected);
        add(unroutable, PublishErrorKind::Retryable);
    }
    for round in 0..5 {
        let results = fixture.transport().publish(&batch).await;
        let kinds: Vec<_> = results.iter().map(kind).collect();
        assert_eq!(kinds, expected, "round {round}: {results:?}");
    }
    let good: Vec<OutboxMessage> =
        batch.into_iter().zip(&expected).filter(|(_, kind)| kind.is_none()).map(|(good, _)| good).collect();
    if fixture.transport().capabilities().dedup_window.is_some() {
        holds_exactly(&*fixture, &topic, &good).await;
    } else {
        let copies: Vec<OutboxMessage> = std::iter::repeat_n(good, 5).flatten().collect();
        holds_exactly(&*fixture, &topic, &copies).await;
    }
}

/// With pipelined order: behind a message that failed, nothing of its key is accepted, and other keys go on.
pub async fn a_failed_message_stops_its_key<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("stopped"));
    let bad = fixture.oversized().filter(|_| transport.capabilities().pipelined_order);
    let Some(size) = offered("pipelined order with a limit of size", bad) else {
        return;
    };
    let of_key =
        |key: &str, n: usize| builder(&topic, format!("{key}{n}")).ordering_key(key).build().unwrap();
    let mut bad = large(&topic, size).into_parts();
    bad.ordering_key = of_key("a", 0).ordering_key().cloned();
    let mut batch: Vec<OutboxMessage> = (0..10).flat_map(|n| [of_key("a", n), of_key("b", n)]).collect();
    batch.insert(4, OutboxMessage::stored(bad));
    let results = transport.publish(&batch).await;
    assert_eq!(kind(&results[4]), Some(PublishErrorKind::Rejected));
    for (position, (result, message)) in results.iter().zip(&batch).enumerate() {
        let stopped = position >= 4 && message.ordering_key() == batch[4].ordering_key();
        assert_eq!(result.is_err(), stopped, "message {position}: {result:?}");
    }
    let accepted: Vec<OutboxMessage> = batch
        .into_iter()
        .zip(&results)
        .filter(|(_, result)| result.is_ok())
        .map(|(message, _)| message)
        .collect();
    holds_exactly(&*fixture, &topic, &accepted).await;
}

/// With a dedup window: the same id twice is one message, and both times a success.
pub async fn a_second_copy_is_dropped_and_confirmed<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("twice"));
    let messages = texts(&topic, 20);
    publish_all(&*transport, &messages).await;
    if transport.capabilities().dedup_window.is_some() {
        publish_all(&*transport, &messages).await;
        let doubled = [messages[0].clone(), messages[0].clone()];
        all_confirmed(&transport.publish(&doubled).await, 2);
    }
    holds_exactly(&*fixture, &topic, &messages).await;
}

/// A call that is dropped half-way, and the reset that the relay makes then, leave a transport that works.
pub async fn a_dropped_call_harms_nobody<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("dropped"));
    let messages = texts(&topic, transport.capabilities().max_batch.min(100));
    // From "just begun" to "nearly done".
    for polls in 1..=30 {
        drop_after(polls, transport.publish(&messages)).await;
        transport.reset().await;
    }
    all_confirmed(&transport.publish(&messages).await, messages.len());
    if transport.capabilities().dedup_window.is_some() {
        holds_exactly(&*fixture, &topic, &messages).await;
    }
}

/// A reset while other calls run: they may end as unknown or not sent, never as a refusal, and what they confirm is
/// there.
pub async fn a_reset_costs_other_calls_at_most_certainty<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("reset"));
    let messages = texts(&topic, 400);
    let (mut calls, mut confirmed) = (Vec::new(), Vec::new());
    for part in messages.chunks(100) {
        let (transport, batches) = (transport.clone(), batches(&*transport, part));
        calls.push(tokio::spawn(async move {
            let mut confirmed = Vec::new();
            for batch in batches.iter().flat_map(|batch| batch.chunks(10)) {
                for (result, message) in transport.publish(batch).await.iter().zip(batch) {
                    match result {
                        Ok(()) => confirmed.push(message.id().to_string()),
                        Err(_) => assert!(is_outage(result), "{result:?}"),
                    }
                }
            }
            confirmed
        }));
    }
    let stray = text(&fixture.topic("stray"), "stray");
    resets(transport.clone(), stray).await;
    for call in calls {
        confirmed.extend(call.await.unwrap());
    }
    let found: Vec<String> =
        fixture.read_back(&topic).await.into_iter().map(|received| received.id).collect();
    for id in confirmed {
        assert!(found.contains(&id), "{id} was confirmed and is not there");
    }
    publish_all(&*transport, &[text(&topic, "afterwards")]).await;
}

/// Each reset after a call that was dropped, so that there is something to reset.
async fn resets(transport: Arc<dyn Transport>, stray: OutboxMessage) {
    for _ in 0..20 {
        drop_after(1, transport.publish(std::slice::from_ref(&stray))).await;
        transport.reset().await;
        tokio::task::yield_now().await;
    }
}

/// Polls a call at most so often, and drops it.
async fn drop_after(polls: usize, call: impl Future) {
    let (mut call, mut left) = (pin!(call), polls);
    poll_fn(|context| {
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}
