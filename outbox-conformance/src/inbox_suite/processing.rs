//! Messages that are handled by a body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outbox_core::{Admission, MessageId, Processed, TransactionPolicy};
use tokio::sync::Semaphore;

use super::InboxFixture;
use super::work::{BILLING, BOUND, begin, handle, in_time, look_at, no, quick};
use crate::transaction_suite::work::{
    COUNT, INSERT, accounts, body, end, message, nothing_is_open, payloads,
};
use crate::transaction_suite::{Body, FixtureErrorKind, PlainConnection};

/// A body with an effect and a message, which counts how often it is run.
fn work(calls: &Arc<AtomicUsize>) -> Body {
    let calls = Arc::clone(calls);
    body(move |scope| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            scope.execute(INSERT).await?;
            scope.add(message(&call.to_string()));
            Ok(())
        })
    })
}

/// No effect, no message, no record.
async fn nothing_is_left<F: InboxFixture>(fixture: &F, look: &mut dyn PlainConnection, id: &MessageId) {
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(fixture).await, [""; 0]);
    assert_eq!(fixture.commits(), 0);
    handle(fixture, BILLING, id).await;
}

/// The body is run for the first delivery only.
pub async fn a_message_is_processed_once<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let (id, calls) = (MessageId::new(), Arc::new(AtomicUsize::new(0)));
    let process = || fixture.process(BILLING, TransactionPolicy::new(), &id, work(&calls));
    assert_eq!(process().await.unwrap(), Processed::Applied(()));
    for _ in 0..2 {
        assert_eq!(process().await.unwrap(), Processed::Duplicate);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(look.number(COUNT).await.unwrap(), 1);
    assert_eq!(payloads(&*fixture).await, ["0"]);
    assert_eq!(fixture.commits(), 1);
    assert_eq!(look_at(&*fixture, BILLING, &id).await, Admission::Duplicate);
}

/// A chain: what is sent because of a message is in the outbox if and only if its effects are committed.
pub async fn messages_are_sent_with_the_effects_or_not_at_all<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    for fails in [true, false, false] {
        let work = body(move |scope| {
            Box::pin(async move {
                scope.add(message("a"));
                scope.flush().await?;
                scope.execute(INSERT).await?;
                scope.add(message("b"));
                if fails { Err(no()) } else { Ok(()) }
            })
        });
        let processed = fixture.process(BILLING, quick(5), &id, work).await;
        let rows = look.number(COUNT).await.unwrap();
        let messages = payloads(&*fixture).await;
        if fails {
            assert_eq!(processed.unwrap_err().kind, FixtureErrorKind::Body);
            assert_eq!((rows, messages.len()), (0, 0));
        } else {
            assert!(processed.unwrap().is_done());
            assert_eq!(rows, 1);
            assert_eq!(messages, ["a", "b"]);
        }
    }
}

/// And the error is the body's, at once.
pub async fn an_error_of_the_body_leaves_the_message_fresh<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let (id, calls) = (MessageId::new(), Arc::new(AtomicUsize::new(0)));
    let (count, all) = (Arc::clone(&calls), work(&calls));
    let fails = body(move |scope| {
        let all = all(scope);
        Box::pin(async move {
            all.await?;
            Err(no())
        })
    });
    let error = fixture.process(BILLING, quick(5), &id, fails).await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Body, "{error}");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    nothing_is_left(&*fixture, &mut *look, &id).await;
}

/// The transaction is rolled back while the body unwinds.
pub async fn a_panic_of_the_body_leaves_the_message_fresh<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
    // Several, so that a connection that was not given back properly would be missed.
    for _ in 0..3 {
        let panics = body(|scope| {
            Box::pin(async move {
                scope.execute(INSERT).await?;
                scope.add(message("a"));
                scope.flush().await?;
                panic!("as the case wants it");
            })
        });
        let running = tokio::spawn({
            let fixture = Arc::clone(&fixture);
            async move { fixture.process(BILLING, quick(5), &id, panics).await }
        });
        assert!(running.await.unwrap_err().is_panic(), "it is passed on");
        nothing_is_open(&*fixture).await;
    }
    nothing_is_left(&*fixture, &mut *look, &id).await;
}

/// Whoever gives up in the middle of the body leaves no transaction behind.
pub async fn a_body_that_is_dropped_leaves_the_message_fresh<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let id = MessageId::new();
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
                    // A body that blocks can't be dropped; it ends with an error when it is let go.
                    open.acquire().await.map(drop).map_err(|_| no())
                })
            }
        });
        let running = tokio::spawn({
            let fixture = Arc::clone(&fixture);
            async move { fixture.process(BILLING, quick(1), &id, work).await }
        });
        inside.acquire().await.unwrap().forget();
        running.abort();
        open.close();
        let _ = running.await;
        nothing_is_open(&*fixture).await;
    }
    nothing_is_left(&*fixture, &mut *look, &id).await;
}

/// In a fresh transaction in which the message is admitted again.
pub async fn a_conflict_of_the_body_is_tried_again<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("conflict inside of a transaction", locks).is_none() {
        return;
    }
    let (id, calls) = (MessageId::new(), Arc::new(AtomicUsize::new(0)));
    let unlucky = body({
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
                Ok(())
            })
        }
    });
    let processed = fixture.process(BILLING, quick(5), &id, unlucky).await.unwrap();
    assert_eq!(processed, Processed::Applied(()));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(payloads(&*fixture).await, ["attempt 1"]);
    assert_eq!(look.number(COUNT).await.unwrap(), 1);
    assert_eq!(fixture.commits(), 1);
    assert_eq!(look_at(&*fixture, BILLING, &id).await, Admission::Duplicate);
}

/// After the last one the caller gets the conflict, and the message is fresh.
pub async fn attempts_have_an_end<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("conflict inside of a transaction", locks).is_none() {
        return;
    }
    let (id, calls) = (MessageId::new(), Arc::new(AtomicUsize::new(0)));
    let unlucky = body({
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
    let error = fixture.process(BILLING, quick(2), &id, unlucky).await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    nothing_is_left(&*fixture, &mut *look, &id).await;
}

/// Who meets another transaction at the same message is told so, instead of trying again and again.
pub async fn a_busy_message_is_no_conflict<F: InboxFixture>(fixture: Arc<F>) {
    accounts(&*fixture).await;
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("second transaction that writes at the same time", locks).is_none() {
        return;
    }
    let (id, calls) = (MessageId::new(), Arc::new(AtomicUsize::new(0)));
    let guard = begin(&*fixture, &id).await;
    let process = || fixture.process(BILLING, quick(1_000), &id, work(&calls));
    assert_eq!(in_time(BOUND, process()).await.unwrap(), Processed::Busy);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(guard.commit().await.unwrap(), Processed::Applied(()));
    assert_eq!(process().await.unwrap(), Processed::Duplicate);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
