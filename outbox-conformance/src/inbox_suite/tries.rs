//! Tries that are counted outside of the transaction that they are made in.

use std::sync::Arc;

use outbox_core::{ConsumerName, MessageId};

use super::InboxFixture;
use super::work::{BILLING, BOUND, begin, handle, in_time};

fn consumer(name: &str) -> ConsumerName {
    ConsumerName::new(name).unwrap()
}

async fn count<F: InboxFixture>(fixture: &F, name: &str, id: &MessageId) -> u32 {
    fixture.inbox_admin().count_attempt(&consumer(name), id).await.unwrap().unwrap()
}

/// One by one, for each consumer and message by itself.
pub async fn tries_are_counted<F: InboxFixture>(fixture: Arc<F>) {
    let (id, other) = (MessageId::new(), MessageId::new());
    for expected in 1..=3 {
        assert_eq!(count(&*fixture, BILLING, &id).await, expected);
    }
    assert_eq!(count(&*fixture, BILLING, &other).await, 1);
    for name in ["Billing", "billing ", "b\u{ed}lling", &"\u{e9}".repeat(127)] {
        assert_eq!(count(&*fixture, name, &id).await, 1, "{name:?}");
    }
    assert_eq!(count(&*fixture, BILLING, &id).await, 4);
    assert_eq!(count(&*fixture, BILLING, &other).await, 2);
}

/// However many count at the same time: each gets another number, and none is left out.
pub async fn no_try_is_counted_twice<F: InboxFixture>(fixture: Arc<F>) {
    let id = MessageId::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let fixture = Arc::clone(&fixture);
        tasks.spawn(async move {
            let mut counted = Vec::new();
            for _ in 0..25 {
                counted.push(count(&*fixture, BILLING, &id).await);
            }
            counted
        });
    }
    let mut counted = tasks.join_all().await.concat();
    counted.sort_unstable();
    assert_eq!(counted, (1..=100).collect::<Vec<_>>());
}

/// The next one is the first again; those of others stay, and nothing to forget is no error.
pub async fn tries_are_forgotten<F: InboxFixture>(fixture: Arc<F>) {
    let (id, other) = (MessageId::new(), MessageId::new());
    for (name, id) in [(BILLING, &id), (BILLING, &id), (BILLING, &other), ("shipping", &id)] {
        count(&*fixture, name, id).await;
    }
    for _ in 0..2 {
        fixture.inbox_admin().forget_attempts(&consumer(BILLING), &id).await.unwrap();
    }
    assert_eq!(count(&*fixture, BILLING, &id).await, 1);
    assert_eq!(count(&*fixture, BILLING, &other).await, 2);
    assert_eq!(count(&*fixture, "shipping", &id).await, 2);
}

/// It is counted also where the transaction of the effects is rolled back, and has nothing to do with admissions.
pub async fn a_try_outlives_its_transaction<F: InboxFixture>(fixture: Arc<F>) {
    let id = MessageId::new();
    for expected in 1..=2 {
        assert_eq!(count(&*fixture, BILLING, &id).await, expected);
        let guard = begin(&*fixture, &id).await;
        assert_eq!(guard.admission(), outbox_core::Admission::Fresh);
        guard.rollback().await;
    }
}

/// Whoever counts does not wait for the transaction that is at the message.
pub async fn a_try_is_counted_while_the_message_is_in_work<F: InboxFixture>(fixture: Arc<F>) {
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("second transaction that writes at the same time", locks).is_none() {
        return;
    }
    let id = MessageId::new();
    let guard = begin(&*fixture, &id).await;
    for expected in 1..=2 {
        assert_eq!(in_time(BOUND, count(&*fixture, BILLING, &id)).await, expected);
    }
    in_time(BOUND, fixture.inbox_admin().forget_attempts(&consumer(BILLING), &id)).await.unwrap();
    guard.rollback().await;
    assert_eq!(count(&*fixture, BILLING, &id).await, 1);
}

/// What was handled needs no try: by this consumer, and as far as the inbox remembers.
pub async fn what_was_handled_is_not_counted<F: InboxFixture>(fixture: Arc<F>) {
    let (id, admin) = (MessageId::new(), fixture.inbox_admin());
    assert_eq!(count(&*fixture, BILLING, &id).await, 1);
    handle(&*fixture, BILLING, &id).await;
    for _ in 0..2 {
        assert_eq!(admin.count_attempt(&consumer(BILLING), &id).await.unwrap(), None);
    }
    assert_eq!(count(&*fixture, "shipping", &id).await, 1);
    let fresh = MessageId::new();
    handle(&*fixture, BILLING, &fresh).await;
    assert_eq!(admin.count_attempt(&consumer(BILLING), &fresh).await.unwrap(), None);
}

/// One less, down to none.
pub async fn a_try_that_was_none_is_taken_back<F: InboxFixture>(fixture: Arc<F>) {
    let (id, admin) = (MessageId::new(), fixture.inbox_admin());
    let retract = async || admin.retract_attempt(&consumer(BILLING), &id).await.unwrap();
    retract().await;
    for expected in 1..=3 {
        assert_eq!(count(&*fixture, BILLING, &id).await, expected);
    }
    assert_eq!(count(&*fixture, "shipping", &id).await, 1);
    retract().await;
    assert_eq!(count(&*fixture, BILLING, &id).await, 3);
    for _ in 0..4 {
        retract().await;
    }
    assert_eq!(count(&*fixture, BILLING, &id).await, 1);
    assert_eq!(count(&*fixture, "shipping", &id).await, 2);
}
