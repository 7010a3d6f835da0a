//! Errors that the caller ignores: rows and messages are both there or both not, whatever the database makes of it.

use std::sync::Arc;

use outbox_core::TransactionPolicy;

use super::work::{COUNT, INSERT, accounts, end, message, payloads};
use super::{FixtureErrorKind, TransactionFixture};

/// A statement fails, and the caller goes on: some databases let him, others have given the transaction up.
pub async fn an_ignored_error_never_splits_rows_and_messages<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.execute(INSERT).await.unwrap();
    scope.execute(INSERT).await.expect_err("it is there");
    scope.add(message("a"));
    let committed = scope.commit().await;
    let rows = look.number(COUNT).await.unwrap();
    let messages = payloads(&*fixture).await;
    match committed {
        Ok(()) => assert_eq!((rows, messages.len()), (1, 1)),
        Err(error) => {
            assert_eq!(error.kind, FixtureErrorKind::Ended, "{error}");
            assert_eq!((rows, messages.len()), (0, 0));
        }
    }
}

/// The database ends the transaction, and the caller goes on: no message without its row, no row without its message.
pub async fn a_transaction_that_has_ended_is_not_committed<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.add(message("a"));
    end(&*fixture, &mut *scope).await;
    if !fixture.sql().keeps_later_writes {
        let _ = scope.execute(INSERT).await;
    }
    scope.add(message("b"));
    let error = scope.commit().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Ended, "{error}");
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(look.number("SELECT version FROM accounts WHERE id = 1").await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
}

/// Nor is one that nothing has to be written for: the caller is not told that his rows are there.
pub async fn one_without_messages_that_has_ended_is_not_committed<F: TransactionFixture>(fixture: Arc<F>) {
    accounts(&*fixture).await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    end(&*fixture, &mut *scope).await;
    let error = scope.commit().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Ended, "{error}");
}

/// The messages could not be written because of a lock, and the caller goes on. MySQL and MariaDB undo only that
/// statement, and would commit the rows without them.
pub async fn a_failed_write_of_messages_is_never_committed<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let sql = fixture.sql();
    let Some(lock) = crate::offered("lock that only producers wait for", sql.lock_outbox) else {
        return;
    };
    let mut rival = fixture.connect().await;
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.execute(sql.wait_briefly).await.unwrap();
    scope.execute(INSERT).await.unwrap();
    for statement in lock {
        rival.execute(statement).await.unwrap();
    }
    scope.add(message("a"));
    let error = scope.flush().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    rival.execute(sql.unlock_outbox).await.unwrap();
    scope.add(message("b"));
    let error = scope.flush().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Poisoned, "{error}");
    let error = scope.commit().await.unwrap_err();
    assert_eq!(error.kind, FixtureErrorKind::Poisoned, "{error}");
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
}
