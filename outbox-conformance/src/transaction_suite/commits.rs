//! What is committed, and what is left when nothing is.

use std::sync::Arc;

use outbox_core::TransactionPolicy;

use super::TransactionFixture;
use super::work::{COUNT, INSERT, accounts, message, nothing_is_open, payloads};

/// After the commit both are there, before it neither.
pub async fn rows_and_messages_are_committed_together<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.execute(INSERT).await.unwrap();
    scope.add(message("a"));
    assert_eq!(scope.number(COUNT).await.unwrap(), 1);
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    scope.commit().await.unwrap();
    assert_eq!(look.number(COUNT).await.unwrap(), 1);
    assert_eq!(payloads(&*fixture).await, ["a"]);
}

/// The order of `seq` is the order of `add`, across `flush`.
pub async fn messages_come_in_the_order_they_were_added<F: TransactionFixture>(fixture: Arc<F>) {
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for (index, payload) in expected.iter().enumerate() {
        scope.add(message(payload));
        if index == 7 {
            scope.flush().await.unwrap();
        }
    }
    scope.commit().await.unwrap();
    assert_eq!(payloads(&*fixture).await, expected);
}

/// A large number of messages is as good as one.
pub async fn a_thousand_messages_are_one_commit<F: TransactionFixture>(fixture: Arc<F>) {
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    for number in 0..1_000 {
        scope.add(message(&number.to_string()));
    }
    scope.commit().await.unwrap();
    assert_eq!(payloads(&*fixture).await.len(), 1_000);
}

/// Neither rows nor messages, also not those that were written before.
pub async fn a_rollback_leaves_nothing<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.execute(INSERT).await.unwrap();
    scope.add(message("a"));
    scope.flush().await.unwrap();
    scope.add(message("b"));
    scope.rollback().await;
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    assert_eq!(fixture.commits(), 0);
}

/// Its locks are gone at once, not when its connection is used again.
pub async fn a_dropped_transaction_leaves_nothing_open<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    for _ in 0..3 {
        let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
        scope.execute(INSERT).await.unwrap();
        scope.add(message("a"));
        scope.flush().await.unwrap();
        drop(scope);
    }
    nothing_is_open(&*fixture).await;
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
}

/// `flush` is only a matter of time: what it wrote is committed with the rest.
pub async fn messages_can_be_written_before_the_commit<F: TransactionFixture>(fixture: Arc<F>) {
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.flush().await.unwrap();
    scope.add(message("a"));
    scope.flush().await.unwrap();
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    scope.commit().await.unwrap();
    assert_eq!(payloads(&*fixture).await, ["a"]);
    assert_eq!(fixture.commits(), 1);
}

/// The hook is called once per commit with messages, and not without.
pub async fn the_relay_is_woken_after_commits_with_messages<F: TransactionFixture>(fixture: Arc<F>) {
    let scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.commit().await.unwrap();
    assert_eq!(fixture.commits(), 0);
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.add(message("a"));
    scope.add(message("b"));
    scope.commit().await.unwrap();
    assert_eq!(fixture.commits(), 1);
}

/// Whatever was changed of a session for a transaction is changed back, however it ended: the next user of a pool's
/// connection finds what he would have found.
pub async fn a_connection_comes_back_as_it_was<F: TransactionFixture>(fixture: Arc<F>) {
    accounts(&*fixture).await;
    let sql = fixture.sql();
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.add(message("a"));
    scope.commit().await.unwrap();
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.execute(INSERT).await.unwrap();
    scope.rollback().await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    super::work::end(&*fixture, &mut *scope).await;
    scope.add(message("b"));
    scope.commit().await.unwrap_err();
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.execute(INSERT).await.unwrap();
    drop(scope);
    nothing_is_open(&*fixture).await;
    // Of the pool, where there is one: some of these are the ones from above.
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = fixture.connect().await;
        assert_eq!(connection.number(sql.session).await.unwrap(), 0, "the session is as it was");
        connections.push(connection);
    }
    connections[0].execute(INSERT).await.unwrap();
    assert_eq!(connections[1].number(COUNT).await.unwrap(), 1, "each statement is its own transaction");
}
