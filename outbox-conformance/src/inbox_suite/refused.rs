//! Errors that the caller ignores: nothing is committed, and the message is fresh.

use std::sync::Arc;

use outbox_core::MessageId;

use super::InboxFixture;
use super::work::{BILLING, begin, handle, quick};
use crate::transaction_suite::work::{COUNT, INSERT, accounts, body, end, message, payloads};
use crate::transaction_suite::{FixtureErrorKind, PlainConnection};

/// No effect and no message, and the message comes again as if it had never been there.
async fn nothing_is_left<F: InboxFixture>(fixture: &F, look: &mut dyn PlainConnection, id: &MessageId) {
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(look.number("SELECT version FROM accounts WHERE id = 1").await.unwrap(), 0);
    assert_eq!(payloads(fixture).await, [""; 0]);
    handle(fixture, BILLING, id).await;
}

/// The database has ended the transaction, and with it the record of the message; the caller goes on.
pub async fn a_guard_whose_transaction_has_ended<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    for messages in [0, 1] {
        let id = MessageId::new();
        let mut guard = begin(&*fixture, &id).await;
        end(&*fixture, &mut *guard).await;
        if !fixture.sql().keeps_later_writes {
            let _ = guard.execute(INSERT).await;
        }
        for _ in 0..messages {
            guard.add(message("a"));
        }
        let error = guard.commit().await.unwrap_err();
        assert_eq!(error.kind, FixtureErrorKind::Ended, "{error}");
        nothing_is_left(&*fixture, &mut *look, &id).await;
    }
}

/// The same in a body.
pub async fn a_body_that_ignored_what_ended_its_transaction<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    for messages in [0, 1] {
        let id = MessageId::new();
        let ignores = body({
            let fixture = Arc::clone(&fixture);
            move |scope| {
                let fixture = Arc::clone(&fixture);
                Box::pin(async move {
                    end(&*fixture, scope).await;
                    if !fixture.sql().keeps_later_writes {
                        let _ = scope.execute(INSERT).await;
                    }
                    for _ in 0..messages {
                        scope.add(message("a"));
                    }
                    Ok(())
                })
            }
        });
        let error = fixture.process(BILLING, quick(5), &id, ignores).await.unwrap_err();
        assert_eq!(error.kind, FixtureErrorKind::Ended, "{error}");
        nothing_is_left(&*fixture, &mut *look, &id).await;
    }
}

/// The outgoing messages could not be written because of a lock. MySQL and MariaDB undo only that statement, and would
/// commit the effects and the record of the message without them.
pub async fn a_guard_whose_messages_were_not_written<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let sql = fixture.sql();
    let Some(lock) = crate::offered("lock that only producers wait for", sql.lock_outbox) else {
        return;
    };
    let mut rival = fixture.connect().await;
    let id = MessageId::new();
    let mut guard = begin(&*fixture, &id).await;
    guard.execute(sql.wait_briefly).await.unwrap();
    guard.execute(INSERT).await.unwrap();
    for statement in lock {
        rival.execute(statement).await.unwrap();
    }
    guard.add(message("a"));
    let error = guard.flush().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    rival.execute(sql.unlock_outbox).await.unwrap();
    let error = guard.commit().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Poisoned, "{error}");
    nothing_is_left(&*fixture, &mut *look, &id).await;
}
