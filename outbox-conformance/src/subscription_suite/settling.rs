//! What is settled does not come again, and what is not does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::SubscribeErrorKind;
use tokio::time::{Instant, interval, timeout};

use super::receiving::{
    PATIENCE, close, ids, member, message, messages, next, options, silent, sorted, take, take_all,
};
use super::{GivenUp, SubscriptionFixture};
use crate::offered;

/// What was acknowledged does not come again, not to the next member either.
pub async fn an_acknowledged_message_does_not_come_again<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut first = member(&*fixture, "acked").await;
    let sent = messages(&*fixture, 30);
    fixture.publish(&sent).await;
    take(&mut *first, sent.len()).await;
    close(first).await;
    let mut second = member(&*fixture, "acked").await;
    let marker = message(&*fixture, "marker").build().unwrap();
    fixture.publish(std::slice::from_ref(&marker)).await;
    assert_eq!(ids(&take(&mut *second, 1).await), [marker.id().to_string()]);
    silent(&mut *second).await;
    close(second).await;
}

/// What a member had not settled when it closed comes to the next one, however it was settled around it.
pub async fn an_unsettled_message_comes_again_after_close<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut first = member(&*fixture, "unsettled").await;
    let sent = messages(&*fixture, 10);
    fixture.publish(&sent).await;
    let mut held = Vec::new();
    for _ in 0..sent.len() {
        held.push(next(&mut *first).await);
    }
    let kept = held.remove(4);
    // The last first: a broker that only knows "up to here" must not take that as settled.
    for delivery in held.drain(..).rev() {
        delivery.ack().await.unwrap();
    }
    let id = *kept.message().unwrap().id();
    drop(kept);
    close(first).await;
    let mut second = member(&*fixture, "unsettled").await;
    loop {
        let again = take(&mut *second, 1).await.remove(0);
        if *again.id() == id {
            break;
        }
    }
    close(second).await;
}

/// What a member had not settled when it vanished without a word comes to another, in the broker's time.
pub async fn what_a_vanished_member_left_comes_again<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut first = member(&*fixture, "vanished").await;
    let sent = messages(&*fixture, 5);
    fixture.publish(&sent).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut *first).await);
    }
    // As a process that is killed: neither settled nor closed.
    drop(held);
    drop(first);
    let mut second = member(&*fixture, "vanished").await;
    let found = take_all(&mut *second, &sent).await;
    assert_eq!(sorted(ids(&found)), sorted(ids(&sent)));
    close(second).await;
}

/// A message that is handed back comes again after its delay and not before, and nobody waits for it meanwhile.
pub async fn a_message_that_is_handed_back_comes_again_after_its_delay<F: SubscriptionFixture>(
    fixture: Arc<F>,
) {
    let mut patient = options(&*fixture, "delayed");
    patient.redeliver_after = Duration::from_secs(20);
    let mut reader = fixture.subscribe(patient).await;
    let sent = messages(&*fixture, 3);
    fixture.publish(&sent).await;
    let delay = Duration::from_secs(2);
    let delivery = next(&mut *reader).await;
    let id = *delivery.message().unwrap().id();
    let before = Instant::now();
    delivery.nack(delay).await.unwrap();
    let others = take(&mut *reader, 2).await;
    assert!(others.iter().all(|other| *other.id() != id), "it came first");
    let again = next(&mut *reader).await;
    assert_eq!(*again.message().unwrap().id(), id);
    // Brokers count in whole milliseconds.
    let waited = before.elapsed() + Duration::from_millis(5);
    assert!(waited >= delay, "it came after {waited:?}");
    assert!(waited < delay + Duration::from_secs(10), "it came after {waited:?}");
    again.ack().await.unwrap();
    silent(&mut *reader).await;
    close(reader).await;
}

/// Each time a message is handed out is counted, also over members.
pub async fn deliveries_are_counted<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "counted").await;
    if offered("count of deliveries", reader.capabilities().counts_deliveries.then_some(())).is_none() {
        close(reader).await;
        return;
    }
    fixture.publish(&messages(&*fixture, 1)).await;
    let mut last = 0;
    for round in 1..=4 {
        let delivery = next(&mut *reader).await;
        let attempt = delivery.attempt().unwrap();
        // A member that closes hands back what it had fetched, and a broker may count that as a delivery.
        let counted = if round == 3 { attempt > last } else { attempt == last + 1 };
        assert!(counted, "attempt {attempt} after attempt {last}");
        last = attempt;
        delivery.nack(Duration::ZERO).await.unwrap();
        if round == 2 {
            close(reader).await;
            reader = member(&*fixture, "counted").await;
        }
    }
    take(&mut *reader, 1).await;
    close(reader).await;
}

/// What is given up is in the dead letters with its reason, and does not come again; what follows does.
pub async fn a_dead_letter_leaves_with_its_reason<F: SubscriptionFixture>(fixture: Arc<F>) {
    let options = options(&*fixture, "poisoned").checked("test").unwrap();
    let mut reader = fixture.subscribe(options.clone()).await;
    let poison = message(&*fixture, "poison").ordering_key("k").header("tenant", "acme").build().unwrap();
    let after = message(&*fixture, "after").ordering_key("k").build().unwrap();
    fixture.publish(std::slice::from_ref(&poison)).await;
    fixture.publish(std::slice::from_ref(&after)).await;
    let delivery = next(&mut *reader).await;
    assert_eq!(delivery.message().unwrap().id(), poison.id());
    delivery.dead_letter("no such customer:\r\n\u{1F980}\0").await.unwrap();
    assert_eq!(ids(&take(&mut *reader, 1).await), [after.id().to_string()]);
    silent(&mut *reader).await;
    close(reader).await;
    let found = fixture.dead_letters(&options).await;
    let [GivenUp { id, reason, group, topic, payload }] = &found[..] else {
        panic!("one dead letter was expected: {found:?}");
    };
    assert_eq!(*id, Some(poison.id().to_string()));
    assert!(reason.starts_with("no such customer:") && reason.contains('\u{1F980}'), "{reason:?}");
    assert!(!reason.contains(['\r', '\n', '\0']), "{reason:?}");
    assert!(group.ends_with("poisoned"), "{group}");
    assert_eq!((topic.as_str(), &payload[..]), (fixture.topic().as_str(), &b"poison"[..]));
}

/// What no outbox has written can be given up too.
pub async fn what_is_no_message_can_be_given_up<F: SubscriptionFixture>(fixture: Arc<F>) {
    let options = options(&*fixture, "refuse").checked("test").unwrap();
    let mut reader = fixture.subscribe(options.clone()).await;
    fixture.publish_foreign(b"\xff\0not ours").await;
    let delivery = next(&mut *reader).await;
    let reason = delivery.message().unwrap_err().error.to_string();
    delivery.dead_letter(&reason).await.unwrap();
    silent(&mut *reader).await;
    close(reader).await;
    let found = fixture.dead_letters(&options).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0].payload[..], &found[0].id), (&b"\xff\0not ours"[..], &None));
    assert_eq!(found[0].reason, reason);
}

/// A delivery whose time is extended is not handed to another member, however long it takes.
pub async fn extended_work_is_not_handed_to_another<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut short = options(&*fixture, "extended");
    short.redeliver_after = Duration::from_secs(2);
    let mut first = fixture.subscribe(short.clone()).await;
    fixture.publish(&messages(&*fixture, 1)).await;
    let mut delivery = next(&mut *first).await;
    let mut second = fixture.subscribe(short).await;
    let mut tick = interval(Duration::from_millis(400));
    for _ in 0..13 {
        tick.tick().await;
        delivery.extend().await.unwrap();
        if let Ok(arrived) = timeout(Duration::from_millis(50), second.next()).await {
            panic!("it is being worked on, and there is {arrived:?}");
        }
    }
    delivery.ack().await.unwrap();
    close(first).await;
    silent(&mut *second).await;
    close(second).await;
}

/// After closing, `next` and `check` are errors, a late receipt is harmless, and closing again is none.
pub async fn nothing_is_received_after_close<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "closed").await;
    fixture.publish(&messages(&*fixture, 2)).await;
    let (first, second) = (next(&mut *reader).await, next(&mut *reader).await);
    reader.close(Duration::from_secs(20)).await.unwrap();
    let closed = |result: Result<_, outbox_core::SubscribeError>| result.unwrap_err().kind();
    assert_eq!(closed(reader.next().await.map(drop)), SubscribeErrorKind::Closed);
    assert_eq!(closed(reader.check().await), SubscribeErrorKind::Closed);
    let late = async {
        let _ = first.ack().await;
        let _ = second.nack(Duration::ZERO).await;
        reader.close(Duration::from_secs(20)).await.unwrap();
    };
    timeout(PATIENCE, late).await.expect("a late receipt hangs");
}

/// No password in any text: not in `Debug`, not in an error, not in what caused it.
pub async fn secrets_are_never_shown<F: SubscriptionFixture>(_fixture: Arc<F>) {
    const CANARY: &str = "c4nary-0f-the-mine";
    let Some((mut reader, mut texts)) = offered("password", F::with_secret(CANARY)) else {
        return;
    };
    let next = timeout(PATIENCE, reader.next()).await.expect("an address where nobody answers is an error");
    let errors = [next.map(drop), reader.check().await, reader.close(Duration::from_secs(1)).await];
    for error in errors.iter().filter_map(|result| result.as_ref().err()) {
        texts.push(format!("{error:?} {error:#?}"));
        let mut next: Option<&dyn Error> = Some(error);
        while let Some(error) = next {
            texts.push(format!("{error} {error:?}"));
            next = error.source();
        }
    }
    assert!(texts.len() > 2, "an address where nobody answers has to be an error");
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
    }
}
