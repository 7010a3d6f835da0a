//! Fresh and duplicate: what a transaction leaves in the inbox, however it ends.

use std::sync::Arc;

use outbox_core::{Admission, MessageId, Processed};

use super::InboxFixture;
use super::work::{BILLING, begin, handle, look_at};
use crate::transaction_suite::work::{COUNT, INSERT, accounts, message, nothing_is_open, payloads};

/// The effects and the record of the message are committed together; whoever comes later does nothing.
pub async fn a_committed_message_is_a_duplicate<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    let mut guard = begin(&*fixture, &id).await;
    assert_eq!(guard.admission(), Admission::Fresh);
    guard.execute(INSERT).await.unwrap();
    assert_eq!(look.number(COUNT).await.unwrap(), 0, "nothing is seen before the commit");
    assert_eq!(guard.commit().await.unwrap(), Processed::Applied(()));
    assert_eq!(look.number(COUNT).await.unwrap(), 1);
    for _ in 0..2 {
        let guard = begin(&*fixture, &id).await;
        assert_eq!(guard.admission(), Admission::Duplicate);
        assert_eq!(guard.commit().await.unwrap(), Processed::Duplicate);
    }
    assert_eq!(look_at(&*fixture, BILLING, &MessageId::new()).await, Admission::Fresh, "another message");
}

/// Effects and record are gone together.
pub async fn a_rolled_back_message_is_fresh<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    for _ in 0..2 {
        let mut guard = begin(&*fixture, &id).await;
        assert_eq!(guard.admission(), Admission::Fresh);
        guard.execute(INSERT).await.unwrap();
        guard.add(message("a"));
        guard.flush().await.unwrap();
        guard.rollback().await;
    }
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    handle(&*fixture, BILLING, &id).await;
}

/// A guard that is dropped rolls back, and its locks are gone.
pub async fn a_dropped_guard_leaves_nothing_open<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    // Several, so that a connection that was not given back properly would be missed.
    for _ in 0..3 {
        let mut guard = begin(&*fixture, &id).await;
        assert_eq!(guard.admission(), Admission::Fresh);
        guard.execute(INSERT).await.unwrap();
        guard.add(message("a"));
        guard.flush().await.unwrap();
        drop(guard);
        nothing_is_open(&*fixture).await;
    }
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    handle(&*fixture, BILLING, &id).await;
}

/// Who admits the same message again in the same transaction is told that its effects are there. As with a list.
pub async fn a_message_is_fresh_once_in_its_own_transaction<F: InboxFixture>(fixture: Arc<F>) {
    let id = MessageId::new();
    let admissions = fixture.admit_all(BILLING, &[id, id], true).await.unwrap();
    assert_eq!(admissions, [Admission::Fresh, Admission::Duplicate]);
    assert_eq!(look_at(&*fixture, BILLING, &id).await, Admission::Duplicate);
}

/// Effects that were applied to a duplicate all the same are not committed, nor are its messages.
pub async fn what_is_done_for_a_duplicate_is_rolled_back<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    handle(&*fixture, BILLING, &id).await;
    let mut guard = begin(&*fixture, &id).await;
    assert_eq!(guard.admission(), Admission::Duplicate);
    guard.execute(INSERT).await.unwrap();
    guard.add(message("a"));
    guard.flush().await.unwrap();
    guard.add(message("b"));
    assert_eq!(guard.commit().await.unwrap(), Processed::Duplicate);
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    assert_eq!(fixture.commits(), 0);
}

/// One commit for the record of the message, its effects and what is sent because of it.
pub async fn messages_are_committed_with_the_effects<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    let mut guard = begin(&*fixture, &id).await;
    guard.execute(INSERT).await.unwrap();
    guard.add(message("a"));
    guard.flush().await.unwrap();
    guard.add(message("b"));
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    assert_eq!(guard.commit().await.unwrap(), Processed::Applied(()));
    assert_eq!(payloads(&*fixture).await, ["a", "b"]);
    assert_eq!(look.number(COUNT).await.unwrap(), 1);
    assert_eq!(fixture.commits(), 1, "the relay is woken once");
    assert_eq!(look_at(&*fixture, BILLING, &id).await, Admission::Duplicate);
}

/// However a message was admitted, the next user of a pool's connection finds what he would have found.
pub async fn a_connection_comes_back_from_an_inbox_as_it_was<F: InboxFixture>(fixture: Arc<F>) {
    accounts(&*fixture).await;
    let id = MessageId::new();
    handle(&*fixture, BILLING, &id).await;
    assert_eq!(begin(&*fixture, &id).await.commit().await.unwrap(), Processed::Duplicate);
    assert_eq!(look_at(&*fixture, BILLING, &MessageId::new()).await, Admission::Fresh);
    drop(begin(&*fixture, &id).await);
    let _ = fixture.admit_all(BILLING, &[id, MessageId::new()], true).await.unwrap();
    // Of the pool, where there is one: some of these are the ones from above.
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = fixture.connect().await;
        assert_eq!(connection.number(fixture.sql().session).await.unwrap(), 0, "the session is as it was");
        connections.push(connection);
    }
    connections[0].execute(INSERT).await.unwrap();
    assert_eq!(connections[1].number(COUNT).await.unwrap(), 1, "each statement is its own transaction");
}
