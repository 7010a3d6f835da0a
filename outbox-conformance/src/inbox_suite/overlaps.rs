//! A message that comes while another transaction is at it.

use std::sync::Arc;

use outbox_core::{Admission, Isolation, MessageId, Processed, TransactionPolicy};

use super::work::{BILLING, BOUND, SINGLE_WRITER_BOUND, begin, handle, in_time, look_at, no, quick};
use super::{InboxFixture, OpenAdmission};
use crate::transaction_suite::FixtureErrorKind;
use crate::transaction_suite::work::{COUNT, INSERT, accounts, body, message, payloads};

/// Begins to handle a message.
async fn at_work<F: InboxFixture>(
    fixture: &F,
    isolation: Isolation,
    id: &MessageId,
) -> Box<dyn OpenAdmission> {
    let policy = TransactionPolicy::new().isolation(isolation);
    let mut guard = fixture.begin_admitted(BILLING, &policy, id).await.unwrap();
    assert_eq!(guard.admission(), Admission::Fresh);
    guard.execute("UPDATE accounts SET version = version + 1 WHERE id = 1").await.unwrap();
    guard
}

/// Comes while somebody is at work, and must be told within a bound. Where there is a single writer, it is waited for as
/// long as the connection is told to, and then nothing has begun.
async fn comes_meanwhile<F: InboxFixture>(fixture: &F, isolation: Isolation, id: &MessageId) {
    let policy = TransactionPolicy::new().isolation(isolation);
    let begun = fixture.begin_admitted(BILLING, &policy, id);
    if fixture.sql().has_row_locks {
        let guard = in_time(BOUND, begun).await.unwrap();
        assert_eq!(guard.admission(), Admission::Busy, "{isolation:?}");
        assert_eq!(in_time(BOUND, guard.commit()).await.unwrap(), Processed::Busy);
    } else {
        let error = in_time(SINGLE_WRITER_BOUND, begun).await.err().expect("there is one writer");
        assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    }
}

/// At each isolation level.
pub async fn a_message_in_work_is_busy_and_then_a_duplicate<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let mut effects = 0;
    for &isolation in fixture.sql().isolations {
        let id = MessageId::new();
        let guard = at_work(&*fixture, isolation, &id).await;
        comes_meanwhile(&*fixture, isolation, &id).await;
        assert_eq!(guard.commit().await.unwrap(), Processed::Applied(()));
        assert_eq!(look_at(&*fixture, BILLING, &id).await, Admission::Duplicate);
        effects += 1;
        let version = look.number("SELECT version FROM accounts WHERE id = 1").await.unwrap();
        assert_eq!(version, effects);
    }
}

/// The same where the first one rolls back.
pub async fn a_message_in_work_is_busy_and_then_fresh<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    for &isolation in fixture.sql().isolations {
        let id = MessageId::new();
        let guard = at_work(&*fixture, isolation, &id).await;
        comes_meanwhile(&*fixture, isolation, &id).await;
        guard.rollback().await;
        handle(&*fixture, BILLING, &id).await;
    }
    assert_eq!(look.number("SELECT version FROM accounts WHERE id = 1").await.unwrap(), 0);
}

/// Neither another message nor another consumer of the same one has to do with it.
pub async fn another_message_does_not_wait<F: InboxFixture>(fixture: Arc<F>) {
    accounts(&*fixture).await;
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("second transaction that writes at the same time", locks).is_none() {
        return;
    }
    for &isolation in fixture.sql().isolations {
        let (before, id, after) = (MessageId::new(), MessageId::new(), MessageId::new());
        let guard = at_work(&*fixture, isolation, &id).await;
        for other in [&before, &after] {
            in_time(BOUND, handle(&*fixture, BILLING, other)).await;
        }
        in_time(BOUND, handle(&*fixture, "shipping", &id)).await;
        assert_eq!(guard.commit().await.unwrap(), Processed::Applied(()));
    }
}

/// What was done for a message although it was busy is not committed.
pub async fn whoever_is_busy_leaves_nothing<F: InboxFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("second transaction that writes at the same time", locks).is_none() {
        return;
    }
    let id = MessageId::new();
    let first = begin(&*fixture, &id).await;
    let mut second = in_time(BOUND, begin(&*fixture, &id)).await;
    assert_eq!(second.admission(), Admission::Busy);
    second.execute(INSERT).await.unwrap();
    second.add(message("a"));
    second.flush().await.unwrap();
    assert_eq!(second.commit().await.unwrap(), Processed::Busy);
    let idle = body(|_| Box::pin(async { Err(no()) }));
    let processed = fixture.process(BILLING, quick(1), &id, idle).await.unwrap();
    assert_eq!(processed, Processed::Busy, "the body is not run");
    first.rollback().await;
    assert_eq!(look.number(COUNT).await.unwrap(), 0);
    assert_eq!(payloads(&*fixture).await, [""; 0]);
    assert_eq!(fixture.commits(), 0);
    handle(&*fixture, BILLING, &id).await;
}
