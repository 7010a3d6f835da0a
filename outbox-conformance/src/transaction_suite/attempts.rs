//! Transactions that begin anew after a conflict.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outbox_core::TransactionPolicy;
use tokio::sync::Semaphore;

use super::work::{COUNT, INSERT, accounts, body, end, message, nothing_is_open, payloads};
use super::{FixtureError, FixtureErrorKind, TransactionFixture};

/// A policy whose pauses cost no time.
fn quick(attempts: u32) -> TransactionPolicy {
    let pause = Duration::from_millis(1);
    TransactionPolicy::new().attempts(attempts).pauses(pause, pause)
}

/// The messages of the failed attempt are not delivered with those of the one that succeeds.
pub async fn a_conflict_starts_afresh<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    if crate::offered("conflict inside of a transaction", fixture.sql().has_row_locks.then_some(())).is_none()
    {
        return;
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let work = body({
        let (fixture, calls) = (Arc::clone(&fixture), Arc::clone(&calls));
        move |scope| {
            let (fixture, call) = (Arc::clone(&fixture), calls.fetch_add(1, Ordering::Relaxed));
            Box::pin(async move {
                scope.execute(INSERT).await?;
                scope.add(message(&format!("attempt {call}")));
                if call == 0 {
                    scope.flush().await?;
                    return Err(end(&*fixture, scope).await);
                }
                scope.add(message("the rest"));
                Ok(())
            })
        }
    });
    fixture.transaction(quick(5), work).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(payloads(&*fixture).await, ["attempt 1", "the rest"]);
    assert_eq!(look.number(COUNT).await.unwrap(), 1);
    assert_eq!(fixture.commits(), 1);
}

/// A database that is busy when the transaction begins is a conflict, too.
pub async fn a_busy_database_is_tried_again<F: TransactionFixture>(fixture: Arc<F>) {
    let mut rival = accounts(&*fixture).await;
    let Some(lock) = crate::offered("lock that everybody waits for", fixture.sql().lock_all) else {
        return;
    };
    rival.execute(lock).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let work = body({
        let calls = Arc::clone(&calls);
        move |scope| {
            calls.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                scope.add(message("a"));
                scope.execute(INSERT).await
            })
        }
    });
    let error = fixture.transaction(quick(2), Arc::clone(&work)).await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let patient = TransactionPolicy::new().attempts(1_000);
    let waits = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.transaction(patient, work).await }
    });
    rival.execute("ROLLBACK").await.unwrap();
    waits.await.unwrap().unwrap();
    assert_eq!(payloads(&*fixture).await, ["a"]);
    assert_eq!(rival.number(COUNT).await.unwrap(), 1);
}

/// After the last attempt the caller gets the conflict, and nothing is left.
pub async fn attempts_end<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    if crate::offered("conflict inside of a transaction", fixture.sql().has_row_locks.then_some(())).is_none()
    {
        return;
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let work = body({
        let (fixture, calls) = (Arc::clone(&fixture), Arc::clone(&calls));
        move |scope| {
            let fixture = Arc::clone(&fixture);
            calls.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                scope.execute(INSERT).await?;
                scope.add(message("a"));
                Err(end(&*fixture, scope).await)
            })
        }
    });
    let error = fixture.transaction(quick(2), work).await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    assert_eq!(fixture.commits(), 0);
}

/// What is no conflict comes back at once: an error of the body's own, and a mistake in its SQL.
pub async fn other_errors_are_not_tried_again<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let own = body(move |scope| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            scope.execute(INSERT).await?;
            scope.add(message("a"));
            Err(FixtureError::body("no"))
        })
    });
    let error = fixture.transaction(quick(5), own).await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Body, "{error}");
    let count = Arc::clone(&calls);
    let wrong = body(move |scope| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            scope.add(message("a"));
            scope.execute("UPDATE nothing_of_that_name SET version = 1").await
        })
    });
    let error = fixture.transaction(quick(5), wrong).await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
}

/// Whoever gives up in the middle of the body leaves no transaction behind.
pub async fn a_dropped_body_leaves_nothing_open<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    // Several, so that a connection that was not given back properly would be missed.
    for _ in 0..3 {
        let (inside, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let work = body({
            let (inside, open) = (Arc::clone(&inside), Arc::clone(&open));
            move |scope| {
                let (inside, open) = (Arc::clone(&inside), Arc::clone(&open));
                Box::pin(async move {
                    scope.execute(INSERT).await?;
                    scope.add(message("a"));
                    scope.flush().await?;
                    inside.add_permits(1);
                    let opened = open.acquire().await;
                    // A body that blocks can't be dropped; it ends with an error when it is let go.
                    opened.map(drop).map_err(|_| FixtureError::body("given up"))
                })
            }
        });
        let running = tokio::spawn({
            let fixture = Arc::clone(&fixture);
            async move { fixture.transaction(quick(1), work).await }
        });
        inside.acquire().await.unwrap().forget();
        running.abort();
        open.close();
        let _ = running.await;
    }
    nothing_is_open(&*fixture).await;
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
}
