//! What a transaction with messages does on a connection of diesel, beyond the suite: the same for every database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use diesel::connection::InstrumentationEvent;
use diesel::result::Error;
use diesel::{Connection, QueryResult, RunQueryDsl};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use outbox_conformance::Proxy;
use outbox_core::{OutboxMessage, TransactionPolicy};
use outbox_diesel::{OutboxTransaction, TransactionError};

use crate::fixture::{Fixture, Raw, TestDatabase};
use crate::transactions::number;
use crate::writer::{ids, message};

const TABLE: &str = "CREATE TABLE orders (id BIGINT NOT NULL PRIMARY KEY)";
const COUNT: &str = "SELECT COUNT(*) FROM orders";

fn insert(id: i64) -> Raw<'static> {
    Raw::new(&format!("INSERT INTO orders (id) VALUES ({id})"))
}

/// A producer's connection, to a database with a table of the business.
fn orders<C: TestDatabase>(fixture: &Fixture<C>) -> C {
    let mut connection = fixture.producer();
    connection.batch_execute(TABLE).unwrap();
    connection
}

/// A connection that was left in no transaction: each statement on it is seen by others.
fn is_as_it_was<C: TestDatabase>(fixture: &Fixture<C>, connection: &mut C) {
    assert!(!connection.is_broken());
    let before = number(connection, COUNT).unwrap();
    insert(1_000 + before).execute(connection).unwrap();
    assert_eq!(number(&mut fixture.producer(), COUNT).unwrap(), before + 1);
}

/// Queries run on it as on any other connection, in a function that is generic, too, and it goes where the connection goes.
pub(crate) async fn a_transaction_is_a_connection<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    fn generic(connection: &mut impl Connection<Backend: outbox_diesel::Backend>) -> QueryResult<usize> {
        insert(1).execute(connection)
    }
    let mut connection = orders(&fixture);
    let messages = [message(), message()];
    let mut tx = fixture.writer.begin(&mut connection).unwrap();
    generic(&mut tx).unwrap();
    insert(2).execute(&mut *tx).unwrap();
    fixture.writer.enqueue(&mut tx, &messages[0]).unwrap();
    tx.add(messages[1].clone());
    assert_eq!(number::<C>(&mut tx, COUNT).unwrap(), 2);
    tx.commit().unwrap();
    assert_eq!(number(&mut connection, COUNT).unwrap(), 2);
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
    is_as_it_was(&fixture, &mut connection);
}

/// A savepoint that is rolled back takes its rows and its messages along, and only those.
pub(crate) async fn a_nested_transaction_takes_its_messages_along<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut connection = orders(&fixture);
    let messages: [OutboxMessage; 5] = std::array::from_fn(|_| message());
    let done = fixture.writer.transaction(&mut connection, TransactionPolicy::new(), |tx| {
        insert(0).execute(tx)?;
        tx.add(messages[0].clone());
        let lost = tx.transaction(|tx| {
            insert(1).execute(tx)?;
            tx.add(messages[1].clone());
            tx.transaction(|tx| {
                tx.add(messages[2].clone());
                insert(2).execute(tx)
            })?;
            Err::<(), _>(Error::RollbackTransaction)
        });
        assert_eq!(lost, Err(Error::RollbackTransaction));
        tx.transaction(|tx| {
            tx.add(messages[3].clone());
            insert(3).execute(tx)
        })?;
        tx.add(messages[4].clone());
        Ok::<_, TransactionError>(())
    });
    done.unwrap();
    assert_eq!(number(&mut connection, COUNT).unwrap(), 2);
    let kept = [messages[0].clone(), messages[3].clone(), messages[4].clone()];
    assert_eq!(fixture.fresh_ids().await, ids(&kept));
}

/// What a savepoint may yet take back is not written before it has ended.
pub(crate) async fn nothing_is_flushed_in_a_nested_transaction<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut connection = orders(&fixture);
    let messages = [message(), message(), message()];
    let mut tx = fixture.writer.begin(&mut connection).unwrap();
    tx.add(messages[0].clone());
    let lost = tx.transaction(|tx| {
        tx.add(messages[1].clone());
        tx.flush()?;
        Err::<(), TransactionError>(Error::RollbackTransaction.into())
    });
    assert!(matches!(lost, Err(TransactionError::Database(Error::RollbackTransaction))), "{lost:?}");
    let kept = tx.transaction(|tx| {
        tx.add(messages[2].clone());
        tx.flush()
    });
    kept.unwrap();
    tx.flush().unwrap();
    tx.commit().unwrap();
    assert_eq!(fixture.fresh_ids().await, [*messages[0].id(), *messages[2].id()]);
}

/// After a panic in it that was caught, nobody says what is to become of its rows.
pub(crate) async fn a_nested_transaction_that_was_left_open_is_not_committed<C: TestDatabase>(
    fixture: Arc<Fixture<C>>,
) {
    let mut connection = orders(&fixture);
    let mut tx = fixture.writer.begin(&mut connection).unwrap();
    insert(1).execute(&mut tx).unwrap();
    tx.add(message());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        tx.transaction(|tx| -> QueryResult<()> {
            insert(2).execute(tx)?;
            panic!("in the middle of it")
        })
    }));
    panicked.unwrap_err();
    let error = tx.commit().unwrap_err();
    assert!(matches!(error, TransactionError::Database(Error::AlreadyInTransaction)), "{error}");
    assert_eq!(number(&mut connection, COUNT).unwrap(), 0);
    assert_eq!(fixture.fresh_ids().await, []);
    is_as_it_was(&fixture, &mut connection);
}

/// A body that panics, in a nested transaction at that, leaves nothing behind, and the connection as it was.
pub(crate) async fn a_panic_leaves_nothing_open<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut connection = orders(&fixture);
    let body = |tx: &mut OutboxTransaction<'_, C>| -> Result<(), TransactionError> {
        insert(1).execute(tx)?;
        tx.add(message());
        tx.flush()?;
        tx.transaction(|tx| {
            insert(2).execute(tx)?;
            panic!("in the middle of it")
        })
    };
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        fixture.writer.transaction(&mut connection, TransactionPolicy::new(), body)
    }));
    panicked.unwrap_err();
    assert_eq!(number(&mut connection, COUNT).unwrap(), 0);
    assert_eq!(fixture.fresh_ids().await, []);
    is_as_it_was(&fixture, &mut connection);
}

/// There is nothing that it could commit by itself. The transaction that is open is left alone.
pub(crate) async fn a_connection_that_is_in_a_transaction_is_refused<C: TestDatabase>(
    fixture: Arc<Fixture<C>>,
) {
    let mut connection = orders(&fixture);
    let done = connection.transaction(|connection| {
        insert(1).execute(connection)?;
        assert_eq!(fixture.writer.begin(connection).unwrap_err(), Error::AlreadyInTransaction);
        QueryResult::Ok(())
    });
    done.unwrap();
    let mut tx = fixture.writer.begin(&mut connection).unwrap();
    assert_eq!(fixture.writer.begin(&mut tx).unwrap_err(), Error::AlreadyInTransaction);
    assert_eq!(fixture.writer.begin(&mut *tx).unwrap_err(), Error::AlreadyInTransaction);
    insert(2).execute(&mut tx).unwrap();
    tx.commit().unwrap();
    assert_eq!(number(&mut connection, COUNT).unwrap(), 2);
}

/// A proxy before the server of this URL, and the URL through it.
#[cfg(any(feature = "postgres", feature = "mysql"))]
async fn through_a_proxy(url: &str) -> (Proxy, String) {
    let (server, database) = url.rsplit_once('/').unwrap();
    let (user, at) = server.rsplit_once('@').unwrap();
    let port = at.rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = Proxy::to(port).await;
    let through = format!("{user}@127.0.0.1:{}/{database}", proxy.port());
    (proxy, through)
}

/// Nobody knows how it is with it: diesel is told that it is broken, and a pool asks diesel.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) async fn a_connection_that_was_lost_is_closed_by_its_pool<C: TestDatabase>(
    fixture: Arc<Fixture<C>>,
) {
    let mut look = orders(&fixture);
    let (proxy, url) = through_a_proxy(&fixture.url).await;
    let mut connection = C::establish(&url).unwrap();
    let mut tx = fixture.writer.begin(&mut connection).unwrap();
    insert(1).execute(&mut tx).unwrap();
    proxy.reset().await;
    tx.add(message());
    let error = tx.commit().unwrap_err();
    assert!(matches!(error, TransactionError::Database(_)), "it can't be committed: {error}");
    assert!(connection.is_broken());
    let refused = fixture.writer.begin(&mut connection).unwrap_err();
    assert!(matches!(refused, Error::BrokenTransactionManager), "{refused}");

    let mut connection = C::establish(&url).unwrap();
    let tx = fixture.writer.begin(&mut connection).unwrap();
    proxy.reset().await;
    drop(tx);
    assert!(connection.is_broken());
    assert_eq!(number(&mut look, COUNT).unwrap(), 0);

    let mut connection = C::establish(&url).unwrap();
    proxy.reset().await;
    let always = |_: &TransactionError| true;
    let policy = TransactionPolicy::new();
    let error = fixture.writer.transaction_when(&mut connection, policy, always, |_| Ok(())).unwrap_err();
    let TransactionError::Database(why) = error else { panic!("{error}") };
    assert!(!matches!(why, Error::BrokenTransactionManager), "another attempt would have hidden why");
    assert!(connection.is_broken());
}

/// The connection is lost during the commit: the caller is told that nobody knows, and it is not tried again.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) async fn a_commit_whose_answer_is_lost_is_unknown<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let mut look = orders(&fixture);
    let (proxy, url) = through_a_proxy(&fixture.url).await;
    let (proxy, mut connection) = (Arc::new(proxy), C::establish(&url).unwrap());
    connection.set_instrumentation({
        let proxy = Arc::clone(&proxy);
        move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::CommitTransaction { .. } = event {
                proxy.cut_answers(true);
            }
        }
    });
    let mut calls = 0;
    let done = fixture.writer.transaction(&mut connection, TransactionPolicy::new(), |tx| {
        calls += 1;
        insert(1).execute(tx)?;
        tx.add(message());
        Ok::<_, TransactionError>(())
    });
    let error = done.unwrap_err();
    assert!(matches!(error, TransactionError::Unknown(_)), "{error}");
    assert_eq!(calls, 1);
    assert!(connection.is_broken());
    assert_eq!(fixture.commits.load(std::sync::atomic::Ordering::Relaxed), 0);
    // Where the server had received it, it was carried out, and its session ends after that.
    drop(connection);
    proxy.has_open(0).await;
    let rows = number(&mut look, COUNT).unwrap();
    assert_eq!(usize::try_from(rows).unwrap(), fixture.fresh_ids().await.len());
}
