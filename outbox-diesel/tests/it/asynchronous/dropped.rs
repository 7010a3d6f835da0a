//! Transactions whose end nobody waits for: the same for every database, unless it says otherwise.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::Error;
use diesel_async::{AsyncConnection, TransactionManager};
use outbox_core::{OutboxMessage, TransactionError, TransactionPolicy};
use outbox_diesel::{AsyncDieselInbox, Backend};
use outbox_sql::Dialect;
use tokio::sync::Notify;

use super::fixture::{Fixture, TestDatabase};
use super::writer::{ids, message, nothing_is_open};

/// A dropped transaction holds no lock, also while the caller keeps its connection; and whoever goes on with that is told
/// that he must not. Not with SQLite, where nothing can be sent in the meantime.
#[cfg(any(feature = "async-postgres", feature = "async-mysql"))]
pub(crate) async fn a_dropped_transaction_lets_go_of_its_locks<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut connection = fixture.users.get().await.unwrap();
    let mut tx = fixture.writer.begin(&mut *connection).await.unwrap();
    tx.add(message());
    tx.flush().await.unwrap();
    drop(tx);
    nothing_is_open(&fixture).await;
    assert_eq!(fixture.fresh_ids().await, []);
    let again = fixture.writer.begin(&mut *connection).await.map(drop);
    assert!(matches!(again, Err(Error::BrokenTransactionManager)), "{again:?}");
    let own = connection.transaction::<(), Error, _>(async |_| Ok(())).await;
    assert!(matches!(own, Err(Error::BrokenTransactionManager)), "{own:?}");
}

/// The connection of a dropped transaction takes no other, and its pool closes it.
pub(crate) async fn a_dropped_transaction_takes_its_connection_along<C: TestDatabase>(
    fixture: Arc<Fixture<C>>,
) {
    let mut connection = fixture.users.get().await.unwrap();
    let mut tx = fixture.writer.begin(&mut *connection).await.unwrap();
    tx.add(message());
    tx.flush().await.unwrap();
    drop(tx);
    let again = fixture.writer.begin(&mut *connection).await.map(drop);
    assert!(matches!(again, Err(Error::BrokenTransactionManager | Error::AlreadyInTransaction)), "{again:?}");
    drop(connection);
    nothing_is_open(&fixture).await;
    assert_eq!(fixture.users.state().connections, 0);
    let kept = message();
    let mut connection = fixture.users.get().await.unwrap();
    let mut tx = fixture.writer.begin(&mut *connection).await.unwrap();
    tx.add(kept.clone());
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// A pool gets no connection back that a future has left somewhere in the middle, wherever that is.
pub(crate) async fn a_future_dropped_anywhere_spoils_no_pool<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut done = 0;
    for cut_off in (0..60).map(|steps| Duration::from_micros(150 * steps)) {
        let mut connection = fixture.users.get().await.unwrap();
        let work = fixture.writer.transaction(&mut *connection, TransactionPolicy::new(), async |tx| {
            tx.add(message());
            tx.flush().await?;
            tx.add(message());
            Ok::<_, TransactionError<Error>>(())
        });
        if let Ok(worked) = tokio::time::timeout(cut_off, work).await {
            worked.unwrap();
            done += 1;
        }
    }
    nothing_is_open(&fixture).await;
    let committed = fixture.fresh_ids().await.len();
    assert!(
        committed % 2 == 0 && committed >= 2 * done,
        "{done} were committed, {committed} messages are there"
    );
    each_statement_is_its_own_transaction(&fixture, committed).await;
}

/// A message whose consumer was dropped, wherever that was, comes again: its effects are there once. Also where the pool
/// was about to test the connection: MySQL's driver then gives answers a statement late, or can't read them.
pub(crate) async fn a_consumer_dropped_anywhere_has_effects_once<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let inbox = AsyncDieselInbox::<C::Database>::new("billing").unwrap();
    let handle = async |received: &OutboxMessage| {
        let mut connection = fixture.users.get().await.unwrap();
        let work = inbox.process(&mut *connection, received, async |tx| {
            tx.add(received.clone());
            Ok::<_, TransactionError<Error>>(())
        });
        match work.await {
            Ok(processed) => processed.is_done(),
            Err(error) => {
                assert_eq!(C::Database::DIALECT, Dialect::MySql, "{error:?}");
                false
            }
        }
    };
    let mut all = Vec::new();
    for cut_off in (0..60).map(|steps| Duration::from_micros(150 * steps)) {
        let received = message();
        let _ = tokio::time::timeout(cut_off, handle(&received)).await;
        // Busy while the database does not know yet that nobody waits.
        while !handle(&received).await {}
        all.push(received);
    }
    assert_eq!(fixture.fresh_ids().await, ids(&all));
    nothing_is_open(&fixture).await;
    each_statement_is_its_own_transaction(&fixture, all.len()).await;
}

/// No connection of the pool is in the middle of something, with so many messages there.
async fn each_statement_is_its_own_transaction<C: TestDatabase>(fixture: &Fixture<C>, before: usize) {
    let mut connections = Vec::new();
    for _ in 0..16 {
        connections.push(fixture.users.get().await.unwrap());
    }
    // One after the other, so that SQLite's single writer would be missed, too.
    for connection in &mut connections {
        fixture.writer.enqueue(&mut **connection, &message()).await.unwrap();
    }
    let kept = fixture.fresh_ids().await.len();
    assert_eq!(kept, before + connections.len());
}

/// The future of a nested transaction is dropped, and the caller goes on: nothing of it is committed.
pub(crate) async fn a_dropped_nested_transaction_is_not_committed<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut connection = fixture.users.get().await.unwrap();
    let mut tx = fixture.writer.begin(&mut *connection).await.unwrap();
    let (inside, writer) = (Notify::new(), &fixture.writer);
    let nested = tx.transaction::<(), Error, _>(async |connection| {
        writer.enqueue(connection, &message()).await?;
        inside.notify_one();
        std::future::pending().await
    });
    tokio::select! {
        ended = nested => panic!("it never ends: {ended:?}"),
        () = inside.notified() => {}
    }
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, TransactionError::Database(Error::BrokenTransactionManager)), "{error}");
    assert_eq!(fixture.fresh_ids().await, []);
    // It is rolled back, and another one may begin.
    let mut tx = fixture.writer.begin(&mut *connection).await.unwrap();
    let kept = message();
    tx.add(kept.clone());
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// Nested transactions of diesel are savepoints, and queries run on the transaction itself as on its connection.
pub(crate) async fn nested_transactions_are_savepoints<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let [lost, kept, last] = [message(), message(), message()];
    let mut connection = fixture.users.get().await.unwrap();
    let mut tx = fixture.writer.begin(&mut *connection).await.unwrap();
    let undone = nested(&fixture, &mut *tx, &lost, Err(Error::RollbackTransaction)).await;
    assert_eq!(undone, Err(Error::RollbackTransaction));
    nested(&fixture, &mut *tx, &kept, Ok(())).await.unwrap();
    fixture.writer.enqueue(&mut tx, &last).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept, last]));
}

async fn nested<C: TestDatabase>(
    fixture: &Fixture<C>,
    connection: &mut C::User,
    message: &OutboxMessage,
    result: Result<(), Error>,
) -> Result<(), Error> {
    connection
        .transaction(async |connection| {
            fixture.writer.enqueue(connection, message).await?;
            result
        })
        .await
}

/// One transaction at a time: a second one on the same connection would end the first.
pub(crate) async fn a_second_transaction_is_refused<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut connection = fixture.users.get().await.unwrap();
    <C::User as AsyncConnection>::TransactionManager::begin_transaction(&mut *connection).await.unwrap();
    let kept = message();
    fixture.writer.enqueue(&mut *connection, &kept).await.unwrap();
    let second = fixture.writer.begin(&mut *connection).await.map(drop);
    assert_eq!(second, Err(Error::AlreadyInTransaction));
    <C::User as AsyncConnection>::TransactionManager::commit_transaction(&mut *connection).await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}
